"""Labels as text, to be held against texts labelled by hand."""

from __future__ import annotations

from pipeline.explaining.labels.label import Label


def marked(labels: list[Label], name: str) -> str:
    """A binary label as a # or a dot for each symbol."""
    (label,) = [each for each in labels if each.name == name]
    assert label.kind == "binary"
    return "".join("#" if value else "." for value in label.values)


def numbers(labels: list[Label], name: str) -> list[int]:
    """A real label's values."""
    (label,) = [each for each in labels if each.name == name]
    assert label.kind == "real"
    return [int(value) for value in label.values]
