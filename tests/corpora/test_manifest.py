"""Versions are found, opened and published; what is not whole is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from pipeline import storage
from pipeline.corpora import manifest as manifest_module
from pipeline.corpora.manifest import (
    Corpus,
    corpus_names,
    corpus_url,
    latest,
    local_copy,
    open_corpus,
    open_version,
    publish,
    split_reference,
)
from pipeline.corpora.manifest_data import FileEntry, fingerprint
from pipeline.corpora.retention import versions
from pipeline.corpora.splits import SplitRule
from pipeline.corpora.trace import Tracer
from pipeline.corpora.verify import verify
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError

from .conftest import build

TEXT = b"some text, to be cut into shards " * 90


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A corpus with several shards."""
    (tmp_path / "t.txt").write_bytes(TEXT)
    return build(tmp_path / "root", tmp_path / "t.txt", val=0.1, test=0.0, shard_bytes=1024)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A root that is on no disk, and a cache of the test's own."""
    monkeypatch.setenv("UNREASONABLE_CACHE", str(tmp_path / "cache"))
    yield "memory://root"
    fsspec.filesystem("memory").store.clear()


def rewritten(corpus: Corpus, change: dict[str, Any], *, sign: bool = True) -> None:
    """Write the manifest with other fields, and with the fingerprint that belongs to them."""
    value = {**corpus.manifest.to_json(), **change}
    if sign:
        value["fingerprint"] = fingerprint(value)
        value["version"] = value["fingerprint"][:12]
    Path(corpus.url, "manifest.json").write_text(json.dumps(value))


def test_a_corpus_knows_its_version(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.url == f"{tmp_path}/root/corpora/c/{corpus.version}"
    assert (corpus.name, corpus.version) == ("c", corpus.fingerprint[:12])
    assert corpus.manifest.fingerprint == corpus.fingerprint
    assert corpus.tokens_in("train") + corpus.tokens_in("val") == len(TEXT)
    assert corpus.tokens_in("val") == corpus.bytes_in("val") == len(TEXT) // 10
    assert corpus.tokens_in("test") == 0
    assert corpus.vocab == Vocab.from_json(corpus.manifest.vocab)


def test_a_split_is_its_shards(corpus: Corpus) -> None:
    train = corpus.open_split("train", verify=True)
    assert corpus.vocab.decode(train.read(0, len(train))) == TEXT[: corpus.tokens_in("train")]
    assert [shard.tokens for shard in corpus.manifest.splits["train"].shards] == [1024, 1024, 625]
    assert len(corpus.open_split("test")) == 0


def test_references_are_names_with_or_without_a_version() -> None:
    assert split_reference("name") == ("name", "")
    assert split_reference("name@v1") == ("name", "v1")
    assert corpus_url("/root/", "name") == "/root/corpora/name"


def test_the_latest_version_is_opened_unless_one_is_named(corpus: Corpus, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    (tmp_path / "t.txt").write_bytes(b"another text")
    newer = build(tmp_path / "root", tmp_path / "t.txt")
    assert latest(root, "c") == newer.version != corpus.version
    assert open_corpus(root, "c").url == newer.url
    assert open_corpus(root, f"c@{corpus.version}").url == corpus.url
    publish(corpus.url, corpus.manifest)
    assert Path(root, "corpora", "c", "LATEST").read_bytes() == f"{corpus.version}\n".encode()
    assert open_corpus(root, "c").url == corpus.url


def test_publishing_writes_the_manifest_first(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(storage, "write_json", lambda url, value: written.append((url, value)))
    monkeypatch.setattr(storage, "write_bytes", lambda url, data: written.append((url, data)))
    publish(corpus.url, corpus.manifest)
    folder = corpus.url.rpartition("/")[0]
    assert written == [
        (f"{corpus.url}/manifest.json", corpus.manifest.to_json()),
        (f"{folder}/LATEST", f"{corpus.version}\n".encode()),
    ]


def test_what_is_not_there_is_an_error_by_name(corpus: Corpus, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    assert corpus_names(root) == ["c"]
    assert latest(root, "d") is None
    message = rf"^no corpus 'd' under {root} \(there are: c\); build it: .*--recipe d$"
    for reference in ("d", "d@v1"):
        with pytest.raises(InputError, match=message):
            open_corpus(root, reference)
    with pytest.raises(InputError, match=r"\(there are: none\)"):
        open_corpus(str(tmp_path), "c")
    with pytest.raises(
        InputError, match=r"^no corpus version at .*/c/v1; `.*unreasonable build-corpus --"
    ):
        open_corpus(root, "c@v1")


@pytest.mark.parametrize("value", [[], None, {}, {"format": 1}, {"format": "2"}])
def test_another_format_is_refused(corpus: Corpus, value: Any) -> None:
    Path(corpus.url, "manifest.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest of format 2 to 4; b"):
        open_version(corpus.url)
    Path(corpus.url, "manifest.json").write_text("{")
    with pytest.raises(DamagedError, match=r"manifest\.json is not JSON"):
        open_version(corpus.url)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"../other", b"a b", b"..", b"a/b"])
def test_a_latest_that_names_no_version_is_refused(tmp_path: Path, content: bytes) -> None:
    url = f"{tmp_path}/corpora/c/LATEST"
    storage.write_bytes(url, content)
    for asked in (lambda: latest(str(tmp_path), "c"), lambda: open_corpus(str(tmp_path), "c")):
        with pytest.raises(DamagedError) as refused:
            asked()
        message = str(refused.value)
        assert message.startswith(f"{url} names no version but ")
        assert message.endswith("; build the corpus again with --force, which writes it anew.")
        assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_a_broken_table_of_documents_is_refused(corpus: Corpus, content: bytes | None) -> None:
    path = Path(corpus.url, "documents.arrow")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"documents\.arrow is (missing|not a table.*); build t"):
        corpus.documents()


def test_versions_of_format_2_are_read(tmp_path: Path) -> None:
    """They split whole documents, and have no column for where a part's text begins."""
    golden = Path(__file__).parent.parent / "golden" / "corpora" / "bytes"
    shutil.copytree(golden, tmp_path / "corpora" / "bytes")
    old = open_corpus(str(tmp_path), "bytes")
    assert (old.manifest.format, old.manifest.rule) == (2, SplitRule("document"))
    assert old.documents().num_rows == 8
    assert verify(old) > 0
    assert [version.corpus.version for version in versions(str(tmp_path), "bytes")] == [old.version]
    tracer = Tracer(old)
    source = (Path(__file__).parent.parent / "golden" / "source" / "large.code").read_bytes()
    assert tracer.document(b"large.code") == source


def test_the_fingerprint_is_always_checked(corpus: Corpus) -> None:
    message = r"manifest\.json does not have the fingerprint it names; build the corpus again"
    for change in ({"unicode": "1"}, {"version": "v"}, {"version": None}, {"fingerprint": 7}):
        rewritten(corpus, change, sign=False)
        with pytest.raises(DamagedError, match=message):
            open_version(corpus.url)
    value = corpus.manifest.to_json()
    for field in ("unicode", "fingerprint", "version"):
        lacking = {key: each for key, each in value.items() if key != field}
        Path(corpus.url, "manifest.json").write_text(json.dumps(lacking))
        with pytest.raises(DamagedError, match=message):
            open_version(corpus.url)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"splits": {}}, r"KeyError: 'train'"),
        ({"splits": []}, "AttributeError: "),
        ({"documents": "3"}, r"TypeError: '3' is not a whole number"),
        ({"first_tokens": [[1, 2, 3]]}, "ValueError: "),
    ],
)
def test_a_manifest_that_is_not_whole_is_refused(
    corpus: Corpus, change: dict[str, Any], reason: str
) -> None:
    rewritten(corpus, change)
    with pytest.raises(DamagedError, match=rf"json is not a whole manifest \({reason}.*\); build"):
        open_version(corpus.url)


def test_a_vocabulary_that_is_none_is_refused(corpus: Corpus) -> None:
    rewritten(corpus, {"vocab": {"format": 1, "unit": "byte", "symbols": []}})
    with pytest.raises(InputError, match="a byte vocabulary must be"):
        open_version(corpus.url)


def test_a_shard_of_the_wrong_tokens_is_refused(corpus: Corpus) -> None:
    shards = corpus.manifest.to_json()["splits"]["train"]
    shards["shards"][0]["tokens"] = 1023
    rewritten(corpus, {"splits": {**corpus.manifest.to_json()["splits"], "train": shards}})
    message = r"train-00000\.arrow holds 1024 uint8 tokens, not 1023 uint8\.$"
    with pytest.raises(DamagedError, match=message):
        open_version(corpus.url).open_split("train")
    wide = Corpus(corpus.url, corpus.manifest, Vocab("char", range(300)))
    with pytest.raises(DamagedError, match=r"holds 1024 uint8 tokens, not 1024 uint16\.$"):
        wide.open_split("train")


def test_files_are_checked_by_size_and_on_request_by_digest(corpus: Corpus) -> None:
    entry = corpus.manifest.splits["train"].shards[0]
    path = Path(corpus.url, entry.file)
    assert corpus.local(entry, verify=True) == str(path)
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert corpus.local(entry) == str(path)
    with pytest.raises(DamagedError, match=r"shard .*00000\.arrow does not have the digest in its"):
        corpus.local(entry, verify=True)
    with pytest.raises(DamagedError, match="does not have the digest"):
        corpus.open_split("train", verify=True)
    path.write_bytes(good + b"x")
    size = len(good)
    message = rf"shard .*00000\.arrow has {size + 1} bytes, its manifest says {size}; build the"
    with pytest.raises(DamagedError, match=message):
        corpus.local(entry)
    path.unlink()
    with pytest.raises(DamagedError, match=r"shard .*00000\.arrow is missing; build the corpus ag"):
        corpus.open_split("train")


def test_documents_can_be_read(corpus: Corpus) -> None:
    rows = corpus.documents().to_pylist()
    assert [(row["path"], row["split"]) for row in rows] == [(b"t.txt", "train"), (b"t.txt", "val")]


def test_a_remote_file_is_fetched_once_and_checked(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{remote}/x.arrow"
    storage.write_bytes(url, b"data")
    sha256 = storage.sha256_bytes(b"data")
    entry = FileEntry("x.arrow", 4, sha256)
    path = local_copy(url, entry)
    assert path == str(tmp_path / "cache" / "shards" / f"{sha256}.arrow")
    assert Path(path).read_bytes() == b"data"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_bytes", None)  # so that it cannot be fetched again
        assert local_copy(url, entry) == path
    # A copy of another size was cut short by something: it is fetched again.
    Path(path).write_bytes(b"dat")
    assert Path(local_copy(url, entry)).read_bytes() == b"data"
    Path(path).unlink()
    storage.write_bytes(url, b"Data")
    with pytest.raises(
        DamagedError, match=r"shard memory://root/x\.arrow does not have the digest"
    ):
        local_copy(url, entry)
    assert not Path(path).exists()
    storage.remove(url)
    with pytest.raises(DamagedError, match=r"shard memory://root/x\.arrow is missing"):
        local_copy(url, entry)


def test_a_remote_corpus_reads_like_a_local_one(remote: str, tmp_path: Path) -> None:
    from pipeline.corpora.build import build_corpus
    from pipeline.corpora.config import CorpusConfig

    (tmp_path / "t.txt").write_bytes(TEXT)
    build_corpus(CorpusConfig(name="c", source=str(tmp_path / "t.txt"), val=0.0, test=0.0), remote)
    corpus = open_corpus(remote, "c")
    tokens = corpus.open_split("train", verify=True)
    assert corpus.vocab.decode(tokens.read(0, len(tokens))) == TEXT
    assert isinstance(tokens.read(0, 5), np.ndarray)


def test_the_cache_belongs_to_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNREASONABLE_CACHE", raising=False)
    monkeypatch.setattr(manifest_module.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = manifest_module._cache_folder()
    assert folder == str(tmp_path / f"unreasonable-{os.getuid()}")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert manifest_module._cache_folder() == folder
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    monkeypatch.setenv("UNREASONABLE_CACHE", folder)
    message = rf"cache folder {folder} belongs to another user; set UNREASONABLE_CACHE\."
    with pytest.raises(InputError, match=message):
        manifest_module._cache_folder()


def test_what_killed_workers_left_in_the_cache_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREASONABLE_CACHE", str(tmp_path))
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, written in ((".writing-old", 1e9), (".writing-new", None)):
        (folder / name).write_bytes(b"")
        if written:
            os.utime(folder / name, (written, written))
    storage.write_bytes("memory://cached/x.arrow", b"x")
    entry = FileEntry("x.arrow", 1, storage.sha256_bytes(b"x"))
    path = manifest_module.local_copy("memory://cached/x.arrow", entry)
    assert sorted(each.name for each in folder.iterdir()) == [".writing-new", Path(path).name]
