"""Speakers and speeches against a corpus of some."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structure.play import Speech, learn, look, speakers_per_hundred, speeches

CORPUS = b"First Citizen:\nSpeak, speak.\n\nAll:\nResolved. resolved. Now.\n\n" * 20 + b"All:\ncut"


def test_speeches_begin_with_a_name_and_the_last_is_left_out() -> None:
    text = b"All:\nGo on:\nand on\n\nKING LEAR:\n\nFirst Lord:\ncut"
    assert list(speeches(text)) == [Speech(0, b"All", 4), Speech(20, b"KING LEAR", 0)]


def test_strangers_and_long_speeches_are_found_in_their_places() -> None:
    text = (
        b"All:\none two\n\nFirst Citizne:\none two three\n\nAll:\n" + b"la " * 50 + b"\n\nAll:\ncut"
    )
    found = look({"a.txt": text}, learn(CORPUS))
    speakers, usual = found.checks
    assert (speakers.count, speakers.out_of) == (2, 3)
    assert [each.offset for each in speakers.findings] == [text.index(b"First Citizne")]
    assert (usual.count, usual.out_of) == (2, 3)
    assert [each.kind for each in usual.findings] == ["speech of 50 words"]
    figures = {figure.name: figure.value for figure in found.figures}
    assert figures["words of a speech, median"] == 3.0
    distance = "distance of speech lengths from the corpus's (Kolmogorov-Smirnov)"
    assert figures[distance] == pytest.approx(1 / 3)
    assert found.notes == ("90% of the corpus's lengths are from 2 to 3 words.",)


def test_the_corpus_is_within_itself() -> None:
    found = look({"a.txt": CORPUS}, learn(CORPUS))
    assert [(check.count, check.out_of) for check in found.checks] == [(40, 40), (40, 40)]


def test_speakers_are_counted_by_hundreds() -> None:
    own = [Speech(at, b"%d" % (at % 7), 1) for at in range(250)]
    assert speakers_per_hundred(own) == [7.0, 7.0]
    assert speakers_per_hundred(own[:99]) == []
