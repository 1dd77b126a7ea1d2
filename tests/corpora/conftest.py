"""Building one corpus from a source, and reading it with nothing but pyarrow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus


def corpus_config(**changes: Any) -> CorpusConfig:
    """Settings of a corpus `x`, the default but for the changes."""
    return CorpusConfig(**{"name": "x", "source": "x", **changes})


def build(root: Path, source: object, **changes: object) -> Corpus:
    """Build corpus `c` under a root; returns the version that came out."""
    urls = source if isinstance(source, list) else str(source)
    config = CorpusConfig(name="c", source=urls, **changes)  # type: ignore[arg-type]
    return open_corpus(str(root), f"c@{build_corpus(config, str(root)).version}")


def decoded(corpus: Corpus, split: str) -> bytes:
    """A split's text, read from the shard files with nothing but pyarrow."""
    symbols = corpus.manifest.vocab["symbols"]
    text = bytearray()
    for shard in corpus.manifest.splits[split].shards:
        file = pa.ipc.open_file(pa.memory_map(f"{corpus.url}/{shard.file}"))
        for token in file.read_all()["token"].to_pylist():
            symbol = symbols[token]
            text += chr(symbol).encode() if corpus.vocab.unit == "char" else bytes([symbol])
    return bytes(text)


def documents(corpus: Corpus) -> dict[str, bytes]:
    """Every document's text by path, put together from its parts in the splits."""
    rows = pa.ipc.open_file(pa.memory_map(f"{corpus.url}/documents.arrow")).read_all().to_pylist()
    assert corpus.vocab.unit == "byte"
    splits = {split: decoded(corpus, split) for split in ("train", "val", "test")}
    texts: dict[str, bytes] = {}
    for row in sorted(rows, key=lambda row: row["start"]):
        part = splits[row["split"]][row["offset"] : row["offset"] + row["length"]]
        texts[row["path"].decode()] = texts.get(row["path"].decode(), b"") + part
    return texts


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address and the folder of a web server on loopback.

    As many do, it knows no byte ranges.
    """
    folder = tmp_path / "website"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()
