"""A model's cells explained on a text: run, label, find, name, check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.explaining.ablation import LONGEST, MOST_UNITS, Ablation, Target, ablate
from pipeline.explaining.activations import (
    SCALE,
    WARM_UP,
    Activations,
    network_of,
    read_text,
)
from pipeline.explaining.baselines import LONGEST as LONGEST_NGRAM
from pipeline.explaining.finder import find, first_half
from pipeline.explaining.findings import LEVEL, MARGINS, Finding, Found, LabelResult
from pipeline.explaining.gates import Histogram, Saturation
from pipeline.explaining.labels.by_kind import labels_of
from pipeline.explaining.labels.label import Label
from pipeline.explaining.named import NamedRow, named_rows
from pipeline.model.artifact import ModelArtifact, parse_vocab
from pipeline.tasks import Runner, run_here


@dataclass(frozen=True, kw_only=True)
class CellFindings:
    """What the units of a model track on a text. `share` is found_units of units, and `definition`
    says what counts; `rows` are ranked, best first, a row a unit.
    """

    model: str
    version: str
    text: str
    kind: str
    tokens: int
    first_half: int
    second_half: int
    units: int
    found_units: int
    share: float
    definition: str
    rows: tuple[Finding, ...]
    named: tuple[NamedRow, ...]
    labels: tuple[LabelResult, ...]
    too_rare: tuple[str, ...]
    ablations: tuple[Ablation, ...]
    saturations: tuple[Saturation, ...]
    histograms: tuple[Histogram, ...]

    def to_json(self) -> dict[str, Any]:
        lists = {
            name: [each.to_json() for each in getattr(self, name)]
            for name in ("rows", "named", "labels", "ablations", "saturations", "histograms")
        }
        return {**vars(self), **lists, "too_rare": list(self.too_rare)}


def explain_cells(
    model: ModelArtifact,
    text: bytes,
    kind: str,
    *,
    run: Runner = run_here,
    seed: int = 0,
    text_name: str = "the text",
) -> CellFindings:
    """Look for what a model's units track on held-out text of a kind (recipes.KINDS).

    `seed` draws the untrained network and the random units of the causal check. InputError for a
    text that the model cannot read, or that is too short.
    """
    vocab = parse_vocab(model.files, model.uri)
    # First, so that a wrong kind is refused before anything takes time.
    every = labels_of(text, kind, vocab.unit) if _is_readable(text, vocab.unit) else []
    seen = read_text(model, text, run)
    labels = [replace(label, values=label.values[seen.places]) for label in every]
    half = first_half(len(seen.tokens))
    # Only the second half is held against it: half the time.
    tail = _from_symbol(text, int(seen.places[half]), vocab.unit)
    untrained = read_text(model, tail, run, untrained_seed=seed)
    config = model.about.model
    found = find(seen.tokens, seen.signals, labels, untrained.signals, config.vocab_size, run)
    named = named_rows(found, f"{found.second_half:,} tokens, the second half of {text_name}")
    units = config.num_layers * config.hidden_size
    return CellFindings(
        model=model.name,
        version=model.version,
        text=text_name,
        kind=kind,
        tokens=len(seen.tokens),
        first_half=found.first_half,
        second_half=found.second_half,
        units=units,
        found_units=len(found.findings),
        share=len(found.findings) / units,
        definition=definition(list(seen.signals), found),
        rows=found.findings,
        named=named,
        labels=found.labels,
        too_rare=found.too_rare,
        ablations=_ablations(model, seen, labels, found, named, seed),
        saturations=seen.saturations,
        histograms=seen.histograms,
    )


def definition(signals: list[str], found: Found) -> str:
    """What makes a unit one that counts, in a sentence or four."""
    names = {"hidden": "hidden state", "cell": "tanh of its cell state"}
    what = " or the ".join(names[signal] for signal in signals)
    return (
        f"A unit counts if its {what} tracks one of {len(found.labels)} labels. On the first half "
        f"of the text the family-wise p is at most {LEVEL:g} over all units and labels "
        "(largest statistic over all circular shifts, step-down by label). On the second half its "
        f"AUROC beats by {MARGINS['binary']:g}, or its rank correlation by "
        f"{MARGINS['real']:g}, both a table of label means by the last 1 to "
        f"{LONGEST_NGRAM} tokens, learnt on the first half, and the best unit of an untrained "
        f"network of the same shape. Activations are rounded to 8 bits (steps of {SCALE:.4f}); a "
        f"long text is read in stretches, each from {WARM_UP:,} tokens before its start."
    )


def _from_symbol(text: bytes, place: int, unit: str) -> bytes:
    """A text from its symbol of a number on."""
    return text[place:] if unit == "byte" else text.decode()[place:].encode()


def _is_readable(text: bytes, unit: str) -> bool:
    """Whether a text is characters where it has to be; read_text refuses it in good order."""
    if unit == "byte":
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ablations(
    model: ModelArtifact,
    seen: Activations,
    labels: list[Label],
    found: Found,
    named: tuple[NamedRow, ...],
    seed: int,
) -> tuple[Ablation, ...]:
    """The causal check of the post's cells that were found, and of the best others."""
    own = [row.best for row in named if row.best and row.verdict == "found"]
    chosen = {(each.layer, each.unit, each.label): each for each in [*own, *found.findings]}
    part = slice(found.first_half, found.first_half + LONGEST)
    by_name = {label.name: replace(label, values=label.values[part]) for label in labels}
    targets = [
        Target(each.layer, each.unit, by_name[each.label])
        for each in list(chosen.values())[:MOST_UNITS]
    ]
    # Means of the first half: the second one, on which the loss is measured, has no part in them.
    means = seen.hidden[: found.first_half].mean(axis=0, dtype=np.float64) * SCALE
    return ablate(network_of(model), seen.tokens[part], means, targets, seed)
