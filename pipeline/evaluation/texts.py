"""The text that is scored, and the training text that baselines learn from: true bytes.

What a corpus's unknown tokens stand for is put back, so that every model and every compressor is
held against the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Tracer
from pipeline.errors import InputError
from pipeline.urls import reason

# An evaluation keeps some 50 bytes for each byte of text and model: 13 GB at this size.
MAX_TEXT_BYTES = 256 << 20


@dataclass(frozen=True)
class Origin:
    """Where a text is from, and by which rule it was held out."""

    source: str
    rule: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Text:
    """A text to score, with where it is from."""

    data: bytes
    origin: Origin


def text_of_url(url: str, max_bytes: int = 0) -> Text:
    """The text at a URL, byte for byte. InputError when it cannot be read, or is empty."""
    location = storage.absolute(url)
    if max_bytes:
        limit = min(max_bytes, MAX_TEXT_BYTES)
        data = cut(_head(location, limit + 1), limit)
    else:
        data = storage.read_given(location, MAX_TEXT_BYTES, "text")
    rule = "none: nothing says that no model has learnt it"
    return _text(data, url, rule)


def text_of_split(corpus: Corpus, split: str, max_bytes: int = 0) -> Text:
    """The text of a split, unknown symbols included, cut to `max_bytes` at a whole token."""
    limit = max_bytes or MAX_TEXT_BYTES
    total = corpus.bytes_in(split)
    if not max_bytes and total > MAX_TEXT_BYTES:
        raise InputError(
            f"split {split} has {total:,} bytes; an evaluation holds at most "
            f"{MAX_TEXT_BYTES:,}: give --max_bytes."
        )
    tokens = corpus.tokens_in(split)
    data = split_text(corpus, split, 0, min(tokens, limit))  # a token has one byte or more
    return _text(cut(data, limit), _name(corpus, split), split_rule(corpus, split))


def split_text(corpus: Corpus, split: str, start: int, stop: int) -> bytes:
    """The text of tokens [start, stop) of a split."""
    if corpus.vocab.has_unknown:
        return Tracer(corpus).text(split, start, stop)
    # By a table: Vocab.decode makes a Python object of every symbol, and a split may have 100 MB.
    known = np.array(corpus.vocab.symbols, np.uint32)
    symbols = known[corpus.open_split(split).read(start, stop)]
    if corpus.vocab.unit == "byte":
        return symbols.astype(np.uint8).tobytes()
    return symbols.astype("<u4").tobytes().decode("utf-32-le").encode()


def training_text(corpus: Corpus, max_bytes: int) -> bytes:
    """At most so many bytes from the end of the train split."""
    tokens = corpus.tokens_in("train")
    data = split_text(corpus, "train", max(0, tokens - max_bytes), tokens)
    return data[max(0, len(data) - max_bytes) :]


def split_rule(corpus: Corpus, split: str) -> str:
    """By which rule a split was held out, in words."""
    if split == "train":
        return "train: models have learnt this text"
    rule = corpus.manifest.rule
    how = {
        "block": f"blocks of {rule.block_bytes:,} bytes, chosen by hash",
        "document": "whole documents, chosen by hash",
        "tail": "the end of the text",
    }
    if rule.split == "interleaved":
        return f"interleaved: {_held_out_of_streams(corpus, split)}"
    return f"{rule.split}: {how.get(rule.split, 'see the corpus manifest')}"


def _held_out_of_streams(corpus: Corpus, split: str) -> str:
    """`the last 5% of each of 50 streams`, with the shares as they came out.

    Within a stream train comes first, then val, then test.
    """
    tokens = {name: entry.tokens for name, entry in corpus.manifest.splits.items()}
    percent = {name: f"{100 * count / sum(tokens.values()):.3g}%" for name, count in tokens.items()}
    whose = f"of each of {corpus.manifest.rule.streams:,} streams"
    if split == "val" and tokens["test"]:
        return f"the {percent['val']} before the last {percent['test']} {whose}"
    return f"the last {percent[split]} {whose}"


def _name(corpus: Corpus, split: str) -> str:
    return f"{split} of {corpus.name}@{corpus.version}"


def _text(data: bytes, source: str, rule: str) -> Text:
    if not data:
        raise InputError(f"text {source} is empty; there is nothing to score.")
    digest = hashlib.sha256(data).hexdigest()
    return Text(data, Origin(source, rule, len(data), digest))


def cut(data: bytes, limit: int) -> bytes:
    """The first `limit` bytes, without a character of UTF-8 that the cut would leave unfinished."""
    head = data[:limit]
    if len(head) == len(data):
        return head
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # An error further from the end is the text's own.
        is_cut_through = error.reason == "unexpected end of data"
        return head[: error.start] if is_cut_through else head
    return head


def _head(url: str, limit: int) -> bytes:
    try:
        with storage.open_read(url) as file:
            return file.read(limit)
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read text {url}: {reason(error)}") from None
