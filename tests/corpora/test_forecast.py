"""What a build would do, compared with what it then does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora import forecast as module
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.forecast import BuildOptions, forecast, split_tokens
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError

OLD = 1_700_000_000  # a file as new as its listing may change unseen, so the sources are older


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for name in ("a", "b", "c"):
        write(folder / f"{name}.txt", f"{name} line\n" * 400)
    return folder


def write(path: Path, text: str, at: int = OLD) -> None:
    path.write_text(text)
    os.utime(path, (at, at))


def config(folder: Path, **changes: Any) -> CorpusConfig:
    given = {"name": "c", "source": str(folder), "val": 0.25, "test": 0.0}
    return CorpusConfig(**{**given, **changes})


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_a_cut_text_is_forecast_to_the_token(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    settings = config(folder / "a.txt", test=0.1, separator="\\n")
    found = forecast(settings, root, BuildOptions())
    assert not (tmp_path / "root").exists()
    built = build_corpus(settings, root)
    assert found.tokens == built.tokens
    assert found.vocab_size == built.vocab_size
    assert (found.documents, found.bytes) == (built.documents, built.bytes.source)
    assert (found.whole, found.cut, found.builds, found.version) == (True, True, True, None)
    assert found.disk_bytes == sum(built.tokens.values())


def test_several_documents_are_forecast_by_their_shares(folder: Path, tmp_path: Path) -> None:
    found = forecast(config(folder), str(tmp_path / "root"), BuildOptions())
    built = build_corpus(config(folder), str(tmp_path / "root"))
    assert sum(found.tokens.values()) == sum(built.tokens.values()) == 8400
    assert found.tokens == {"train": 6300, "val": 2100, "test": 0}
    assert (found.whole, found.cut) == (True, False)
    assert "about 2,100 val tokens" in found.warnings[0]


def test_an_up_to_date_version_is_found_and_nothing_is_written(
    folder: Path, tmp_path: Path
) -> None:
    root = str(tmp_path / "root")
    built = build_corpus(config(folder), root)
    before = files(tmp_path)
    found = forecast(config(folder), root, BuildOptions())
    assert (found.builds, found.version, found.tokens) == (False, built.version, built.tokens)
    assert (found.changes, found.disk_bytes, found.seconds.value) == ((), 0, 1.0)
    forced = forecast(config(folder), root, BuildOptions(force=True))
    assert forced.builds
    assert files(tmp_path) == before


def test_what_changed_is_said(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    build_corpus(config(folder), root)
    write(folder / "new.txt", "new\n" * 10)
    write(folder / "a.txt", "other\n" * 10, at=4_000_000_000)
    (folder / "b.txt").unlink()
    found = forecast(config(folder, separator="x"), root, BuildOptions())
    assert found.changes == (
        "settings changed: separator",
        "1 new documents: new.txt",
        "1 documents gone: b.txt",
        "1 documents written since: a.txt",
    )


def test_versions_that_would_go_are_named(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    versions = [build_corpus(config(folder, seed=seed), root).version for seed in (1, 2, 3)]
    asked = []

    def models(name: str) -> dict[str, list[str]]:
        asked.append(name)
        return {versions[1]: ["model m/1"]}

    options = BuildOptions(keep=2)
    found = forecast(config(folder, seed=4), root, options, models=models)
    assert found.removed == (versions[0],)
    assert asked == ["c"]
    assert forecast(config(folder, seed=4), root, BuildOptions(keep=9)).removed == ()
    assert forecast(config(folder, seed=4), root, BuildOptions()).removed == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"include": ["*.none"]}, "no document under"),
        ({"expect_bytes": 5}, "expect_bytes and expect_md5 need one document"),
        ({"val": 100}, "val is 100 tokens, but several documents split by document"),
        ({"split": "tail", "val": 10**9}, "the splits need 1,000,000,000 tokens"),
        ({"vocab_from": "nope"}, "no corpus 'nope'"),
    ],
)
def test_bad_input_is_refused_as_by_the_build(
    folder: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        forecast(config(folder, **changes), str(tmp_path / "root"), BuildOptions())
    assert not (tmp_path / "root").exists()


def test_a_frozen_vocabulary_is_taken_or_refused(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    build_corpus(config(folder), root)
    size = len(open_corpus(root, "c").vocab)
    same = config(folder, name="d", vocab_from="c", exclude=["b.txt", "c.txt"])
    assert forecast(same, root, BuildOptions()).vocab_size == size
    write(folder / "d.txt", "Z")
    with pytest.raises(InputError, match="vocabulary of c lacks byte 0x5A"):
        forecast(config(folder, name="d", vocab_from="c"), root, BuildOptions())


def test_sources_without_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(InputError, match="corpus c has no text"):
        forecast(config(tmp_path / "empty.txt"), str(tmp_path / "root"), BuildOptions())


def test_tail_counts_come_from_shares_and_numbers(tmp_path: Path) -> None:
    settings = config(tmp_path, split="tail", train=600, val="rest", test=0.1)
    # A total that is a guess refuses nothing.
    assert split_tokens(settings, 5, 500, exact=False)[0] == {"train": 600, "val": 0, "test": 50}
    assert split_tokens(settings, 5, 1000) == ({"train": 600, "val": 300, "test": 100}, True)


def test_a_token_takes_the_bytes_that_its_vocabulary_needs() -> None:
    assert module._token_bytes(256) == 1
    assert module._token_bytes(257) == module._token_bytes(65536) == 2
    assert module._token_bytes(65537) == 4


def test_streams_are_cut_as_the_build_cuts_them(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, split="interleaved", streams=4, stream_seq_len=100, val=0.1)
    found = forecast(settings, str(tmp_path / "root"), BuildOptions())
    built = build_corpus(settings, str(tmp_path / "root"))
    assert found.tokens == built.tokens
    assert found.cut
    manifest = open_corpus(str(tmp_path / "root"), "c").manifest
    assert found.streams == manifest.streams
    with pytest.raises(InputError, match=r"the corpus has 8,400 tokens; 4 streams in steps of"):
        forecast(
            config(folder, split="interleaved", streams=4, stream_seq_len=9999),
            str(tmp_path / "other"),
            BuildOptions(),
        )
    # What was only guessed refuses nothing.
    short = config(folder, split="interleaved")
    assert split_tokens(short, 1, 10, exact=False) == ({"train": 8, "val": 2, "test": 0}, False)
