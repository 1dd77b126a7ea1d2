"""The sentence behind a field."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.field_docs import field_docs


@dataclass
class Base:
    """No field's sentence."""

    one: int
    """the
    first"""
    bare: int
    two: int = 2
    """the second"""


@dataclass
class Derived(Base):
    two: int = 3
    """another second"""

    def method(self) -> None:
        """Nor this."""


def test_a_sentence_is_the_string_behind_its_field() -> None:
    assert field_docs(Base) == {"one": "the first", "two": "the second"}


def test_a_class_has_its_bases_sentences_too() -> None:
    assert field_docs(Derived) == {"one": "the first", "two": "another second"}
