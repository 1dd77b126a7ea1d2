"""Lanes: what a model may write, a text put in, saved, taken up again, and making place.

All in int8, where a lane has the most state: hidden, cell, and activations made of the hidden.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.vocab import Vocab
from pipeline.engine.engine import Engine
from pipeline.engine.kernels import FIELDS
from pipeline.engine.lanes import BLOCK, Lanes, Writable, stop_borders
from pipeline.engine.request import Piece, Request
from pipeline.engine.saved import pack, request_digest, saved_facts, unpack
from pipeline.errors import DamagedError, InputError
from tests.engine.small import VOCAB
from tests.engine.small import engine as any_engine

UNKNOWN = Vocab("char", [None, 97, 98, 99])


def engine(cell: str = "lstm", *, vocab: Vocab = VOCAB, size: int = 24) -> Engine:
    made, _ = any_engine(cell, vocab=vocab, precision="int8", size=size)
    return made


def numbers(lanes: Lanes, lane: int) -> dict[str, int]:
    """A lane's whole numbers that are not zero, by name."""
    named = dict(zip(FIELDS, lanes.own.numbers[lane].tolist(), strict=True))
    return {name: number for name, number in named.items() if number}


def rest(lanes: Lanes) -> dict[Any, bytes]:
    """What the running lanes write until they have all ended, by name."""
    texts: dict[Any, bytes] = {}
    while lanes.running:
        for piece in lanes.advance():
            texts[piece.name] = texts.get(piece.name, b"") + piece.text
    return texts


# What a model may write


def test_first_tokens_are_counted_up() -> None:
    writable = Writable.of(VOCAB, ((1, 3), (3, 1), (12, 2)))
    assert writable.vocab is VOCAB
    assert writable.lowest == 0
    assert writable.first_counts.dtype == np.float64
    assert writable.first_counts.tolist() == [0, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 6]
    with pytest.raises(FrozenInstanceError):
        writable.lowest = 1  # type: ignore[misc]


def test_without_first_tokens_every_token_is_as_likely() -> None:
    assert Writable.of(VOCAB, ()).first_counts.tolist() == list(range(1, 14))
    assert Writable.of(VOCAB, ((2, 0),)).first_counts.tolist() == list(range(1, 14))


def test_the_unknown_token_is_never_the_first() -> None:
    writable = Writable.of(UNKNOWN, ((0, 5), (2, 1)))
    assert writable.lowest == 1
    assert writable.first_counts.tolist() == [0, 0, 1, 1]
    # Every document began with an unknown symbol, or none was counted: any other token may begin.
    assert Writable.of(UNKNOWN, ((0, 5),)).first_counts.tolist() == [0, 1, 2, 3]
    assert Writable.of(UNKNOWN, ()).first_counts.tolist() == [0, 1, 2, 3]


def test_a_text_as_tokens() -> None:
    tokens = Writable.of(VOCAB, ()).tokens(b"\nal")
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [0, 1, 12]
    assert Writable.of(VOCAB, ()).tokens(b"").tolist() == []
    assert Writable.of(UNKNOWN, ()).tokens(b"cab").tolist() == [3, 1, 2]


def test_symbols_that_cannot_be_written_are_named() -> None:
    long = b"a" * 39 + b"Zz" + b"b" * 9
    with pytest.raises(InputError) as caught:
        Writable.of(VOCAB, ()).tokens(long)
    assert str(caught.value) == (
        f"b'{'a' * 39}Z' has symbols outside the vocabulary: byte 0x5A, byte 0x7A."
    )
    # An unknown token stands for what nobody can write.
    with pytest.raises(InputError) as caught:
        Writable.of(UNKNOWN, ()).tokens("aé".encode())
    assert str(caught.value) == ("b'a\\xc3\\xa9' has symbols outside the vocabulary: 'é' (U+00E9).")


def test_an_unknown_token_is_never_sampled() -> None:
    made = engine(vocab=UNKNOWN)
    assert set(made.sample([Request(0, 2000)])[0].decode()) == {"a", "b", "c"}


def test_an_unknown_token_stands_for_nothing_in_a_prime_or_a_stop_text() -> None:
    made = engine(vocab=UNKNOWN)
    for request, stop in (
        (Request(0, 9, prime="a\u00e9".encode()), b""),
        (Request(0, 9), "\u00e9".encode()),
    ):
        with pytest.raises(InputError, match="U\\+00E9"):
            made.sample([request], stop)


def test_a_prime_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(InputError, match="byte 0x5A"):
        engine().sample([Request(0, 1, prime=b"aZ")])


# A text put in


def test_room_for_a_number_of_texts() -> None:
    made = engine(size=7)
    lanes = made.lanes(3, b"ab")
    assert (lanes.width, lanes.running, lanes.free) == (3, 0, 3)
    assert lanes.weights is made.weights
    assert lanes.writable is made.writable
    assert lanes.stop.tolist() == [1, 2]
    assert lanes.borders.tolist() == [0, 0]
    assert lanes.state.hidden.shape == lanes.state.cell.shape == (2, 3, 7)
    assert lanes.state.int8_activations.shape == (2, 3, 8)
    assert (lanes.state.int8_activations == 128).all()
    assert lanes.state.int8_activations.dtype == np.uint8
    assert lanes.buffers.gates.shape == lanes.buffers.recurrent_product.shape == (3, 64)
    assert lanes.buffers.logits.shape == (3, 64)
    assert lanes.own.numbers.shape == (3, 11)
    for array in (*lanes.state[:2], *lanes.buffers):
        assert array.dtype == np.float32
    lanes.start("x", Request(0, 5))
    lanes.start("y", Request(1, 5))
    assert (lanes.running, lanes.free, lanes.names) == (2, 1, ["x", "y"])


def test_a_wide_model_has_padded_buffers() -> None:
    vocab = Vocab("byte", range(65))
    lanes = engine("gru", vocab=vocab, size=24).lanes(2)
    assert lanes.buffers.gates.shape == lanes.buffers.recurrent_product.shape == (2, 128)
    assert lanes.buffers.logits.shape == (2, 128)


def test_a_request_becomes_a_lanes_numbers() -> None:
    lanes = engine().lanes(3, lines=True)
    plain = Request(4, 50, 0.5, 6, 0.75, b"", 9)
    lanes.start("plain", plain)
    assert numbers(lanes, 0) == {"left": 50, "limit": 50, "top_k": 6}
    assert int(lanes.own.keys[0]) == plain.key
    assert (lanes.own.temperatures[0], lanes.own.top_ps[0]) == (0.5, 0.75)
    lanes.start("primed", Request(1, 7, prime=b"abc"))
    assert lanes.primes.tolist() == [1, 2, 3]
    assert numbers(lanes, 1) == {"left": 7, "limit": 7, "prime_stop": 3}
    assert (lanes.own.temperatures[1], lanes.own.top_ps[1]) == (1.0, 1.0)
    # Lines read a line feed before their prime.
    lanes.start("lines", Request(2, 8, prime=b"kl", lines=5))
    assert lanes.primes.tolist() == [1, 2, 3, 0, 11, 12]
    assert numbers(lanes, 2) == {
        "left": 8,
        "limit": 8,
        "items": 5,
        "prime_at": 3,
        "prime_start": 4,
        "prime_stop": 6,
    }


def test_equal_primes_stand_once() -> None:
    lanes = engine().lanes(9, lines=True)
    for number in range(3):
        lanes.start(number, Request(number, 5, prime=b"ab"))
        lanes.start(number, Request(number, 5, prime=b"ab", lines=1))
        lanes.start(number, Request(number, 5, prime=b"b"))
    assert lanes.primes.tolist() == [1, 2, 0, 1, 2, 2]
    for lane in (0, 3, 6):
        assert numbers(lanes, lane) == {"left": 5, "limit": 5, "prime_stop": 2}
        assert numbers(lanes, lane + 1)["prime_at"] == 2
        assert numbers(lanes, lane + 1)["prime_stop"] == 5
        assert numbers(lanes, lane + 2)["prime_start"] == 5


def test_a_lane_that_had_another_text_begins_anew() -> None:
    made = engine("gru")
    lanes = made.lanes(1)
    lanes.start("first", Request(0, 300, prime=b"abc"))
    rest(lanes)
    assert lanes.state.hidden.any()
    assert lanes.own.nats[0] > 0
    lanes.start("second", Request(1, 300, prime=b"l"))
    assert not lanes.state.hidden.any()
    assert not lanes.state.cell.any()
    assert (lanes.state.int8_activations == 128).all()
    assert not lanes.buffers.logits.any()
    assert lanes.own.nats[0] == 0
    # The primes are those of all requests, so the second one's has another place.
    assert lanes.primes.tolist() == [1, 2, 3, 12]
    assert rest(lanes)["second"] == made.sample([Request(1, 300, prime=b"l")])[0]


# Advanced


def test_a_piece_is_what_was_written_since_the_last() -> None:
    assert BLOCK == 256
    made = engine()
    lanes = made.lanes(2)
    lanes.start("long", Request(0, 600, prime=b"ab"))
    lanes.start("short", Request(1, 300))
    first = lanes.advance()
    assert [type(piece) for piece in first] == [Piece, Piece]
    assert [(piece.name, len(piece.text), piece.sampled, piece.ended) for piece in first] == [
        ("long", 256, 254, False),
        ("short", 256, 256, False),
    ]
    assert first[0].text.startswith(b"ab")
    second = lanes.advance()  # until one has ended
    assert [(piece.name, len(piece.text), piece.sampled, piece.ended) for piece in second] == [
        ("long", 44, 298, False),
        ("short", 44, 300, True),
    ]
    assert lanes.names == ["long"]
    assert 0 < first[0].nats < second[0].nats
    texts = {piece.name: piece.text for piece in first}
    for piece in second:
        texts[piece.name] += piece.text
    texts["long"] += rest(lanes)["long"]
    assert [texts["long"], texts["short"]] == made.sample(
        [Request(0, 600, prime=b"ab"), Request(1, 300)]
    )


def test_what_is_read_but_not_written_is_in_no_piece() -> None:
    lanes = engine().lanes(1, lines=True)
    lanes.start("x", Request(0, 4, prime=b"ka", lines=1))
    (piece,) = lanes.advance()
    assert piece.ended
    assert piece.text.startswith(b"ka")
    assert piece.text.endswith(b"\n")
    assert len(piece.text) == 2 + piece.sampled


def test_the_last_lane_takes_the_place_of_one_that_ended() -> None:
    made = engine()
    requests = [Request(n, count) for n, count in enumerate((400, 100, 300, 100, 500))]
    whole = made.sample(requests)
    lanes = made.lanes(6)
    for n, request in enumerate(requests):
        lanes.start(n, request)
    written = {piece.name: piece.text for piece in lanes.advance()}
    assert lanes.names == [0, 4, 2]  # 4 took the place of 3, then that of 1
    assert lanes.free == 3
    keys = [int(key) for key in lanes.own.keys[:3]]
    assert keys == [requests[n].key for n in (0, 4, 2)]
    for name, text in rest(lanes).items():
        written[name] += text
    assert [written[n] for n in range(5)] == whole


def test_all_that_is_a_lanes_own_moves_with_it() -> None:
    made = engine()
    lanes = made.lanes(2)
    lanes.start("short", Request(0, 5))
    lanes.start("long", Request(1, 50, 0.5, 6, 0.75))
    # The same five positions, in a lane of its own.
    alone = made.lanes(2)
    alone.start("long", Request(1, 50, 0.5, 6, 0.75))
    alone.start("short", Request(0, 5))
    lanes.advance()
    alone.advance()
    assert lanes.names == alone.names == ["long"]
    for ours, theirs in zip(lanes.own, alone.own, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    for ours, theirs in zip(lanes.state, alone.state, strict=True):
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    np.testing.assert_array_equal(lanes.buffers.logits[0], alone.buffers.logits[0])


def test_each_tokens_nats_add_up_to_the_score_and_go_on_where_they_stopped() -> None:
    made = engine()
    tokens = np.random.default_rng(1).integers(0, len(VOCAB), (20, 3))
    nats = made.lanes(3).score_each(tokens)
    assert (nats.shape, nats.dtype) == ((19, 3), np.float64)
    # In the order of the sum: by step, then by lane.
    assert np.cumsum(nats.ravel())[-1] == made.lanes(3).score(tokens)
    for lane in range(3):
        alone = made.lanes(1).score_each(tokens[:, lane : lane + 1])
        assert alone[:, 0].tolist() == nats[:, lane].tolist()
    running = made.lanes(3)
    parts = [running.score_each(tokens[:8]), running.score_each(tokens[7:])]
    assert np.concatenate(parts).tolist() == nats.tolist()


def test_a_score_is_a_sum() -> None:
    made = engine()
    tokens = np.random.default_rng(1).integers(0, len(VOCAB), (20, 3), np.uint8)
    summed = made.lanes(3).score(tokens)
    assert isinstance(summed, float)
    alone = [made.lanes(1).score(tokens[:, lane : lane + 1]) for lane in range(3)]
    assert summed == pytest.approx(sum(alone), rel=1e-12)
    assert summed / 57 == made.score(tokens)
    # A view that does not lie row by row is scored as what it shows.
    turned = np.ascontiguousarray(tokens.T).T
    assert made.lanes(3).score(turned) == summed


# Saved and taken up again


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("options", [{}, {"lines": 40}, {"top_k": 3, "prime": b"ab"}])
def test_a_saved_lane_goes_on_exactly(cell: str, options: dict[str, Any]) -> None:
    made = engine(cell)
    request = Request(3, 3000, 0.9, **options)
    stop = b"" if options else b"hhhhhhh"
    (whole,) = made.sample([request], stop)
    written = b""
    lanes = made.lanes(4, stop, lines=bool(request.lines))
    lanes.start("x", request)
    lanes.start("other", Request(4, 1000, lines=request.lines))
    last: Piece | None = None
    while last is None or not last.ended:
        for piece in lanes.advance():
            if piece.name == "x":
                last = piece
                written += piece.text
        if last and not last.ended:
            saved = lanes.save("x")
            lanes = made.lanes(2, stop, lines=bool(request.lines))
            lanes.start("x", request, saved)
    assert written == whole
    (end,) = [piece for piece in made.stream([request], stop) if piece.ended]
    assert (end.nats, end.sampled) == (last.nats, last.sampled)


def test_what_a_saved_lane_holds() -> None:
    lanes = engine().lanes(2, b"hhhhhhh")
    request = Request(3, 300, prime=b"ka")
    lanes.start("other", Request(4, 300))
    lanes.start("x", request)
    lanes.advance()
    saved = lanes.save("x", {"parts": 7, "left": "not this"})
    facts = saved_facts(saved)
    assert facts == {
        "parts": 7,
        "position": 256,
        "left": 46,
        "begun": 1,
        "sampled": 254,
        "matched": int(lanes.own.numbers[1, FIELDS.index("matched")]),
        "items": 0,
        "key": request.key,
        "request": request_digest(request, lanes.stop),
        "nats": float(lanes.own.nats[1]),
        "prime_read": 2,
    }
    tensors = unpack(saved).tensors
    assert tensors.keys() == {"hidden", "cell", "logits"}
    np.testing.assert_array_equal(tensors["hidden"], lanes.state.hidden[:, 1])
    np.testing.assert_array_equal(tensors["cell"], lanes.state.cell[:, 1])
    np.testing.assert_array_equal(tensors["logits"], lanes.buffers.logits[1])
    assert saved_facts(lanes.save("x")).keys() == facts.keys() - {"parts"}


def test_a_lane_is_where_it_stood() -> None:
    made = engine()
    request = Request(3, 300, 0.9, prime=b"ka")
    lanes = made.lanes(2)
    lanes.start("x", request)
    lanes.advance()
    taken = made.lanes(3)
    taken.start("other", Request(0, 9, prime=b"abcdef"))
    taken.start("x", request, lanes.save("x"))
    for ours, theirs in zip(taken.state, lanes.state, strict=True):
        np.testing.assert_array_equal(ours[:, 1], theirs[:, 0])
    np.testing.assert_array_equal(taken.buffers.logits[1], lanes.buffers.logits[0])
    assert taken.own.nats[1] == lanes.own.nats[0]
    # The prime lies elsewhere: behind the other request's.
    moved = {"prime_at": 8, "prime_start": 6, "prime_stop": 8}
    assert numbers(taken, 1) == numbers(lanes, 0) | moved


def test_a_lane_that_has_read_half_its_prime_goes_on_there() -> None:
    made = engine()
    request = Request(3, 40, prime=b"abcdefgh" * 50)
    (whole,) = made.sample([request])
    lanes = made.lanes(1)
    lanes.start("x", request)
    (piece,) = lanes.advance()
    saved = lanes.save("x")
    assert saved_facts(saved)["prime_read"] == 256
    taken = made.lanes(1)
    taken.start("x", request, saved)
    assert piece.text + rest(taken)["x"] == whole
    # One that has read nothing at all, not even the line feed before its items.
    begun = made.lanes(1, lines=True)
    lines = Request(3, 40, prime=b"a", lines=2)
    begun.start("x", lines)
    saved = begun.save("x")
    assert saved_facts(saved)["prime_read"] == -1
    taken = made.lanes(1, lines=True)
    taken.start("x", lines, saved)
    assert rest(taken)["x"] == made.sample([lines])[0]


def test_a_saved_lane_of_another_request_or_a_damaged_one_is_refused() -> None:
    made = engine()
    lanes = made.lanes(1)
    lanes.start("x", Request(0, 1000))
    lanes.advance()
    saved = lanes.save("x")
    tensors = unpack(saved).tensors
    facts = saved_facts(saved)

    def changed(more: dict[str, Any], **arrays: np.ndarray) -> bytes:
        return pack({**facts, **more}, {**tensors, **arrays})

    def without(name: str) -> bytes:
        return pack(
            {k: v for k, v in facts.items() if k != name},
            {k: v for k, v in tensors.items() if k != name},
        )

    small = engine(size=7).lanes(1)
    small.start("x", Request(0, 1000))
    bad = {
        "a saved lane cannot be used: it is another request's; remove it, or give --overwrite.": [
            changed({"key": 5})
        ],
        "a saved lane cannot be used: .+; remove it, or give --overwrite.": [
            saved[:-5],
            b"\x80\x04N.",
            b"",
            small.save("x"),
            changed({}, hidden=np.zeros((2, 25), np.float32)),
            changed({"nats": "many"}),
            changed({"left": None}),
            changed({"prime_read": "x"}),
            safetensors.numpy.save(tensors),
            *(without(name) for name in ("hidden", "cell", "logits", "nats", "prime_read", "key")),
        ],
    }
    for message, files in bad.items():
        for data in files:
            taken = made.lanes(1)
            with pytest.raises(DamagedError, match=message):
                taken.start("x", Request(0, 1000), data)
            assert taken.running == 0
    with pytest.raises(DamagedError, match="it is another request's"):
        made.lanes(1).start("x", Request(1, 1000), saved)
    assert saved_facts(changed({"x": 1}))["x"] == 1


def test_only_a_running_lane_can_be_saved() -> None:
    lanes = engine().lanes(1)
    with pytest.raises(ValueError, match="x"):
        lanes.save("x")


# The stop text's borders


@pytest.mark.parametrize(
    ("stop", "borders"),
    [
        ("", []),
        ("a", [0]),
        ("ab", [0, 0]),
        ("aaaa", [0, 1, 2, 3]),
        ("abab", [0, 0, 1, 2]),
        ("aabaaab", [0, 1, 0, 1, 2, 2, 3]),
        ("abacabab", [0, 0, 1, 0, 1, 2, 3, 2]),
    ],
)
def test_borders(stop: str, borders: list[int]) -> None:
    found = stop_borders(np.array([ord(symbol) for symbol in stop], np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == borders


@given(st.text("ab", max_size=12))
def test_a_border_is_the_longest_proper_prefix_that_is_a_suffix(stop: str) -> None:
    def longest(text: str) -> int:
        return max(n for n in range(len(text)) if text.startswith(text[len(text) - n :]))

    found = stop_borders(np.array([ord(symbol) for symbol in stop], np.int64))
    assert found.tolist() == [longest(stop[: at + 1]) for at in range(len(stop))]


def test_a_stop_text_that_cannot_be_written_is_named_as_one() -> None:
    made = engine()
    with pytest.raises(InputError, match=r"^stop b'Z' has symbols outside the vocabulary: "):
        Lanes(made.weights, made.writable, 1, b"Z")
