"""Model cards: what a registered model was trained on, its figures, its settings, and a sample.
Pure text.
"""

from __future__ import annotations

from pipeline.model.about import Lineage, ModelAbout

Rows = list[tuple[str, str]]

_INTRODUCTION = (
    "A character-level recurrent language model. "
    "It writes text like what it read, and knows nothing else."
)
# The settings of a run that a card shows, in this order; another tool's config may lack some.
_SETTINGS = (
    "optimizer",
    "learning_rate",
    "schedule",
    "global_batch_size",
    "seq_len",
    "dropout",
    "max_grad_norm",
    "max_steps",
    "max_epochs",
    "seed",
)


def model_card(name: str, about: ModelAbout, parameters: int, sample: bytes) -> str:
    """A card as Markdown. What corpus and model say is data: shown as it is, never as markup."""
    lineage = about.lineage or Lineage()
    return f"""# {name}

{_INTRODUCTION}

## Trained on

{_table(_origin(about, lineage))}

## Figures, on the corpus's validation text

{_table(_figures(about))}

## Settings

{_table(_shape_and_settings(about, lineage, parameters))}

Sampled in {about.precision} on CPUs.

## A sample

{_indented(sample)}
"""


def _origin(about: ModelAbout, lineage: Lineage) -> Rows:
    return [
        ("corpus", str(about.corpus)),
        ("fingerprint", about.corpus.fingerprint),
        ("sources", ", ".join(lineage.sources)),
        ("url", lineage.url),
        ("licence of the text", lineage.licence or "not stated"),
        ("documents, bytes", f"{lineage.documents:,}, {lineage.bytes:,}"),
        ("digest of all documents", lineage.documents_sha256),
    ]


def _figures(about: ModelAbout) -> Rows:
    rows = [
        (name, f"{value:.4f}")
        for name, value in sorted(about.metrics.items())
        if isinstance(value, float)
    ]
    sampling = about.sampling
    if sampling and sampling.nats_int8 is not None:
        rows.append(("nats, engine fp32", f"{sampling.nats_fp32:.5f}"))
        rows.append(("nats, engine int8", f"{sampling.nats_int8:.5f}"))
    return rows


def _shape_and_settings(about: ModelAbout, lineage: Lineage, parameters: int) -> Rows:
    model = about.model
    settings = [(name, str(about.train[name])) for name in _SETTINGS if name in about.train]
    return [
        ("cell, layers, units", f"{model.cell}, {model.num_layers}, {model.hidden_size}"),
        ("parameters", f"{parameters:,}"),
        ("vocabulary", f"{model.vocab_size} symbols ({lineage.unit})"),
        ("steps", f"{about.step:,}"),
        *settings,
    ]


def _indented(sample: bytes) -> str:
    """A sample as a code block: four spaces before a line make it text.

    What cannot be shown is U+FFFD.
    """
    text = sample.decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return "\n".join(f"    {line}" for line in shown.split("\n"))


def _table(rows: Rows) -> str:
    """A Markdown table of the rows that have a value. No value can leave its cell."""
    lines = ["| | |", "|---|---|"]
    for name, value in rows:
        if value:
            one_line = " ".join(value.split())
            harmless = one_line.replace("|", "\\|").replace("`", "'")
            lines.append(f"| {name} | `{harmless}` |")
    return "\n".join(lines)
