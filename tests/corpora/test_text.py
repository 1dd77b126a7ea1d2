"""Decoding, normalising and cutting: what changes is known, what is cut is safe."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.staging import stream_chunks
from pipeline.corpora.text import BOM, UndecodableError, prepare, source_offset

TEXT = st.text(alphabet=st.sampled_from("ab \r\n\té\u0301\u0300e\u1100\u1161𝄞\u3042"), max_size=200)


def config(**changes: object) -> CorpusConfig:
    return CorpusConfig(name="x", source="x", **changes)  # type: ignore[arg-type]


def expected(text: str, newlines: str, nfc: bool) -> str:
    if newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text) if nfc else text


@given(TEXT, st.sampled_from(["keep", "lf"]), st.booleans(), st.booleans())
def test_prepared_text_is_the_normalised_text(
    text: str, newlines: str, nfc: bool, bom: bool
) -> None:
    raw = (BOM if bom else b"") + text.encode()
    prepared = prepare(raw, config(unit="char", newlines=newlines, nfc=nfc), starts_document=True)
    assert prepared.text.decode() == expected(text, newlines, nfc)


@given(TEXT, st.booleans(), st.booleans())
def test_every_offset_leads_back_to_its_source(text: str, nfc: bool, bom: bool) -> None:
    raw = (BOM if bom else b"") + text.encode()
    prepared = prepare(raw, config(unit="char", newlines="lf", nfc=nfc), starts_document=True)
    offsets = [source_offset(prepared.anchors, at) for at in range(len(prepared.text))]
    assert offsets == sorted(offsets)
    for at, source in enumerate(offsets):
        ours, theirs = prepared.text[at], raw[source]
        # A character that normalisation leaves alone is found at its own place: no other stands for it.
        if ours in b"b \t" or (ours in b"ae" and not nfc):
            assert ours == theirs
        if ours == 0x0A:
            assert theirs in b"\r\n"


@given(TEXT, st.booleans())
def test_composed_characters_lead_back_to_their_base(text: str, bom: bool) -> None:
    raw = (BOM if bom else b"") + text.encode()
    prepared = prepare(raw, config(unit="char", nfc=True), starts_document=True)
    # Split where nothing composes: before 'b', each part composes for itself, and both sides keep their places.
    ours = [at for at, byte in enumerate(prepared.text) if byte == ord("b")]
    theirs = [at for at, byte in enumerate(raw) if byte == ord("b")]
    assert [source_offset(prepared.anchors, at) for at in ours] == theirs


def test_text_without_ascii_is_cut_where_nothing_composes() -> None:
    raw = ("\u1112\u1161\u11ab" * 300 + "\u3042" + "\u1112\u1161\u11ab" * 60).encode() * 3
    made = config(unit="char", nfc=True)
    chunks = [chunk for _, chunk in stream_chunks(io.BytesIO(raw), 1024)]
    assert len(chunks) > 3
    assert b"".join(chunks) == raw
    whole = unicodedata.normalize("NFC", raw.decode()).encode()
    assert b"".join(prepare(chunk, made, starts_document=False).text for chunk in chunks) == whole


@given(st.binary(max_size=300))
def test_replacing_decodes_like_python(raw: bytes) -> None:
    prepared = prepare(raw, config(unit="char", decoding="replace"), starts_document=False)
    assert prepared.text.decode() == raw.decode("utf-8", "replace")


def test_strict_decoding_names_the_source_byte() -> None:
    with pytest.raises(UndecodableError) as caught:
        prepare(BOM + b"abc\xff", config(unit="char"), starts_document=True)
    assert caught.value.offset == 6


def test_bytes_are_taken_as_they_are() -> None:
    raw = bytes(range(256))
    assert prepare(raw, config(), starts_document=True).text == raw


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["\n", "\r\n", "e\u0301", "\u3042", "x", "\u0301", "\r"]),
        min_size=300,
        max_size=1500,
    )
)
def test_cuts_cross_no_sequence_pair_or_composition(parts: list[str]) -> None:
    raw = "".join(parts).encode()
    made = config(unit="char", newlines="lf", nfc=True)
    chunks = list(stream_chunks(io.BytesIO(raw), 1024))
    assert b"".join(chunk for _, chunk in chunks) == raw
    assert [start for start, _ in chunks] == [
        sum(len(c) for _, c in chunks[:n]) for n in range(len(chunks))
    ]
    whole = prepare(raw, made, starts_document=False).text
    assert (
        b"".join(prepare(chunk, made, starts_document=False).text for _, chunk in chunks) == whole
    )
