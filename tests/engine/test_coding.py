"""Texts come back from what the engine's probabilities leave of them: as much as its score says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine import coding, range_coder
from pipeline.engine.coding import SymbolCodes, decode_streams, encode_streams, scored_bits
from pipeline.engine.engine import Engine
from pipeline.errors import DamagedError
from tests.engine.small import VOCAB, engine, fed

CHARS = Vocab("char", [None, 97, 98, 0x20AC])


def some_streams(vocab: Vocab, lengths: list[int], outside: float = 0.0) -> list[Any]:
    """Streams of the vocabulary's symbols, some of them replaced by others."""
    generator = np.random.default_rng(1)
    known = [symbol for symbol in vocab.symbols if symbol is not None]
    kind = np.uint8 if vocab.unit == "byte" else np.uint32
    streams = []
    for length in lengths:
        stream = generator.choice(known, length)
        replaced = generator.random(length) < outside
        streams.append(np.where(replaced, 0xC3, stream).astype(kind))
    return streams


def made_of(vocab: Vocab, cell: str = "lstm") -> Engine:
    return engine(cell, vocab=vocab, precision="int8")[0]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("vocab", [VOCAB, CHARS], ids=["bytes", "chars"])
def test_streams_come_back(cell: str, vocab: Vocab) -> None:
    made = made_of(vocab, cell)
    streams = some_streams(vocab, [300, 300, 299, 0], outside=0.1)
    coded = encode_streams(made, streams)
    back = decode_streams(made, coded, [300, 300, 299, 0])
    for before, after in zip(streams, back, strict=True):
        assert before.dtype == after.dtype
        assert before.tolist() == after.tolist()


def test_neither_lane_mates_nor_blocks_change_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(VOCAB)
    lengths = [200, 131, 130, 129, 3, 1, 0]
    streams = some_streams(VOCAB, lengths, outside=0.05)
    together = encode_streams(made, streams)
    for number, stream in enumerate(streams):
        assert encode_streams(made, [stream]) == [together[number]]
    monkeypatch.setattr(coding, "_BLOCK", 7)
    assert encode_streams(made, streams) == together
    for number, stream in enumerate(streams):
        (back,) = decode_streams(made, [together[number]], [lengths[number]])
        assert back.tolist() == stream.tolist()


@pytest.mark.parametrize("vocab", [VOCAB, CHARS], ids=["bytes", "chars"])
def test_the_bytes_are_the_engines_score(vocab: Vocab) -> None:
    made = made_of(vocab)
    outside = 0.05 if vocab.has_unknown else 0.0
    streams = some_streams(vocab, [3000, 3000, 2999], outside)
    bits = scored_bits(made, streams)
    size = sum(map(len, encode_streams(made, streams)))
    assert bits is not None
    assert abs(size - bits / 8) < 0.0001 * bits / 8 + 3 * 2


def test_the_score_is_the_engines_and_log_v_for_what_nothing_predicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = made_of(VOCAB)
    streams = some_streams(VOCAB, [90, 90])
    tokens = np.stack([VOCAB.encode(stream.tobytes()) for stream in streams], axis=1)
    expected = made.score(tokens) * 89 * 2 / math.log(2) + 2 * math.log2(len(VOCAB))
    for block in (1024, 89, 7):
        monkeypatch.setattr(coding, "_BLOCK", block)
        assert scored_bits(made, streams) == pytest.approx(expected, rel=1e-12)


def test_no_score_covers_symbols_without_a_token() -> None:
    assert scored_bits(made_of(VOCAB), some_streams(VOCAB, [50], outside=0.5)) is None


def test_a_symbol_outside_costs_what_is_said() -> None:
    made = made_of(VOCAB)
    letters = np.full(1000, 97, np.uint8)
    foreign = np.full(1000, 0xC3, np.uint8)
    size = len(encode_streams(made, [foreign])[0])
    # 32 bits beside the weights' sum, which has a few bits more, and 8 for which byte it is.
    weights = math.log2(len(VOCAB))
    assert 40 * 1000 <= 8 * size <= (40 + weights) * 1000 + 16
    assert size > 5 * len(encode_streams(made, [letters])[0])


def test_frequencies_are_those_of_the_formula() -> None:
    made = made_of(VOCAB)
    logits = fed(made, np.array([[1], [5], [3]]))[-1, 0]
    frequencies = np.zeros(len(VOCAB) + 1, np.int64)
    total = coding._quantise(logits, len(VOCAB), frequencies)
    weights = np.exp(logits.astype(np.float64) - np.float64(logits.max()))
    # numpy's own exp may differ in the last bit, which is 2**-20 of a frequency.
    assert np.abs(frequencies[:-1] - (1 + np.floor(weights * 2.0**32))).max() <= 1
    assert frequencies.max() == 2**32 + 1
    assert frequencies[-1] == 1
    assert total == frequencies.sum()


def test_an_impossible_symbol_has_a_code() -> None:
    frequencies = np.zeros(3, np.int64)
    logits = np.array([0.0, -2000.0, -1e30], np.float32)
    assert coding._quantise(logits, 3, frequencies) == 2**32 + 3
    assert frequencies.tolist() == [2**32 + 1, 1, 1]


@pytest.mark.parametrize("vocab", [VOCAB, CHARS], ids=["bytes", "chars"])
def test_codes_are_tokens_or_tell_the_symbol(vocab: Vocab) -> None:
    codes = SymbolCodes(vocab)
    (symbols,) = some_streams(vocab, [100], outside=0.3)
    made = codes.codes(symbols)
    assert made[symbols == 0xC3].tolist() == [-1 - 0xC3] * int((symbols == 0xC3).sum())
    known = symbols[symbols != 0xC3]
    assert made[symbols != 0xC3].tolist() == vocab.encode_symbols(known).tolist()
    assert codes.symbols(made).tolist() == symbols.tolist()
    assert codes.rule == ((0, 0x110000) if vocab.has_unknown else (1, 0x100))


@pytest.mark.parametrize("outside", [0.0, 0.3])
def test_streams_that_nobody_wrote_are_refused(outside: float) -> None:
    made = made_of(VOCAB)
    (stream,) = some_streams(VOCAB, [200], outside)
    (coded,) = encode_streams(made, [stream])
    for other in (coded[:-1], coded + b"\0", b"", b"\xff" * len(coded)):
        with pytest.raises(DamagedError, match="streams"):
            decode_streams(made, [other], [200])
    for length in (199, 2000):
        with pytest.raises(DamagedError, match="do not end"):
            decode_streams(made, [coded], [length])


def test_a_claim_of_symbols_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "_BLOCK", 16)
    made = made_of(VOCAB)
    (coded,) = encode_streams(made, some_streams(VOCAB, [20]))
    with pytest.raises(DamagedError, match="do not end"):
        decode_streams(made, [coded], [1 << 60])


def test_seven_bytes_a_number_are_room_enough() -> None:
    """A frequency of 1 in the largest total, at the smallest range, writes the most bytes."""
    coder = range_coder.writing(1)
    coder.range[0] = 1 << 56
    out = np.zeros((1, 16), np.uint8)
    total = np.uint64(((1 << 32) + 1) * 0x110000 + 1)
    range_coder.encode(0, np.uint64(0), np.uint64(1), total, coder, out)
    assert 2 * coder.at[0] <= range_coder.BYTES_A_SYMBOL
