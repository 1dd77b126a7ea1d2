"""Settings of a corpus: what is refused, and what a version's fingerprint is made of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError

from .conftest import corpus_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ".hidden"}, r"corpus name '\.hidden' needs letters, .*; change --name\."),
        ({"name": "a/b"}, "corpus name 'a/b'"),
        ({"name": ""}, "corpus name ''"),
        ({"source": ""}, r"corpus x has no source; give --source URL\."),
        ({"source": []}, "corpus x has no source"),
        ({"include": []}, r"include is empty; use \['\*'\]"),
        ({"min_count": 0}, r"min_count is 0; it must be at least 1\."),
        ({"chunk_bytes": 1023}, r"chunk_bytes is 1023; it must be at least 1024\."),
        ({"shard_bytes": 1023}, r"shard_bytes is 1023; it must be at least 1024\."),
        ({"expect_bytes": -1}, r"expect_bytes is -1; it must be at least 0\."),
        ({"max_document_bytes": 0}, r"max_document_bytes is 0; it must be at least 1\."),
        ({"max_expansion": 0}, r"max_expansion is 0; it must be at least 1\."),
        ({"max_skipped_fraction": -0.1}, r"max_skipped_fraction is -0\.1; it must be from 0 to 1"),
        ({"max_skipped_fraction": 1.1}, r"max_skipped_fraction is 1\.1; it must be from 0 to 1"),
        ({"source": ["a", "b"], "expect_bytes": 1}, "need exactly one source"),
        ({"source": ["a", "b"], "expect_md5": "0"}, "need exactly one source"),
        ({"train": 0.5}, r"exactly one of .* must be 'rest'; found \{'train': 0\.5, "),
        ({"val": "rest"}, "exactly one of train, val and test must be 'rest'"),
        ({"val": -0.1}, r"val is -0\.1; use a fraction in \[0, 1\), a number of tokens, or"),
        ({"val": -1}, "val is -1; use"),
        ({"test": 1.0}, r"test is 1\.0; use"),
        ({"test": float("nan")}, "test is nan; it must be a finite number or rest"),
        ({"val": 1, "split": "block"}, r"val is 1 tokens, but split 'block' takes .*split tail\."),
        ({"val": 1, "split": "document"}, r"val is 1 tokens, but .*; use --split tail\."),
        ({"val": 0.5, "test": 0.5}, r"must sum to less than 1; found \{"),
        ({"separator": "\\x"}, r"separator '.*x' is not text with JSON escapes"),
        ({"separator": "\\ud800"}, "is not text with JSON escapes"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        corpus_config(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "A"},
        {"name": "0-9_.x"},
        {"min_count": 1, "chunk_bytes": 1024, "shard_bytes": 1024, "expect_bytes": 0},
        {"source": ["a"], "expect_bytes": 1, "expect_md5": "0"},
        {"source": ["a", "b"]},
        {"val": 0.999, "test": 0.0},
        {"val": 0, "test": 0, "split": "document"},
        {"val": 2, "test": 0.5, "split": "tail"},
        {"val": 2},
        {"train": 0.5, "val": "rest"},
    ],
)
def test_the_edges_are_allowed(changes: dict[str, Any]) -> None:
    corpus_config(**changes)


def test_one_source_is_as_good_as_a_list_of_one() -> None:
    assert corpus_config(source="a").sources == corpus_config(source=["a"]).sources == ["a"]
    assert corpus_config(source=["b", "a"]).sources == ["b", "a"]


def test_text_is_decoded_only_where_characters_matter() -> None:
    assert not corpus_config().decodes
    assert corpus_config(unit="char").decodes
    assert corpus_config(nfc=True).decodes
    assert not corpus_config(newlines="lf").decodes


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        ("", b""),
        ("\\n", b"\n"),
        ("\n\t", b"\n\t"),
        ('"', b'"'),
        ("\\u00e9", "é".encode()),
        ("é|", "é|".encode()),
    ],
)
def test_a_separator_is_text_with_escapes(separator: str, text: bytes) -> None:
    assert corpus_config(separator=separator).separator_text == text


def test_only_what_shapes_the_bytes_is_in_the_fingerprint() -> None:
    # Also the manifest's "corpus" field: a new key would change every fingerprint there is.
    assert corpus_config(val=7, split="tail").shaping() == {
        "name": "x",
        "unit": "byte",
        "decoding": "strict",
        "newlines": "keep",
        "nfc": False,
        "separator": "",
        "min_count": 1,
        "order": "auto",
        "split": "tail",
        "train": "rest",
        "val": 7,
        "test": 0.05,
        "seed": 0,
        "chunk_bytes": 16 << 20,
        "shard_bytes": 64 << 20,
    }
    assert {field.name for field in fields(CorpusConfig)} - set(corpus_config().shaping()) == {
        "source",
        "include",
        "exclude",
        "strip_prefix",
        "expect_bytes",
        "expect_md5",
        "url",
        "licence",
        "vocab_from",
        "max_document_bytes",
        "max_expansion",
        "max_skipped_fraction",
        "streams",
        "stream_seq_len",
    }
    # Only where they decide anything: the corpora of before they were there keep their versions.
    streams = corpus_config(split="interleaved", streams=7, stream_seq_len=9).shaping()
    assert streams == {
        **corpus_config(split="interleaved").shaping(),
        "streams": 7,
        "stream_seq_len": 9,
    }
    assert set(streams) - set(corpus_config().shaping()) == {"streams", "stream_seq_len"}


def test_bounds_are_settings_where_somebody_changed_them() -> None:
    """In no digest else: records of corpora that were built before there were any hold."""
    defaults = corpus_config().effective()
    for bound, value in (
        ("max_document_bytes", 7),
        ("max_expansion", 7),
        ("max_skipped_fraction", 0.5),
    ):
        assert bound not in defaults
        assert corpus_config(**{bound: value}).effective() == {**defaults, bound: value}
        assert bound not in corpus_config(**{bound: value}).shaping()


def test_streams_take_fractions() -> None:
    with pytest.raises(InputError, match="val is 5 tokens, but split 'interleaved' takes fract"):
        corpus_config(split="interleaved", val=5)
    with pytest.raises(InputError, match="streams is 0; it must be at least 1"):
        corpus_config(streams=0)
    with pytest.raises(InputError, match="stream_seq_len is 0; it must be at least 1"):
        corpus_config(stream_seq_len=0)


def test_defaults_take_everything_as_it_is() -> None:
    config = corpus_config()
    assert (config.include, config.exclude, config.strip_prefix) == (["*"], [], "")
    assert (config.expect_bytes, config.expect_md5, config.vocab_from) == (0, "", "")
    assert (config.url, config.licence) == ("", "")
