"""What checks of structure say: how often something holds, and where it does not."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FINDINGS = 100  # of one check; a text of nothing but faults must not fill the memory
EXCERPT = 80  # bytes of a finding's text
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A place where a check does not hold. `offset` counts bytes from the file's start."""

    file: str
    offset: int
    kind: str
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "offset": self.offset, "kind": self.kind, "text": self.text}


@dataclass(frozen=True, kw_only=True)
class Check:
    """What `name` says holds for `count` of `out_of` cases. `findings` are the first others."""

    name: str
    count: int
    out_of: int
    findings: tuple[Finding, ...] = ()

    @property
    def share(self) -> float | None:
        """None where the text has no case to look at."""
        return self.count / self.out_of if self.out_of else None

    def to_json(self) -> dict[str, Any]:
        findings = [finding.to_json() for finding in self.findings]
        return {
            "name": self.name,
            "count": self.count,
            "out_of": self.out_of,
            "share": self.share,
            "findings": findings,
        }


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that is no share: a length, an entropy. None where the text has none."""

    name: str
    value: float | None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value}


@dataclass(frozen=True, kw_only=True)
class KindReport:
    """All that is said of texts of one kind. `notes` tell what was left out, and why."""

    kind: str
    bytes: int
    files: int
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "bytes": self.bytes,
            "files": self.files,
            "checks": [check.to_json() for check in self.checks],
            "figures": [figure.to_json() for figure in self.figures],
            "notes": list(self.notes),
        }

    def check(self, name: str) -> Check:
        """A check by its name. KeyError when the kind has none of that name."""
        for each in self.checks:
            if each.name == name:
                return each
        raise KeyError(name)

    def figure(self, name: str) -> float | None:
        """A figure's value by its name. KeyError when the kind has none of that name."""
        for each in self.figures:
            if each.name == name:
                return each.value
        raise KeyError(name)


@dataclass
class Tally:
    """A check while it is being counted."""

    name: str
    count: int = 0
    out_of: int = 0
    findings: list[Finding] = field(default_factory=list)

    def holds(self, times: int = 1) -> None:
        self.count += times
        self.out_of += times

    def fails(self, file: str, offset: int, kind: str, text: bytes) -> None:
        """A case that does not hold. `text` is what stands there."""
        self.out_of += 1
        self.note(file, offset, kind, text)

    def note(self, file: str, offset: int, kind: str, text: bytes) -> None:
        """A place alone, where cases are counted apart from places: bytes, for instance."""
        if len(self.findings) < FINDINGS:
            shown = excerpt(text)
            self.findings.append(Finding(file=file, offset=offset, kind=kind, text=shown))

    def done(self) -> Check:
        return Check(
            name=self.name,
            count=self.count,
            out_of=self.out_of,
            findings=tuple(self.findings),
        )


def excerpt(text: bytes) -> str:
    """The start of a text as a report can show it: one line, no control characters."""
    shown = text[:EXCERPT].decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else _NAMED.get(char, "\N{REPLACEMENT CHARACTER}")
        for char in shown
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the checks of one kind come to."""

    checks: tuple[Check, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


Texts = Mapping[str, bytes]  # files by name


def joined(parts: Iterable[Found]) -> Found:
    """What several lookers found, one after another."""
    kept = list(parts)
    return Found(
        checks=tuple(check for part in kept for check in part.checks),
        figures=tuple(figure for part in kept for figure in part.figures),
        notes=tuple(note for part in kept for note in part.notes),
    )


def median(values: Sequence[float]) -> float | None:
    """The middle one; None of none."""
    return float(statistics.median(values)) if values else None


def finished(tallies: Iterable[Tally]) -> tuple[Check, ...]:
    return tuple(tally.done() for tally in tallies)
