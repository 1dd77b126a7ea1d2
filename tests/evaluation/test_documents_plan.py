"""Groups follow from the documents alone, and a part's name from all that decides it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.evaluation import documents_plan
from pipeline.evaluation.documents_plan import Settings, plan_digest, plan_documents
from pipeline.evaluation.documents_read import Document, Piece

SETTINGS = Settings("d" * 64, "fp32")


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_plan, "LEAST_BYTES", 1000)
    monkeypatch.setattr(documents_plan, "MOST_BYTES", 10_000)
    monkeypatch.setattr(documents_plan, "WIDTH", 4)


def documents() -> list[Document]:
    sizes = [20_000, 4000, 900, 3500, *range(300, 700, 10), 0, 0]
    return [
        Document(f"{number:03d}.c".encode(), "", size, f"{number:064x}", (Piece(0, size),))
        for number, size in enumerate(sizes)
    ]


def test_every_document_is_in_one_group_whatever_order_they_come_in() -> None:
    groups = plan_documents(documents(), SETTINGS)
    assert sorted(d.path for g in groups for d in g.documents) == [d.path for d in documents()]
    shuffled = documents()
    random.Random(3).shuffle(shuffled)
    assert plan_documents(shuffled, SETTINGS) == groups


def test_a_group_has_enough_beside_its_longest_document() -> None:
    groups = plan_documents(documents(), SETTINGS)
    sizes = [document.size for group in groups for document in group.documents]
    assert sizes == sorted(sizes, reverse=True)
    assert [d.size for d in groups[0].documents] == [20_000]  # it is above the most
    for group in groups[1:-1]:
        longest = group.documents[0].size
        assert group.size <= 10_000
        follows = groups[groups.index(group) + 1].documents[0].size
        assert group.size >= max(1000, 4 * longest) or group.size + follows > 10_000
    assert plan_documents([], SETTINGS) == []


def test_a_name_stands_for_all_that_decides_the_part() -> None:
    first = plan_documents(documents(), SETTINGS)
    names = {first[-1].file}
    changed = [
        replace(SETTINGS, model_digest="e" * 64),
        replace(SETTINGS, precision="int8"),
        replace(SETTINGS, window=16),
    ]
    names |= {plan_documents(documents(), settings)[-1].file for settings in changed}
    for field, value in (("path", b"~"), ("split", "val"), ("digest", "f" * 64)):
        others = documents()
        others[-1] = replace(others[-1], **{field: value})
        made = plan_documents(others, SETTINGS)
        names.add(made[-1].file)
        assert plan_digest(made) != plan_digest(first)
        assert made[0] == first[0]  # what has not changed need not be scored again
    assert len(names) == 7


def test_a_span_has_a_symbol() -> None:
    with pytest.raises(InputError, match="window is 0"):
        Settings("", "fp32", 0)
