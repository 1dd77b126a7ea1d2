"""Samples beside held-out text of the same size, by temperature."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.section import Section
from pipeline.evaluation.structure.check import Checker
from pipeline.evaluation.structure.findings import Check, KindReport, Texts

PLACES = 10  # of each check, in a report


@dataclass(frozen=True, kw_only=True)
class Group:
    """The samples of one temperature, and the control of their size. None: not told."""

    temperature: float | None
    samples: KindReport
    control: KindReport

    def to_json(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "samples": self.samples.to_json(),
            "control": self.control.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class StructureResult:
    """How well samples are made, beside held-out text. `groups` are in order of temperature."""

    kind: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "groups": [group.to_json() for group in self.groups],
            "notes": list(self.notes),
        }


def compare(
    kind: str,
    samples: Texts,
    control: Texts,
    reference: bytes,
    temperatures: Mapping[str, float],
    compiles: bool = False,
) -> StructureResult:
    """Check samples, and held-out text cut to their sizes.

    control: held-out documents by name, in the corpus's order; reference: text of the train split;
    temperatures: by file name, for the files that have one.

    InputError without samples, without held-out text, and as Checker.of.
    """
    if not samples:
        raise InputError("there are no samples to check; give a folder that holds some.")
    if not any(control.values()):
        raise InputError("there is no held-out text to put beside samples; give a split with some.")
    checker = Checker.of(kind, reference, compiles)
    controls: dict[tuple[int, ...], KindReport] = {}
    groups = []
    notes: list[str] = []
    for temperature, texts in by_temperature(samples, temperatures):
        sizes = tuple(len(text) for text in texts.values())
        if sizes not in controls:
            pieces = control_of(sizes, control)
            controls[sizes] = checker.report(pieces)
            held = sum(map(len, pieces.values()))
            if held < sum(sizes):
                notes.append(
                    f"Held-out text of {held:,} bytes stands beside samples of {sum(sizes):,}."
                )
        report = checker.report(texts)
        group = Group(temperature=temperature, samples=report, control=controls[sizes])
        groups.append(group)
    return StructureResult(kind=kind, groups=tuple(groups), notes=tuple(dict.fromkeys(notes)))


def by_temperature(
    samples: Texts, temperatures: Mapping[str, float]
) -> list[tuple[float | None, dict[str, bytes]]]:
    """Samples by temperature, from the lowest; those without one last."""
    groups: dict[float | None, dict[str, bytes]] = {}
    for file, text in samples.items():
        groups.setdefault(temperatures.get(file), {})[file] = text
    return sorted(groups.items(), key=lambda group: (group[0] is None, group[0] or 0.0))


def control_of(sizes: tuple[int, ...], control: Texts) -> dict[str, bytes]:
    """Pieces of held-out text of these sizes, each from the beginning of a document on, as samples
    begin. They follow each other, and end where the text does: a last one may be shorter.

    Where one long document is all there is, pieces begin at a line.
    """
    text = b"".join(control.values())
    begins: list[int] = []
    at = 0
    for document in control.values():
        begins.append(at)
        at += len(document)
    pieces: dict[str, bytes] = {}
    at = 0
    for number, size in enumerate(sizes):
        if at >= len(text):
            break
        piece = text[at : at + size]
        pieces[f"control-{number:04d}"] = piece
        at = _next_begin(text, begins, at + len(piece))
    return pieces


def _next_begin(text: bytes, begins: list[int], at: int) -> int:
    """The next document's beginning, or the next line's if that document is far off."""
    newline = text.find(b"\n", at - 1)
    line = len(text) if newline < 0 else newline + 1
    index = bisect_left(begins, at)
    # Text is not thrown away for a better beginning: a tenth of what is left has to do.
    if index < len(begins) and begins[index] - at <= (len(text) - at) // 10:
        return begins[index]
    return line


def section(result: StructureResult) -> Section:
    """A row a check, a column for each temperature and for its control."""
    head = ["share of"]
    rows: dict[str, list[str]] = {"bytes": ["bytes looked at"]}
    for group in result.groups:
        head += [_title(group), "control"]
        for report in (group.samples, group.control):
            rows["bytes"].append(f"{report.bytes:,}")
            for check in report.checks:
                rows.setdefault(check.name, [check.name]).append(_share(check))
            for figure in report.figures:
                rows.setdefault(figure.name, [figure.name]).append(_shown(figure.value))
    notes = dict.fromkeys(
        note for group in result.groups for note in (*group.samples.notes, *group.control.notes)
    )
    lead = (
        "Held-out text of the same size is checked in the same way: a figure means something only "
        "beside the control's, since text out of its context fails many checks. "
    )
    lead += " ".join([*result.notes, *notes])
    table = tuple(tuple(row) for row in (head, *rows.values()))
    return Section(title="How well its samples are made", lead=lead.strip(), table=table)


def places(result: StructureResult) -> Section:
    """Where checks do not hold in the samples: the first places of each."""
    rows = [("check", "file", "byte", "what", "text")]
    for group in result.groups:
        for check in group.samples.checks:
            for found in check.findings[:PLACES]:
                row = (check.name, found.file, f"{found.offset:,}", found.kind, found.text)
                rows.append(row)
    lead = f"The first {PLACES} places of each check; all that were kept are in the JSON."
    return Section(title="Places in the samples", lead=lead, table=tuple(rows))


def _title(group: Group) -> str:
    return "samples" if group.temperature is None else f"temperature {group.temperature:g}"


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _share(check: Check) -> str:
    if check.share is None:
        return "none to look at"
    return f"{check.share:.1%} of {check.out_of:,}"
