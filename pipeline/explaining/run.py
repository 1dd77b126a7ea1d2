"""One explanation from end to end: input checked, cells looked for, pages written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from pipeline import recipes, storage
from pipeline.engine.opening import open_engine
from pipeline.engine.request import Request
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.plan import corpus_of
from pipeline.evaluation.section import Section
from pipeline.evaluation.texts import Text, cut, text_of_split, text_of_url
from pipeline.explaining import findings_report, page, page_text, play
from pipeline.explaining.cells import CellFindings, explain_cells
from pipeline.explaining.config import ExplainConfig
from pipeline.model.artifact import WEIGHTS, ModelArtifact, parse_vocab
from pipeline.registry.card import model_card
from pipeline.registry.fetch import fetch_model
from pipeline.registry.publication import SAMPLE_CHARS, SAMPLE_TEMPERATURE
from pipeline.tasks import Runner

log = logging.getLogger("unreasonable")

TEXT_PAGE = "text.html"
PLAY_PAGE = "play.html"
CELLS = "cells.json"
NO_KINDS: Mapping[str, str] = MappingProxyType({})
Session = Callable[[str], AbstractContextManager[Runner]]


@dataclass(frozen=True)
class ExplainPlan:
    """An explanation before anything is computed. `text` is None for the model's own page."""

    config: ExplainConfig
    model: ModelArtifact
    text: Text | None
    kind: str
    output: str

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model.uri,
            "text": self.text.origin.to_json() if self.text else None,
            "kind": self.kind,
            "output": self.output,
        }


@dataclass(frozen=True)
class ExplainRun:
    """The pages that were written, by name, and what the cell finder found."""

    pages: dict[str, str]
    page_bytes: dict[str, int]
    found: CellFindings | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"pages": self.pages, "bytes": self.page_bytes}
        if self.found:
            value |= {
                "units": self.found.units,
                "found_units": self.found.found_units,
                "share": self.found.share,
                "named": {row.name: row.verdict for row in self.found.named},
            }
        return value


def run_explanation(
    config: ExplainConfig, root: str, session: Session, kinds: Mapping[str, str] = NO_KINDS
) -> ExplainRun:
    """Write the pages of a model. `session(output)` is entered once the input is checked."""
    return run_plan(prepare(config, root, kinds), session)


def run_plan(plan: ExplainPlan, session: Session) -> ExplainRun:
    """`run_explanation` of what is prepared: a recipe looks first whether its output is there."""
    config = plan.config
    storage.check_writable(plan.output, option="--output")
    if plan.text is None:
        return _written(plan, {PLAY_PAGE: play_page(plan.model)})
    found = None
    sections: tuple[Section, ...] = ()
    findings: tuple[page_text.Finding, ...] = ()
    if config.finder_bytes:
        with session(plan.output) as runner:
            found = explain_cells(
                plan.model,
                cut(plan.text.data, config.finder_bytes),
                plan.kind,
                run=runner,
                seed=config.seed,
                text_name=plan.text.origin.source,
            )
        sections = findings_report.sections(found)
        findings = findings_report.page_findings(found)
    title = f"{plan.model.name} {plan.model.version} on {plan.text.origin.source}"
    read = page_text.read_text(plan.model, cut(plan.text.data, config.page_bytes), title)
    read = dataclasses.replace(read, findings=findings, sections=sections)
    pages = {TEXT_PAGE: page.text_page(read, plan.model), PLAY_PAGE: play_page(plan.model)}
    done = _written(plan, pages, found)
    if found:
        # Last: with it, an explanation is whole.
        storage.write_json(storage.join(plan.output, CELLS), found.to_json())
    return done


def prepare(config: ExplainConfig, root: str, kinds: Mapping[str, str] = NO_KINDS) -> ExplainPlan:
    """Fetch the model and the text, and refuse what has no page. Writes nothing.

    `kinds` are kinds of text by name of corpus that a caller knows beside the shipped recipes.
    """
    model = fetch_model(config.model, root)
    play.check_size(model.about.model)
    asked = EvaluateConfig(
        model=config.model, text=config.text, split=config.split, corpus=config.corpus
    )
    text = None
    kind = ""
    if not config.play:
        # A corpus is asked for even where a text is given: it says what kind of text that is.
        corpus = corpus_of(asked, model, root)
        most = max(config.page_bytes, config.finder_bytes)
        if config.text:
            text = text_of_url(config.text, most)
        else:
            assert corpus is not None
            text = text_of_split(corpus, config.split or "val", most)
        # The page is written last, after minutes of the cell finder, so it is asked first.
        vocab = parse_vocab(model.files, model.uri)
        page_text.page_tokens(vocab, cut(text.data, config.page_bytes), text.origin.source)
        name = corpus.name if corpus else ""
        # The labels of prose are those of any text.
        kind = config.kind or kinds.get(name, "") or recipes.kind_of(name) or "prose"
    output = storage.absolute(config.output) if config.output else ""
    output = output or _default_output(root, model, text, config)
    return ExplainPlan(config, model, text, kind, output)


def play_page(model: ModelArtifact) -> bytes:
    """The page of a model, with its card, whose sample is in int8 as all of the page is."""
    engine = open_engine(model, "int8")
    (sample,) = engine.sample([Request(0, SAMPLE_CHARS, temperature=SAMPLE_TEMPERATURE)])
    shapes = model.about.model.shapes().values()
    parameters = sum(int(np.prod(shape)) for shape in shapes)
    card = model_card(f"{model.name} {model.version}", model.about, parameters, sample)
    return play.play_page(model, card=card)


def _written(
    plan: ExplainPlan, pages: dict[str, bytes], found: CellFindings | None = None
) -> ExplainRun:
    urls = {}
    for name, data in pages.items():
        urls[name] = storage.join(plan.output, name)
        storage.write_bytes(urls[name], data)
        log.info("%s: %s bytes", urls[name], f"{len(data):,}")
    return ExplainRun(urls, {name: len(data) for name, data in pages.items()}, found)


def _default_output(
    root: str, model: ModelArtifact, text: Text | None, config: ExplainConfig
) -> str:
    """A folder named after the model and a digest of what decides its pages."""
    shown = [
        model.digests[WEIGHTS],
        text.origin.sha256 if text else "",
        config.kind,
        config.page_bytes,
        config.finder_bytes,
        config.seed,
    ]
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:6]
    return storage.join(root, "explanations", f"{model.name}-{model.version}-{digest}")
