"""Samples with planted text: found with its source and place, by any tasks, units and splits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation.memory import Memory, Sample
from pipeline.evaluation.verbatim import control_of, remembered
from pipeline.tasks import run_here
from tests.corpora.conftest import build


def words(seed: int, count: int) -> str:
    """Text that no other seed has: words of random letters."""
    letters = random.Random(seed)
    return " ".join("".join(letters.choices("abcdefgh", k=6)) for _ in range(count))


def backwards(function: Any, tasks: Any) -> Any:
    """A runner whose tasks complete in the other order."""
    return reversed(list(run_here(function, tasks)))


@pytest.mark.parametrize("task_tokens", [1 << 26, 1000])
@pytest.mark.parametrize("run", [run_here, backwards])
def test_planted_spans_are_found_with_their_places(
    corpus: Corpus, texts: Path, task_tokens: int, run: Any
) -> None:
    tokens = corpus.open_split("train")
    planted = corpus.vocab.decode(tokens.read(950, 1250))
    short = corpus.vocab.decode(tokens.read(5000, 5040))
    text = b"\x00\x01" + planted + b"\x02" + short + b"\x00" * 50
    sample = Sample(name="a", group="0.5", text=text)
    other = Sample(name="b", group="1.0", text=b"\x03" * 40)
    memory = remembered(corpus, [sample, other], run, task_tokens=task_tokens, ngrams=(8, 32))
    first, second = memory.texts[0].longest
    assert (first.start, first.length, first.place) == (2, 300, 950)
    source = (texts / first.path).read_bytes()
    assert source[first.offset : (first.offset or 0) + 300] == planted
    assert (second.start, second.length) == (303, 40)
    assert memory.texts[0].covered == 340
    assert (memory.texts[1].covered, memory.texts[1].longest) == (0, ())
    # Spans of 300 and 40 have 269 and 9 places for 32 symbols; all other places are new.
    total = len(text) - 31
    assert vars(memory.texts[0].ngrams[1]) == {"n": 32, "new": total - 269 - 9, "total": total}
    assert [group.group for group in memory.groups] == ["0.5", "1.0"]
    assert memory.groups[0].longest == memory.texts[0].longest


def test_a_whole_sample_and_the_ends_of_the_split_are_found(corpus: Corpus) -> None:
    tokens = corpus.open_split("train")
    size = len(tokens)
    samples = [
        Sample(name="head", group="x", text=corpus.vocab.decode(tokens.read(0, 500))),
        Sample(name="tail", group="x", text=corpus.vocab.decode(tokens.read(size - 500, size))),
    ]
    memory = remembered(corpus, samples, task_tokens=300)
    assert [text.longest[0].length for text in memory.texts] == [500, 500]
    assert memory.texts[1].longest[0].place == size - 500
    assert memory.groups[0].covered == 1000
    assert all(share.new == 0 and share.total > 0 for share in memory.groups[0].ngrams)


def test_what_the_vocabulary_lacks_equals_nothing(tmp_path: Path) -> None:
    """Characters of several bytes; the rare one of the corpus is its unknown token."""
    text = words(1, 40) + " caf\u00e9 " + words(2, 40)
    (tmp_path / "t.txt").write_text(text + "\u20ac" + words(3, 40) + "\u00e9", encoding="utf-8")
    corpus = build(tmp_path, tmp_path / "t.txt", unit="char", min_count=2, val=0.0, test=0.0)
    assert corpus.vocab.has_unknown
    asked = text + "\u20ac" + words(3, 20)
    memory = remembered(corpus, [Sample(name="a", group="x", text=asked.encode())])
    assert [span.length for span in memory.texts[0].longest] == [len(text), len(words(3, 20))]
    assert memory.texts[0].symbols == len(asked)
    origin = memory.texts[0].longest[1]
    assert origin.offset == len((text + "\u20ac").encode())


def test_held_out_text_stands_beside(corpus: Corpus) -> None:
    samples = [Sample(name=str(n), group="1.0", text=b"x" * 700) for n in range(3)]
    controls = control_of(corpus, samples)
    assert [(len(text.text), text.group) for text in controls] == [(700, "val")] * 3
    size = corpus.tokens_in("val")
    assert [text.name for text in controls] == [
        "val 0",
        f"val {(size - 700) // 2}",
        f"val {size - 700}",
    ]
    tokens = corpus.open_split("val").read(size - 700, size)
    assert controls[2].text == corpus.vocab.decode(tokens)
    whole = control_of(corpus, [Sample(name="", group="", text=b"x" * (size + 1))])
    assert len(whole[0].text) == size


def test_no_text_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="no text to look for"):
        remembered(corpus, [Sample(name="a", group="x", text=b"")])


def test_long_ngrams_are_those_of_brute_force(corpus: Corpus) -> None:
    tokens = corpus.open_split("train")
    train = corpus.vocab.decode(tokens.read(0, len(tokens)))
    val = corpus.vocab.decode(corpus.open_split("val").read(0, 4000))
    memory: Memory = remembered(
        corpus, [Sample(name="v", group="val", text=val)], ngrams=(4, 16, 32, 40)
    )
    for share in memory.texts[0].ngrams:
        places = range(len(val) - share.n + 1)
        new = sum(val[start : start + share.n] not in train for start in places)
        assert (share.new, share.total) == (new, len(places))
    inside = np.zeros(len(val), bool)
    for start in range(len(val) - 31):
        if val[start : start + 32] in train:
            inside[start : start + 32] = True
    assert memory.texts[0].covered == inside.sum()
