"""The sentence of each field of a dataclass: the string behind it in its source.

Python does not keep it. Reading it takes a few milliseconds, and only --help does.
"""

from __future__ import annotations

import ast
import inspect
import textwrap


def field_docs(config_class: type) -> dict[str, str]:
    """Sentences by field, each in one line; a class's own come over those of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if base is not object:
            docs |= _own(base)
    return docs


def _own(config_class: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config_class))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for before, node in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docs[before.target.id] = " ".join(str(node.value.value).split())
    return docs
