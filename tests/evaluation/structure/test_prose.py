"""Words and sentences against a corpus of some."""

from __future__ import annotations

from pipeline.evaluation.structure.prose import learn, look, sentences

CORPUS = "Prince André said nothing. He couldn't! “Well, well,” said she.\n".encode() * 30


def test_invented_words_and_long_sentences_are_found_in_their_places() -> None:
    text = "He said notthing. couldn't André well " * 3 + "she he said nothing. cut"
    found = look({"a.txt": text.encode()}, learn(CORPUS))
    words, usual = found.checks
    assert [each.text for each in words.findings] == ["notthing"] * 3
    assert words.findings[0].offset == text.encode().index(b"notthing")
    assert words.out_of - words.count == 3  # the last word may be cut, and is not counted
    assert [each.kind for each in usual.findings] == ["sentence of 6 words"] * 2 + [
        "sentence of 7 words"
    ]
    assert found.figures[0].value == 6.0


def test_the_corpus_is_within_itself() -> None:
    found = look({"a.txt": CORPUS}, learn(CORPUS))
    assert [check.share for check in found.checks] == [1.0, 1.0]
    assert found.figures[1].value == 0.0


def test_sentences_end_at_their_sign_or_at_an_empty_line() -> None:
    text = b'One two. Three?" Four\n\n  Five six seven! cut'
    found = [(text[start:end], count) for start, end, count in sentences(text)]
    assert found == [
        (b"One two.", 2),
        (b'Three?"', 1),
        (b"Four\n\n", 1),
        (b"Five six seven!", 3),
    ]
