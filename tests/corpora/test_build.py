"""Building a corpus: the same bytes whoever builds it, and every byte accounted for."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.corpora import history
from pipeline.corpora import manifest as manifest_module
from pipeline.corpora.build import BuildResult, build_corpus, up_to_date
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.forecast import BuildOptions, forecast
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.manifest_data import TextBytes
from pipeline.corpora.sources import list_source
from pipeline.corpora.suspects import Suspects
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.tasks import ray_runner

from .conftest import build, contents, decoded, documents


def source_texts(folder: Path) -> dict[bytes, bytes]:
    return {
        str(p.relative_to(folder)).encode(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_every_document_is_there_with_its_own_bytes(corpus: Corpus, texts: Path) -> None:
    sources = source_texts(texts)
    # Hidden files and '_' folders too.
    assert documents(corpus) == {path.decode(): text for path, text in sources.items()}
    splits = {split: decoded(corpus, split) for split in ("train", "val", "test")}
    assert (
        sum(map(len, splits.values()))
        == sum(map(len, sources.values()))
        == corpus.manifest.bytes.source
    )


def test_any_number_of_workers_writes_the_same_bytes(
    tmp_path: Path, texts: Path, local_ray: None
) -> None:
    config = CorpusConfig(name="c", source=str(texts), chunk_bytes=4096, shard_bytes=50_000)
    one = build_corpus(config, str(tmp_path / "1"), ray_runner(1))
    two = build_corpus(config, str(tmp_path / "2"), ray_runner(2))
    here = build_corpus(config, str(tmp_path / "here"))
    assert one.version == two.version == here.version
    assert contents(one.url) == contents(two.url) == contents(here.url)


def test_the_order_of_a_listing_does_not_matter(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = build(tmp_path / "1", texts, chunk_bytes=4096)
    real = os.scandir

    @contextlib.contextmanager
    def reversed_scandir(path: str) -> Iterator[Any]:
        with real(path) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", reversed_scandir)
    assert contents(build(tmp_path / "2", texts, chunk_bytes=4096).url) == contents(here.url)


def test_one_large_file_is_cut_alike_as_file_and_stream(tmp_path: Path, texts: Path) -> None:
    text = b"".join((texts / name).read_bytes() for name in ("ast.py", "calendar.py", "enum.py"))
    (tmp_path / "t.txt").write_bytes(text)
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(text))
    plain = build(tmp_path / "1", tmp_path / "t.txt", chunk_bytes=3000, shard_bytes=40_000)
    packed = build(tmp_path / "2", tmp_path / "t.txt.gz", chunk_bytes=3000, shard_bytes=40_000)
    assert contents(plain.url) == contents(packed.url)
    assert decoded(plain, "train") + decoded(plain, "val") + decoded(plain, "test") == text


def test_unchanged_sources_are_recognised(tmp_path: Path, texts: Path) -> None:
    folder = tmp_path / "texts"
    shutil.copytree(texts, folder)
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    config, root = CorpusConfig(name="c", source=str(folder)), str(tmp_path / "root")
    assert build_corpus(config, root).built
    assert not build_corpus(config, root).built
    assert build_corpus(config, root, force=True).built
    (folder / "abc.py").write_bytes(b"changed")
    changed = build_corpus(config, root)
    assert changed.built  # the file is too new to be trusted, whatever it holds
    assert documents(open_corpus(root, "c"))["abc.py"] == b"changed"


def test_a_frozen_vocabulary_that_changed_is_a_change(tmp_path: Path, texts: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"abc abc")
    os.utime(tmp_path / "t.txt", (1e9, 1e9))
    root = str(tmp_path / "root")
    config = CorpusConfig(
        name="small", source=str(tmp_path / "t.txt"), vocab_from="c", val=0.0, test=0.0
    )
    versions = []
    for letters in (b"abcdef ", b"abcxyz "):
        (tmp_path / "v.txt").write_bytes(letters)
        build(tmp_path / "root", tmp_path / "v.txt")
        versions.append(build_corpus(config, root).version)
    assert versions[0] != versions[1]


def test_the_last_of_duplicate_members_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for text in (b"first zzz", b"second"):
            member = tarfile.TarInfo("a.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    corpus = build(tmp_path / "root", tmp_path / "a.tar", val=0.0, test=0.0)
    assert decoded(corpus, "train") == b"second"
    assert ord("z") not in corpus.vocab.symbols


def test_links_and_broken_text_are_skipped_and_listed(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "good.txt").write_bytes("gut é".encode())
    (folder / "bad.txt").write_bytes(b"ab\xff" * 10)
    (folder / "link.txt").symlink_to("good.txt")
    corpus = build(
        tmp_path / "root",
        folder,
        unit="char",
        decoding="skip",
        split="tail",
        val=0.0,
        test=0.0,
        max_skipped_fraction=1.0,
    )
    skipped = [json.loads(line) for line in contents(corpus.url)["skipped.jsonl"].splitlines()]
    assert [(s["path"], s["reason"].split(" (")[0]) for s in skipped] == [
        ("bad.txt", "invalid UTF-8 at byte 2"),
        ("link.txt", "link"),
    ]
    size = corpus.manifest.bytes
    assert size.source == 6 + 30 == size.text + size.skipped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "/no/such/place"}, "does not exist"),
        ({"source": str(Path(__file__).parent), "include": ["*.nothing"]}, "no document"),
        ({"unit": "char"}, r"latin\.txt: invalid UTF-8 at byte 1 .*--decoding"),
        ({"split": "tail", "train": 10**9, "val": "rest"}, "the splits need"),
        ({"expect_bytes": 5}, "expect_bytes is 5"),
        ({"separator": "\\x"}, "separator"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    source = tmp_path / "latin.txt"
    source.write_bytes(b"\x61\xe9 text that is long enough")
    with pytest.raises(InputError, match=message):
        build(tmp_path / "root", changes.pop("source", source), **changes)
    root = tmp_path / "root"
    left = [path for path in root.rglob("*") if path.is_file()] if root.exists() else []
    # The lock of a corpus stays: see turns.py.
    assert [path for path in left if path != root / "corpora" / ".turns" / "c.lock"] == []


def test_a_damaged_shard_is_refused_by_name(tmp_path: Path, texts: Path) -> None:
    corpus = build(tmp_path, texts)
    shard = Path(corpus.url) / "train-00000.arrow"
    good = shard.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for damage, verify in ((good[:-9], False), (bytes(flipped), True)):
        shard.write_bytes(damage)
        with pytest.raises(DamagedError, match=r"train-00000\.arrow"):
            corpus.open_split("train", verify=verify)
    shard.unlink()
    with pytest.raises(DamagedError, match=r"train-00000\.arrow is missing"):
        corpus.open_split("train")


def test_a_vocabulary_can_be_frozen(tmp_path: Path, texts: Path) -> None:
    (tmp_path / "small.txt").write_bytes(b"abc abc")
    build(tmp_path, texts)
    config = CorpusConfig(
        name="small", source=str(tmp_path / "small.txt"), vocab_from="c", val=0.0, test=0.0
    )
    build_corpus(config, str(tmp_path))
    small = open_corpus(str(tmp_path), "small")
    assert small.vocab == open_corpus(str(tmp_path), "c").vocab
    assert decoded(small, "train") == b"abc abc"


def test_staging_is_gone_after_a_build(tmp_path: Path, texts: Path) -> None:
    build(tmp_path, texts)
    assert storage.names(str(tmp_path / "corpora" / ".staging")) == []


def backwards(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """A runner whose last task is ready first, and whose results travel as JSON."""
    for index in reversed(range(len(tasks))):
        yield index, json.loads(json.dumps(function(tasks[index])))


@pytest.mark.parametrize("unit", ["byte", "char"])
def test_the_order_of_completion_does_not_matter(tmp_path: Path, texts: Path, unit: Any) -> None:
    config = CorpusConfig(
        name="c", source=str(texts), unit=unit, separator="\\n|", min_count=3, seed=4,
        chunk_bytes=4096, shard_bytes=50_000,
    )  # fmt: skip
    one = build_corpus(config, str(tmp_path / "1"), backwards)
    two = build_corpus(config, str(tmp_path / "2"))
    assert contents(one.url) == contents(two.url)
    assert any("unknown" in name for name in contents(one.url))


def test_a_build_says_what_it_came_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a").write_bytes(b"\xef\xbb\xbfabc" * 5)
    (folder / "b").symlink_to("a")
    os.utime(folder / "a", (1e9, 1e9))
    config = CorpusConfig(name="c", source=str(folder), separator="|", test=0.0, val=4)
    root = str(tmp_path / "root")
    assert up_to_date(config, root) is None
    with caplog.at_level("INFO", "unreasonable"):
        result = build_corpus(config, root)
    assert result.to_json() == {
        "corpus": "c",
        "version": result.version,
        "url": f"{root}/corpora/c/{result.version}",
        "built": True,
        "documents": 1,
        "skipped": 1,
        "bytes": {
            "source": 30,
            "skipped": 0,
            "normalised_away": 3,
            "text": 27,
            "separators": 1,
        },
        "tokens": {"train": 24, "val": 4, "test": 0},
        "split": "tail",
        "block_bytes": 0,
        "shares": {
            "train": {"tokens": 24, "asked": 0.857143, "got": 0.857143},
            "val": {"tokens": 4, "asked": 0.142857, "got": 0.142857},
            "test": {"tokens": 0, "asked": 0.0, "got": 0.0},
        },
        "suspects": {"documents": 0, "named": []},
        "vocab_size": 7,
        "seconds": result.seconds,
    }
    assert result.bytes == TextBytes(30, 0, 3, 27, 1)
    assert 0 < result.seconds == round(result.seconds, 3)
    assert f"corpus c: version {result.version} published at {result.url}" in caplog.messages
    assert caplog.messages[-2] == (
        f"corpus c {result.version}: 1 documents, 27 B of text, 7 symbols; split by tail: "
        "train 24 tokens (85.71%, asked 85.71%), val 4 tokens (14.29%, asked 14.29%), "
        "test 0 tokens (0.00%, asked 0.00%)"
    )
    assert caplog.messages[-1].startswith("the val split of c has 4 tokens, 14.29% of the text wh")
    assert caplog.records[-1].levelname == "WARNING"
    again = up_to_date(config, root)
    assert again is not None
    expected = {**result.to_json(), "built": False, "seconds": again.seconds}
    assert again.to_json() == build_again(config, root, expected) == expected


def build_again(config: CorpusConfig, root: str, expected: dict[str, Any]) -> dict[str, Any]:
    result: BuildResult = build_corpus(config, root)
    return {**result.to_json(), "seconds": expected["seconds"]}


def test_what_is_no_text_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"text " * 100)
    (folder / "b.gz").write_bytes(gzip.compress(b"text"))
    config = CorpusConfig(name="c", source=str(folder), val=0.0, test=0.0)
    result = build_corpus(config, str(tmp_path / "root"))
    assert result.to_json()["suspects"] == {"documents": 1, "named": [["b.gz", "gzip"]]}
    (message,) = caplog.messages
    assert message == (
        "1 document does not look like text and will be learnt as noise: 'b.gz' (gzip); leave them "
        "out with --exclude '*.gz', or unpack them with a glob: --source 'FOLDER/*.gz'."
    )
    (folder / "b.gz").unlink()
    assert build_corpus(config, str(tmp_path / "root")).suspects == Suspects()


def test_few_documents_get_the_shares_that_were_asked(
    tmp_path: Path, texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve modules of very different sizes."""
    config = CorpusConfig(name="c", source=str(texts), val=0.1, test=0.1)
    result = build_corpus(config, str(tmp_path))
    assert (result.split, result.block_bytes) == ("block", 2048)
    assert {name: share.asked for name, share in result.shares.items()} == pytest.approx(
        {"train": 0.8, "val": 0.1, "test": 0.1}
    )
    for name in ("val", "test"):
        assert 0.08 < result.shares[name].got < 0.12
    assert sum(share.tokens for share in result.shares.values()) == result.bytes.text
    assert not caplog.messages


def test_a_corpus_of_format_2_is_built_again_only_if_its_rule_has_changed(tmp_path: Path) -> None:
    """A version of older code whose documents were split whole, be there ever so few of them."""
    folder = tmp_path / "t"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(b"text " * 1000)
        os.utime(folder / name, (1e9, 1e9))
    root = str(tmp_path / "root")
    whole = build_corpus(CorpusConfig(name="c", source=str(folder), split="document"), root)
    config = CorpusConfig(name="c", source=str(folder))
    for settings, is_built in ((config, True), (replace(config, split="document"), False)):
        state = history.source_state(settings, list_source(str(folder), settings), None)
        manifest_module.publish(whole.url, open_corpus(root, f"c@{whole.version}").manifest)
        history.record(root, settings, state, whole.version)
        assert (up_to_date(settings, root) is None) == is_built
        assert build_corpus(settings, root).built == is_built


def test_the_same_text_is_published_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"text")
    config = CorpusConfig(name="c", source=str(path), val=0.0, test=0.0)
    root = str(tmp_path / "root")
    first = build_corpus(config, root)
    path.write_bytes(b"other")
    build_corpus(config, root)
    path.write_bytes(b"text")
    published = []
    real = manifest_module.publish
    monkeypatch.setattr(
        manifest_module, "publish", lambda url, about: (published.append(url), real(url, about))
    )
    shard = Path(first.url, "train-00000.arrow")
    os.utime(shard, (1e9, 1e9))
    with caplog.at_level("INFO", "unreasonable"):
        again = build_corpus(config, root)
    assert again.built
    assert again.version == first.version == manifest_module.latest(root, "c")
    line = f"corpus c: the same text as version {first.version}, already published"
    assert line in caplog.messages
    assert published == [first.url]
    assert shard.stat().st_mtime == 1e9  # it was not written again
    assert build_corpus(config, root, force=True).version == first.version
    assert shard.stat().st_mtime != 1e9


def test_sources_of_this_machine_are_read_on_this_machine(tmp_path: Path) -> None:
    elsewhere: list[str] = []

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        elsewhere.extend(type(task).__name__ for task in tasks)
        return backwards(function, tasks)

    config = CorpusConfig(name="c", source="pystdlib:", include=["enum.py"], split="tail")
    build_corpus(config, str(tmp_path), run)
    assert set(elsewhere) == {"list", "Shard"}  # pieces to count, shards to encode
    (tmp_path / "t.txt").write_bytes(b"text")
    build_corpus(CorpusConfig(name="d", source=str(tmp_path / "t.txt")), str(tmp_path), run)
    assert "ReadUnit" in elsewhere


def test_a_frozen_vocabulary_must_fit(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"abc abd")
    config = CorpusConfig(
        name="c", source=str(tmp_path / "t.txt"), vocab_from="models:/m", val=0.0, test=0.0
    )
    root = str(tmp_path / "root")
    message = r"^vocab_from models:/m has unit char, this corpus byte; change --unit\.$"
    for asked in (build_corpus, up_to_date):
        with pytest.raises(InputError, match=message):
            asked(config, root, frozen=Vocab("char", [97]))
    message = r"^vocabulary of models:/m lacks byte 0x20, byte 0x64; leave vocab_from out\.$"
    with pytest.raises(InputError, match=message):
        build_corpus(config, root, frozen=Vocab("byte", [97, 98, 99]))
    frozen = Vocab("byte", [None, 97, 98, 99])
    result = build_corpus(config, root, frozen=frozen)
    corpus = open_corpus(root, f"c@{result.version}")
    assert corpus.vocab == frozen
    (shard,) = corpus.manifest.splits["train"].shards
    assert corpus.open_split("train").read(0, 7).tolist() == [1, 2, 3, 0, 1, 2, 0]
    assert shard.unknown is not None


def test_separators_are_symbols_too(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(b"x")
    settings = {"separator": "||y", "val": 0.0, "test": 0.0}
    assert build(tmp_path / "1", folder, **settings, min_count=3).vocab.symbols == (120, 121, 124)
    # Six bars, three of each other symbol.
    assert build(tmp_path / "2", folder, **settings, min_count=4).vocab.symbols == (None, 124)
    assert build(tmp_path / "3", folder, **settings, min_count=6).vocab.symbols == (None, 124)
    with pytest.raises(InputError, match="no symbol occurs 7 times"):
        build(tmp_path / "4", folder, **settings, min_count=7)


def test_a_root_that_cannot_be_written_is_found_out_first(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"text")
    config = CorpusConfig(name="c", source=str(tmp_path / "t.txt"))

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        raise AssertionError("nothing is read")

    with pytest.raises(InputError, match="cannot write under"):
        build_corpus(config, str(tmp_path / "t.txt" / "root"), run)


def test_text_without_any_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a").write_bytes(b"")
    (folder / "b").symlink_to("a")
    message = r"^corpus c has no text: 1 documents, 1 skipped; change --source, --include or --deco"
    with pytest.raises(InputError, match=message):
        build(tmp_path / "root", folder, separator="|")


def _of_format_1(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_bytes())
    (version / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))


HARMS: dict[str, Callable[[Path], object]] = {
    "LATEST is missing": lambda version: (version.parent / "LATEST").unlink(),
    "LATEST names nothing": lambda version: (version.parent / "LATEST").write_text("gone\n"),
    "LATEST is no name": lambda version: (version.parent / "LATEST").write_text("../x\n"),
    "the version is missing": shutil.rmtree,
    "the manifest is missing": lambda version: (version / "manifest.json").unlink(),
    "the manifest is cut short": lambda version: (version / "manifest.json").write_text("{"),
    "the manifest is older": _of_format_1,
    "a shard is missing": lambda version: (version / "train-00000.arrow").unlink(),
    "a shard is cut short": lambda version: os.truncate(version / "val-00000.arrow", 40),
    "a table is missing": lambda version: (version / "documents.arrow").unlink(),
}


@pytest.mark.parametrize("harm", list(HARMS))
def test_building_heals(tmp_path: Path, harm: str) -> None:
    """Of sources that have not changed, without --force."""
    source = tmp_path / "t.txt"
    source.write_bytes(b"text that is long enough " * 40)
    os.utime(source, (1e9, 1e9))
    config = CorpusConfig(name="c", source=str(source))
    root = str(tmp_path / "root")
    first = build_corpus(config, root)
    whole = contents(first.url)
    assert up_to_date(config, root) is not None
    HARMS[harm](Path(first.url))
    assert forecast(config, root, BuildOptions(keep=1)).builds
    assert up_to_date(config, root) is None
    again = build_corpus(config, root)
    assert (again.built, again.version) == (True, first.version)
    assert contents(first.url) == whole
    assert manifest_module.latest(root, "c") == first.version
    assert up_to_date(config, root) is not None


def test_what_is_removed_while_it_is_written_is_not_published(tmp_path: Path) -> None:
    source = tmp_path / "t.txt"
    source.write_bytes(b"text" * 40)
    root = tmp_path / "root"
    config = CorpusConfig(name="c", source=str(source), val=0.0, test=0.0)

    def removing(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        yield from ((index, function(task)) for index, task in enumerate(tasks))
        for shard in root.glob("corpora/c/*/train-00000.arrow"):
            shard.unlink()

    with pytest.raises(InputError, match=r"/train-00000\.arrow was removed or changed since"):
        build_corpus(config, str(root), removing)
    assert manifest_module.latest(str(root), "c") is None
