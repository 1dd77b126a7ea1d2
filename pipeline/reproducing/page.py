"""A recipe's report as one HTML file, rendered as an evaluation's is: no network, all text escaped.

What is shown is read from the stages' JSON, which may be an older program's: a figure that is not
there leaves its line out.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline import storage
from pipeline.evaluation import plots, report
from pipeline.evaluation.plots import Bar
from pipeline.evaluation.section import Section
from pipeline.reproducing import lineage
from pipeline.reproducing.measured import measured
from pipeline.reproducing.result import Reproduction

PAGE = "report.html"
RECORD = "report.json"  # written last: with it, a report is whole
_EXCERPT_BYTES = 3000
_EXCERPT_LINES = 25
_ROWS = 10


def write(done: Reproduction, folder: str) -> str:
    """Write report.html, then report.json; the page's URL."""
    html = report.page(f"Recipe {done.recipe}", sections(done, folder))
    url = storage.join(folder, PAGE)
    storage.write_bytes(url, html.encode())
    storage.write_json(storage.join(folder, RECORD), done.record())
    return url


def sections(done: Reproduction, folder: str) -> list[Section]:
    """All parts of the report that have something to say."""
    evidence = done.evidence
    found = [
        _claims(done),
        _pages(done, folder),
        _excerpt(done),
        _scores(evidence),
        _structure(evidence),
        _memory(evidence),
        _cells(evidence),
        _milestones(evidence),
        _seconds(done),
        lineage.section(done.steps) if done.steps else None,
    ]
    return [each for each in found if each is not None]


def _claims(done: Reproduction) -> Section | None:
    if not done.judged:
        return None
    rows = [("claim", "measured", "needed", "verdict", "the post")]
    for each in done.judged:
        gate = " (gate)" if each.claim.must else ""
        row = (each.claim.name, _shown(each.value), each.needed, each.verdict + gate)
        rows.append((*row, each.claim.post))
    failed = [each for each in done.judged if each.fails_gate]
    lead = f"{len(failed)} gates fail. " if failed else "No gate fails. "
    lead += "A gate is a claim that must hold; of the others the table shows what came out."
    return Section(title="Claims", lead=lead, table=tuple(rows))


def _pages(done: Reproduction, folder: str) -> Section | None:
    links = tuple((title, _relative(url, folder)) for title, url in done.pages.items())
    return Section(title="Pages", links=links) if links else None


def _excerpt(done: Reproduction) -> Section | None:
    if done.sampled is None:
        return None
    first_line = storage.read_bytes(done.sampled.samples).split(b"\n")[0]
    url = storage.join(done.sampled.output, json.loads(first_line)["file"])
    text = storage.read_range(url, 0, _EXCERPT_BYTES).decode("utf-8", "replace")
    excerpt = "\n".join(text.splitlines()[:_EXCERPT_LINES])
    lead = f"The beginning of {url}, of {done.sampled.chars:,} characters in all."
    return Section(title="A sample", lead=lead, excerpt=excerpt)


def _scores(evidence: Mapping[str, Any]) -> Section | None:
    models = measured("evaluation.models", evidence)
    if not models:
        return None
    rows = [Bar(each["model"], each["bits_per_byte"], *_ends(each)) for each in models]
    for each in measured("evaluation.compressors", evidence) or []:
        rows.append(Bar(f"{each['name']}, cold", each["cold_bits_per_byte"]))
    best = measured("evaluation.ngrams[least bits_per_byte]", evidence)
    if best:
        rows.append(Bar(f"{best['n']}-gram", best["bits_per_byte"]))
    table = [("of", "bits per byte"), *((row.name, f"{row.value:.4f}") for row in rows)]
    text = measured("evaluation.text", evidence) or {}
    lead = f"On {text.get('bytes', 0):,} bytes, {text.get('source', '')}: {text.get('rule', '')}."
    chart = plots.bars(rows, "bits per byte")
    return Section(title="Scores", lead=lead, table=tuple(table), plots=(chart,))


def _structure(evidence: Mapping[str, Any]) -> Section | None:
    groups = measured("evaluation.studies.structure.groups", evidence)
    if not groups:
        return None
    rows = [("share of", "temperature", "samples", "held-out text")]
    for group in groups:
        warmth = _shown(group["temperature"])
        held = {check["name"]: check["share"] for check in group["control"]["checks"]}
        for check in group["samples"]["checks"]:
            beside = _shown(held.get(check["name"]))
            rows.append((check["name"], warmth, _shown(check["share"]), beside))
    return Section(title="How well its samples are made", table=tuple(rows))


def _memory(evidence: Mapping[str, Any]) -> Section | None:
    groups = measured("evaluation.studies.memory.groups", evidence)
    if not groups:
        return None
    rows = [("texts", "symbols", "in long spans of training text", "longest")]
    for group in groups:
        share = group["covered"] / max(1, group["symbols"])
        longest = max((span["length"] for span in group["longest"] if "length" in span), default=0)
        rows.append((group["group"], f"{group['symbols']:,}", f"{share:.2%}", f"{longest:,}"))
    return Section(title="What its samples repeat of training text", table=tuple(rows))


def _cells(evidence: Mapping[str, Any]) -> Section | None:
    found = evidence.get("explanation")
    if not found or "rows" not in found:
        return None
    rows = [("unit", "signal", "tracks", "effect", "best baseline")]
    for row in found["rows"][:_ROWS]:
        baseline = max(row["ngram"], row["untrained"])
        unit = f"{row['layer']}.{row['unit']}"
        rows.append((unit, row["signal"], row["label"], _shown(row["effect"]), _shown(baseline)))
    named = ", ".join(f"{each['name']}: {each['verdict']}" for each in found.get("named", []))
    lead = f"{found['found_units']} of {found['units']} units. The post's own: {named}."
    return Section(title="Cells that mean something", lead=lead, table=tuple(rows))


def _milestones(evidence: Mapping[str, Any]) -> Section | None:
    found = measured("evolution.milestones", evidence)
    if not found:
        return None
    rows = [("what", "learned by step", "needed")]
    rows += [(each["name"], _shown(each["reached"]), each["needed"]) for each in found]
    return Section(title="What it learned when", table=tuple(rows))


def _seconds(done: Reproduction) -> Section:
    rows = [("stage", "seconds"), *((name, f"{took:.1f}") for name, took in done.seconds.items())]
    lead = "A stage whose output was there takes next to none."
    return Section(title="Time", lead=lead, table=tuple(rows))


def _relative(url: str, folder: str) -> str:
    """A link that holds where the root was moved to; a page elsewhere has its whole URL."""
    is_same_store = urlsplit(url)[:2] == urlsplit(folder)[:2]
    return posixpath.relpath(url, folder) if is_same_store else url


def _ends(score: Mapping[str, Any]) -> tuple[float | None, float | None]:
    interval = score.get("bits_per_byte_interval")
    return (interval["low"], interval["high"]) if interval else (None, None)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
