"""All checks of one kind of text, and those of any text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.structure import (
    c,
    compilers,
    latex,
    loops,
    names,
    play,
    prose,
    python,
    wiki,
)
from pipeline.evaluation.structure.findings import Found, KindReport, Texts, joined
from pipeline.recipes import KINDS
from pipeline.settings import nearest

# A check of a hostile text takes up to 10 s a megabyte; real text a tenth of that.
LONGEST_FILE = 1 << 21
MOST_BYTES = 1 << 23
LONGEST_REFERENCE = 1 << 24

_MODULES: dict[str, ModuleType] = {
    "c": c,
    "latex": latex,
    "wiki": wiki,
    "python": python,
    "play": play,
    "names": names,
    "prose": prose,
}


@dataclass(frozen=True)
class Checker:
    """The checks of one kind, and what they know of a corpus: learnt once, used for many texts."""

    kind: str
    known: Any
    look: Callable[[Texts, Any], Found]
    notes: tuple[str, ...]
    compiles: bool

    @classmethod
    def of(cls, kind: str, reference: bytes, compiles: bool = False) -> Checker:
        """InputError for a kind that there is not, and for a compiler that is not here."""
        if kind not in _MODULES:
            raise InputError(
                f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.{nearest(kind, KINDS)}"
            )
        if compiles:
            compilers.check_compiler(kind)
        notes: tuple[str, ...] = ()
        if len(reference) > LONGEST_REFERENCE:
            size = f"{len(reference):,}"
            notes = (f"Of the corpus's {size} bytes, {LONGEST_REFERENCE:,} were looked at.",)
        known = _MODULES[kind].learn(reference[:LONGEST_REFERENCE])
        return cls(kind, known, _MODULES[kind].look, notes, compiles)

    def report(self, texts: Texts) -> KindReport:
        """What the checks say of these texts, by file name."""
        bounded, cuts = bounded_texts(texts)
        parts = [self.look(bounded, self.known), loops.look(bounded, None)]
        if self.compiles:
            parts.insert(0, compilers.look(self.kind, bounded))
        found = joined(parts)
        return KindReport(
            kind=self.kind,
            bytes=sum(map(len, bounded.values())),
            files=len(bounded),
            checks=found.checks,
            figures=found.figures,
            notes=(*cuts, *self.notes, *found.notes),
        )


def check(kind: str, texts: Texts, reference: bytes, compiles: bool = False) -> KindReport:
    """How well texts are made. `reference` is text that the model learnt from.

    `compiles` asks gcc or TeX as well.
    """
    return Checker.of(kind, reference, compiles).report(texts)


def bounded_texts(texts: Texts) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Texts as long as checks can take them, and notes of what was cut."""
    kept: dict[str, bytes] = {}
    notes = []
    room = MOST_BYTES
    for file, text in texts.items():
        length = min(len(text), LONGEST_FILE, room)
        if length < len(text):
            notes.append(f"Of {file}, {length:,} of {len(text):,} bytes were looked at.")
        if length or not text:
            kept[file] = text[:length]
        room -= length
    return kept, tuple(notes)
