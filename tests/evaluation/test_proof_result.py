"""What a proof file came to, as a part of a report."""

from __future__ import annotations

import lzma
import sys
from dataclasses import replace

import pytest
import zstandard

from pipeline.errors import InputError
from pipeline.evaluation.proof_result import Compared, ProofResult, section, xz_bytes, zstd_bytes

RESULT = ProofResult(
    url="file:///x",
    model="m version 1",
    text_bytes=1000,
    symbols=1000,
    outside=0,
    outside_bits=40.0,
    streams=2,
    coded_bytes=100,
    file_bytes=250,
    model_bytes=3000,
    chars_per_sec=123456.7,
    compared=Compared(scored=200.4, chars_per_sec=98765.4, xz=300, zstd=310),
)


def test_a_section_sets_the_file_beside_everything_else() -> None:
    made = section(RESULT)
    assert made.table == (
        ("what", "bytes", "bits per byte"),
        ("proof file", "250", "2.0000"),
        ("its streams, without its header", "100", "0.8000"),
        ("the engine's own score of the same streams", "200", "1.6032"),
        ("proof file and model", "3,250", "26.0000"),
        ("xz -9e", "300", "2.4000"),
        ("zstd -19 --long", "310", "2.4800"),
        ("text", "1,000", "8.0000"),
    )
    assert "m version 1 in 2 streams" in made.lead
    assert "Coded at 123,457 characters a second on one core, scored at 98,765." in made.lead
    assert "outside" not in made.lead


def test_a_section_without_a_comparison_says_less() -> None:
    made = section(replace(RESULT, compared=None))
    assert [row[0] for row in made.table[1:]] == [
        "proof file",
        "its streams, without its header",
        "proof file and model",
        "text",
    ]
    assert "scored" not in made.lead


def test_symbols_outside_are_counted_and_priced() -> None:
    compared = Compared(scored=None, chars_per_sec=None, xz=300, zstd=310)
    made = section(replace(RESULT, outside=7, compared=compared))
    assert "7 symbols are outside the vocabulary; each costs 40.0 bits" in made.lead
    assert "scored at" not in made.lead
    assert not any("score" in row[0] for row in made.table)


def test_a_result_is_json_with_its_figure() -> None:
    value = RESULT.to_json()
    assert value["bits_per_byte"] == 2.0
    assert value["compared"]["xz"] == 300
    assert value["file_bytes"] == 250
    assert replace(RESULT, text_bytes=0).bits_per_byte == 2000


def test_the_others_are_the_real_ones() -> None:
    text = b"".join(b"%d, " % n for n in range(20000))
    assert xz_bytes(text) == len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    assert zstd_bytes(text) < len(zstandard.ZstdCompressor(level=3).compress(text))
    # --long finds what lies 20 MB back, which a window of level 19 does not reach.
    noise = bytes(range(256)) * 400
    assert zstd_bytes(noise + bytes(20 << 20) + noise) < 3 * zstd_bytes(noise) + 2000


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        zstd_bytes(b"")
