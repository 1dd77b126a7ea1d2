"""Saved lanes: whatever is edited, in the file or in its numbers, is refused or changes nothing."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pipeline.engine import saved as saved_lanes
from pipeline.engine.engine import Engine
from pipeline.engine.request import Request
from pipeline.engine.saved import pack, saved_facts, unpack
from pipeline.errors import DamagedError
from tests.engine.small import engine as any_engine

REQUESTS = {
    "begun": (Request(3, 900, 0.9, prime=b"kaba"), b"hhh"),
    "reading": (Request(4, 900, prime=b"abcdefgh" * 50), b""),
    "lines": (Request(5, 60, prime=b"ka", lines=80), b""),
}
# What a hostile or unlucky number is: beside a right one, beyond an array, beyond 64 bits, no
# number.
NUMBERS: list[Any] = [
    *(0, 1, 2, 3, -1, -2, 899, 900, 901, 1 << 31, -(1 << 31), 1 << 62, -(1 << 62), 1 << 63),
    *(1 << 200, 0.5, 1e300, -1e300, float("nan"), float("inf"), True, None, "7", [1], {"a": 1}),
]


@pytest.fixture(scope="module")
def made() -> Engine:
    return any_engine("lstm", precision="int8")[0]


def midway(made: Engine, name: str) -> tuple[bytes, bytes]:
    """A saved lane, and what it writes from there on."""
    request, stop = REQUESTS[name]
    lanes = made.lanes(1, stop, lines=bool(request.lines))
    lanes.start("x", request)
    lanes.advance()
    saved = lanes.save("x", {"parts": [["part-00000-12345678", 3, "ab"]]})
    return saved, rest(made, name, saved)


def rest(made: Engine, name: str, saved: bytes) -> bytes:
    request, stop = REQUESTS[name]
    lanes = made.lanes(1, stop, lines=bool(request.lines))
    lanes.start("x", request, saved)
    # A lane that is not what it says must end all the same, and within what was asked.
    most = 2 + 900 // 250 + request.lines * (1 + request.num_chars // 250)
    text = b""
    for _ in range(most * 2):
        (piece,) = lanes.advance()
        text += piece.text
        if piece.ended:
            return text
    raise AssertionError("it goes on for ever")


def edited_files(saved: bytes, seed: int) -> Iterator[bytes]:
    """The file with bytes flipped, put in, cut out, cut off, and moved."""
    draw = random.Random(seed)
    while True:
        data = bytearray(saved)
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            # Half of the edits hit the header, which is where the numbers are.
            end = draw.choice([len(data), min(len(data), 900)])
            at = draw.randrange(end) if end else 0
            kind = draw.randrange(5)
            if kind == 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            elif kind == 1:
                data[at : at + 1] = draw.choice([b"9", b"-", b"", b"0", b"1e9", b'"'])
            elif kind == 2:
                del data[at : at + draw.randrange(1, 40)]
            elif kind == 3:
                del data[at:]
            else:
                data[at:at] = data[draw.randrange(len(data) + 1) :][: draw.randrange(1, 40)]
        yield bytes(data)


def edited_numbers(saved: bytes, seed: int) -> Iterator[bytes]:
    """The numbers changed, and the digest made anew: what only their ranges can find."""
    draw = random.Random(seed)
    before = unpack(saved)
    while True:
        facts = dict(before.facts)
        tensors = {name: array.copy() for name, array in before.tensors.items()}
        for _ in range(draw.choice([1, 1, 2, 4])):
            name = draw.choice(sorted(facts))
            if draw.random() < 0.1:
                del facts[name]
            elif draw.random() < 0.5 and type(facts[name]) is int:
                facts[name] += draw.choice([-256, -8, -2, -1, 1, 2, 8, 256])
            else:
                facts[name] = draw.choice(NUMBERS)
        if draw.random() < 0.3:
            name = draw.choice(sorted(tensors))
            changed = draw.choice([np.nan, np.inf, -np.inf, 3e38, -1.5, 300.0])
            tensors[name].flat[draw.randrange(tensors[name].size)] = changed
        if draw.random() < 0.1:
            name = draw.choice(sorted(tensors))
            tensors[name] = draw.choice(
                [tensors[name][:1], tensors[name].astype(np.float64), np.zeros(1, np.float32)]
            )
        yield pack(facts, tensors)


def check_edited_files(made: Engine, name: str, edits: int, seed: int) -> int:
    """How many edits were refused; those that were not must change nothing."""
    saved, expected = midway(made, name)
    refused = 0
    for _, data in zip(range(edits), edited_files(saved, seed), strict=False):
        try:
            text = rest(made, name, data)
        except DamagedError:
            refused += 1
        else:
            assert text == expected, data
    return refused


def check_edited_numbers(made: Engine, name: str, edits: int, seed: int) -> int:
    """How many were refused. Those that were not end, and write what can be written."""
    saved, _ = midway(made, name)
    refused = 0
    for _, data in zip(range(edits), edited_numbers(saved, seed), strict=False):
        try:
            text = rest(made, name, data)
        except DamagedError:
            refused += 1
        else:
            assert set(text) <= set(b"\nabcdefghijkl")
    return refused


@pytest.mark.parametrize("name", REQUESTS)
def test_an_edited_file_never_gives_another_text(made: Engine, name: str) -> None:
    assert check_edited_files(made, name, 120, seed=1) > 100


@pytest.mark.parametrize("name", REQUESTS)
def test_edited_numbers_never_crash_and_always_end(made: Engine, name: str) -> None:
    assert check_edited_numbers(made, name, 120, seed=1) > 80


@pytest.mark.long
@pytest.mark.parametrize("name", REQUESTS)
def test_ten_thousand_edits(made: Engine, name: str) -> None:
    check_edited_files(made, name, 10_000, seed=2)
    check_edited_numbers(made, name, 10_000, seed=3)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(
    "field", ["position", "left", "begun", "sampled", "matched", "items", "prime_read", "nats"]
)
def test_every_number_is_refused_by_name(made: Engine, name: str, field: str) -> None:
    saved, _ = midway(made, name)
    before = unpack(saved)
    for value in (-3, 1 << 40, 1 << 70, None, "7"):
        if field == "nats" and value in (1 << 40, 1 << 70):
            continue  # any sum of nats may be: only a digest can say that it is not this one
        edited = pack(before.facts | {field: value}, before.tensors)
        with pytest.raises(DamagedError, match=r"cannot be used: .*; remove it, or"):
            rest(made, name, edited)
        if field not in ("left", "sampled", "items", "prime_read"):  # others do not fit these
            with pytest.raises(DamagedError, match=f"cannot be used: {field} is"):
                rest(made, name, edited)


def test_a_lane_of_other_settings_is_refused(made: Engine) -> None:
    """Its key does not tell: lengths and what narrows the choice are no part of it."""
    saved, _ = midway(made, "begun")
    request, stop = REQUESTS["begun"]
    for changes in ({"num_chars": 800}, {"top_k": 3}, {"top_p": 0.5}):
        other = dataclasses.replace(request, **changes)
        with pytest.raises(DamagedError, match="it is a request's of other settings"):
            made.lanes(1, stop).start("x", other, saved)
    with pytest.raises(DamagedError, match="it is a request's of other settings"):
        made.lanes(1, b"hh").start("x", request, saved)


def test_a_lane_without_a_digest_is_refused(made: Engine) -> None:
    saved, _ = midway(made, "begun")
    before = unpack(saved)
    older = safetensors.numpy.save(before.tensors, {"lane": '{"sampled": 3}'})
    with pytest.raises(ValueError, match="it has no digest, as those of older versions"):
        saved_facts(older)


def test_what_is_packed_is_unpacked() -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    again = unpack(pack({"x": [1, "\ud800"]}, tensors))
    assert again.facts == {"x": [1, "\ud800"]}
    np.testing.assert_array_equal(again.tensors["a"], tensors["a"])
    with pytest.raises(ValueError, match="it has no facts"):
        unpack(_of_list())


def _of_list() -> bytes:
    arrays = {"a": np.zeros(1, np.float32)}
    digest = saved_lanes._digest("[]", arrays)
    return safetensors.numpy.save(arrays, {"lane": "[]", "sha256": digest})


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 99])
def test_facts_of_something_else(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is no saved lane"):
        saved_facts(data)
