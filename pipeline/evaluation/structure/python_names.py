"""Names of Python functions that parse: what is read and never defined, or read too early."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator
from typing import Any

_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__class__", "__module__", "__qualname__"}
ANYTHING = "*"  # among known names: another module's are known too, whatever they are
_NAMED = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.ExceptHandler,
    ast.MatchAs,
    ast.MatchStar,
)


def undefined_names(tree: symtable.SymbolTable, known: frozenset[str]) -> tuple[set[str], int]:
    """Names that a function reads and nobody defines, and how many names it reads in all."""
    if ANYTHING in known:
        return set(), 0  # which names there are cannot be seen here
    undefined: set[str] = set()
    read: set[str] = set()
    stack = [tree]
    while stack:
        scope = stack.pop()
        stack.extend(scope.get_children())
        if scope is tree:
            continue  # the module that holds nothing but the function
        for symbol in scope.get_symbols():
            if not symbol.is_referenced():
                continue
            name = symbol.get_name()
            read.add(name)
            if symbol.is_global() and name not in known and name not in _BUILTINS:
                undefined.add(name)
    own = set(tree.get_identifiers())
    return undefined - own, len(read)


def read_before_set(function: ast.AST) -> Iterator[tuple[str, int, int, bool]]:
    """A function's local names: name, line and column of the first time it is read, and whether
    it is read there before any line sets it.

    Only names that assignments, loops and `with` set, and only in the function's own scope: an
    inner one runs later.
    """
    stored: dict[str, tuple[int, int]] = {}
    loaded: dict[str, tuple[int, int]] = {}
    others: set[str] = set()
    ends: dict[int, tuple[int, int]] = {}  # where a name is set, by its node
    for node in _own_nodes(function):
        others.update(_set_otherwise(node))
        targets, source = _assigned(node)
        for target in targets:
            # `x = x + 1` reads before it sets: a name is set where what it is set to ends.
            end = (source.end_lineno or 0, source.end_col_offset or 0)
            ends.update({id(each): end for each in ast.walk(target)})
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            at = (node.lineno, node.col_offset)
            loaded[node.target.id] = min(at, loaded.get(node.target.id, at))
        if not isinstance(node, ast.Name):
            continue
        at = (node.lineno, node.col_offset)
        if isinstance(node.ctx, ast.Load):
            loaded[node.id] = min(at, loaded.get(node.id, at))
        else:
            at = ends.get(id(node), at)
            stored[node.id] = min(at, stored.get(node.id, at))
    for name, at in loaded.items():
        if name in stored and name not in others:
            yield name, *at, at < stored[name]


def _assigned(node: ast.AST) -> tuple[list[ast.expr], Any]:
    """What a node sets, and what it sets it to."""
    if isinstance(node, ast.Assign):
        return node.targets, node.value
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        return [node.target], node
    if isinstance(node, (ast.For, ast.AsyncFor)):
        return [node.target], node.iter
    return [], node


def _set_otherwise(node: ast.AST) -> Iterator[str]:
    """Names that a node sets without an assignment, or that are not local at all."""
    if isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, _NAMED) and node.name:
        yield node.name
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id  # `if (x := f()) and x`: order within a line says nothing


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    stack = list(ast.iter_child_nodes(function))
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*scopes, *comprehensions)):
            stack.extend(ast.iter_child_nodes(node))
