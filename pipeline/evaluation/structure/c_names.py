"""What a C function declares, uses and returns, from the nodes that tree-sitter made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FunctionNames:
    """Names of one function: where each is declared first, where each is used."""

    declared: dict[bytes, int] = field(default_factory=dict)
    local: dict[bytes, int] = field(default_factory=dict)  # the declared ones without parameters
    used: list[tuple[bytes, int]] = field(default_factory=list)


def names_of(root: Any, source: bytes) -> FunctionNames:
    """Variables that functions declare and use.

    A call's own name counts as neither, since it may come from any header.
    """
    names = FunctionNames()
    no_use: set[int] = set()  # places of names that declare or are called
    for node in nodes_of(root):
        if node.type in ("declaration", "parameter_declaration"):
            for declarator in node.children_by_field_name("declarator"):
                found = _declared(declarator)
                if found is None:
                    continue
                name = source[found.start_byte : found.end_byte]
                no_use.add(found.start_byte)
                names.declared.setdefault(name, found.start_byte)
                if node.type == "declaration" and not _has_storage_class(node):
                    names.local.setdefault(name, found.start_byte)
        elif node.type == "call_expression":
            no_use.add(node.child_by_field_name("function").start_byte)
        elif node.type == "function_definition":
            found = _declared(node.child_by_field_name("declarator"))
            if found is not None:
                no_use.add(found.start_byte)
        elif node.type == "identifier" and node.start_byte not in no_use:
            names.used.append((source[node.start_byte : node.end_byte], node.start_byte))
    return names


def void_returns(root: Any) -> Iterator[tuple[int, bool]]:
    """Each return of void functions: its place, and whether it gives a value."""
    for node in nodes_of(root):
        if node.type != "function_definition":
            continue
        kind = node.child_by_field_name("type")
        declarator = node.child_by_field_name("declarator")
        # `void *f()` has a pointer_declarator around the function's.
        if kind is None or kind.text != b"void" or declarator.type != "function_declarator":
            continue
        for inner in nodes_of(node):
            if inner.type == "return_statement":
                yield inner.start_byte, inner.named_child_count > 0


def _has_storage_class(node: Any) -> bool:
    """extern and static ones live on: whether they are used cannot be seen here."""
    return any(child.type == "storage_class_specifier" for child in node.children)


def _declared(node: Any) -> Any:
    """The identifier that a declarator declares; None where there is none."""
    while node is not None and node.type != "identifier":
        inner = node.child_by_field_name("declarator")
        is_wrapped = inner is None and node.type == "parenthesized_declarator"
        node = node.named_child(0) if is_wrapped else inner
    return node


def nodes_of(root: Any) -> Iterator[Any]:
    """All nodes, a parent before its children, in the text's order. No recursion: text nests."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))
