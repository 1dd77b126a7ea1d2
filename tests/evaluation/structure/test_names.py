"""Names that are new, and names that are written twice."""

from __future__ import annotations

from pipeline.evaluation.structure.names import learn, look


def test_new_names_and_repeated_ones_are_told_apart() -> None:
    found = look({"a.txt": b"anna\nZora\n\nzora\nmia\nann"}, learn(b"Anna\nmia\nann\n"))
    unseen, once = found.checks
    assert (unseen.name, unseen.count, unseen.out_of) == (
        "names that the corpus does not have",
        2,
        4,
    )
    assert [(each.offset, each.text) for each in unseen.findings] == [(0, "anna"), (16, "mia")]
    assert (once.count, once.out_of) == (3, 4)
    assert [each.offset for each in once.findings] == [11]


def test_a_cut_name_alone_is_none() -> None:
    assert [check.out_of for check in look({"a": b"ann"}, learn(b"")).checks] == [0, 0]
