"""What a proof file says of itself comes back, and no other file passes for one."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import DamagedError, InputError
from pipeline.evaluation import proof_file
from pipeline.evaluation.proof_file import (
    ProofHeader,
    from_bytes,
    model_digest,
    split_evenly,
    stream_lengths,
    to_bytes,
)
from pipeline.model.artifact import ModelArtifact, read_artifact

GOLDEN = Path(__file__).parent.parent / "golden"
HEADER = ProofHeader(
    text_bytes=12,
    symbols=11,
    text_sha256="ab" * 32,
    model="näme version 3",
    model_digest="cd" * 32,
)
STREAMS = [b"first", b"", b"third"]
NAME_AT = 98  # docs/formats.md's table, summed
LENGTHS_AT = NAME_AT + len(HEADER.model.encode())


def sealed(content: bytes) -> bytes:
    """Anybody can compute a digest."""
    return content + hashlib.sha256(content).digest()


def changed(at: int, value: bytes) -> bytes:
    """A proof file with other bytes at a place, and the right digest."""
    content = to_bytes(HEADER, STREAMS)[:-32]
    return sealed(content[:at] + value + content[at + len(value) :])


def test_a_header_and_its_streams_come_back() -> None:
    proof = from_bytes(to_bytes(HEADER, STREAMS), "x")
    assert proof.header == HEADER
    assert list(proof.streams) == STREAMS


def test_the_bytes_are_those_of_the_page() -> None:
    name = "näme version 3".encode()
    content = (
        bytes.fromhex("8955524E5052460A 01 01 08 20 00000003 000000000000000C 000000000000000B")
        + b"\xab" * 32
        + b"\xcd" * 32
        + struct.pack(">H", len(name))
        + name
        + struct.pack(">III", 5, 0, 5)
        + b"firstthird"
    )
    assert to_bytes(HEADER, STREAMS) == sealed(content)


def test_a_file_that_is_cut_short_or_changed_is_refused_at_every_byte() -> None:
    data = to_bytes(HEADER, STREAMS)
    for size in range(len(data)):
        with pytest.raises(InputError, match=r"x (is|has)"):
            from_bytes(data[:size], "x")
    for at in range(len(data)):
        other = bytearray(data)
        other[at] ^= 0x10
        with pytest.raises(InputError, match=r"x (is|has)"):
            from_bytes(bytes(other), "x")
    with pytest.raises(DamagedError, match="cut short or changed"):
        from_bytes(data + b"\0", "x")


def test_another_file_is_refused_by_what_it_is_not() -> None:
    for other in (b"", b"\x89URN", b"PK\x03\x04" + b"\0" * 200, b"\xfd7zXZ\0" * 40):
        with pytest.raises(InputError, match="is no proof file") as caught:
            from_bytes(other, "x")
        assert not isinstance(caught.value, DamagedError)


def test_another_format_or_arithmetic_names_the_version_to_use() -> None:
    with pytest.raises(InputError, match="format 2, this program reads 1"):
        from_bytes(changed(8, b"\x02"), "x")
    for at, told in ((9, "arithmetic 7"), (10, "int7"), (11, "weights of 7 bits")):
        with pytest.raises(InputError, match=told):
            from_bytes(changed(at, b"\x07"), "x")


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (12, b"\0\0\0\0", "names 0 streams"),
        (12, b"\xff\xff\xff\xff", "4294967295 streams"),
        (12, b"\0\0\0\x0c", "12 streams for 11 symbols"),
        (NAME_AT - 2, b"\xff\xff", "3 streams"),
        (LENGTHS_AT, b"\0\0\0\x06", "has not the bytes"),
        (LENGTHS_AT, b"\0\0\0\x04", "has not the bytes"),
        (LENGTHS_AT, b"\xff\xff\xff\xff", "has not the bytes"),
    ],
)
def test_claims_that_cannot_be_are_damage(at: int, value: bytes, told: str) -> None:
    with pytest.raises(DamagedError, match=told):
        from_bytes(changed(at, value), "x")


def test_an_empty_text_has_one_stream() -> None:
    header = replace(HEADER, symbols=0, text_bytes=0)
    assert from_bytes(to_bytes(header, [b"\0"]), "x").streams == (b"\0",)


def test_a_stream_that_no_length_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_file, "_LONGEST_STREAM", 4)
    with pytest.raises(InputError, match="split the text"):
        to_bytes(HEADER, STREAMS)


@pytest.mark.parametrize(
    ("symbols", "streams"),
    [
        (0, 1),
        (1, 1),
        (32767, 1),
        (32768, 2),
        (482_574, 29),
        (1 << 20, 64),
        (16 << 20, 64),
        (65 << 18, 65),
        (1 << 28, 1024),
        (1 << 40, 1024),
    ],
)
def test_streams_follow_from_the_length(symbols: int, streams: int) -> None:
    lengths = stream_lengths(symbols)
    assert (len(lengths), sum(lengths)) == (streams, symbols)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_the_longer_streams_come_first() -> None:
    assert split_evenly(11, 4) == [3, 3, 3, 2]
    assert split_evenly(0, 1) == [0]


def artifact() -> ModelArtifact:
    return read_artifact(str(GOLDEN / "models" / "gru"))


def test_a_models_digest_is_of_what_decides_its_probabilities() -> None:
    model = artifact()
    digest = model_digest(model)
    # A registered model's config has more in it, and is the same model.
    same = replace(model, name="other", digests={**model.digests, "config.json": "00" * 32})
    assert model_digest(same) == digest
    for file in ("weights.safetensors", "vocab.json"):
        assert model_digest(replace(model, digests={**model.digests, file: "00" * 32})) != digest
    shape = replace(model.about.model, cell="lstm")
    assert model_digest(replace(model, about=replace(model.about, model=shape))) != digest
