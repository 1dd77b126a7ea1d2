"""A root on an object store: every stage against a real S3 server on loopback."""

from __future__ import annotations

import json
import lzma
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline import runs, storage
from pipeline.corpora import retention
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.corpora.trace import Tracer
from pipeline.corpora.verify import verify
from pipeline.errors import InputError
from pipeline.model.artifact import read_artifact
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from pipeline.sampling.writer import Writer
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import Attempt, Outcome
from tests.corpora.test_turns import builds_at_once
from tests.jobs.conftest import process
from tests.registering import checkpoint, with_database
from tests.servers import free_port, running

BUCKET = "unreasonable-tests"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = str(Path(sys.executable).with_name("moto_server"))
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("s3") / "moto.log"
    with running(command, f"{url}/moto-api/", log, {}):
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty root on the server; fsspec and every process started from here find the server."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fs = fsspec.filesystem("s3")
    if fs.exists(BUCKET):
        fs.rm(BUCKET, recursive=True)
    fs.mkdir(BUCKET)
    return f"s3://{BUCKET}/root"


def test_long_samples_are_saved_in_the_bucket_and_go_on_from_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: Path
) -> None:
    class StoppedError(Exception): ...

    root = str(tmp_path)
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    model = read_artifact(checkpoint(root, 16))

    def job(output: str, save_every_s: float) -> None:
        config = SampleConfig(
            model="m", num_files=3, num_chars=3000, save_every_s=save_every_s, output=output
        )
        sample_files(config, model, root, local=True)

    job(str(tmp_path / "whole"), 60.0)
    publish = Writer._publish

    def stop(*given: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(Writer, "_publish", stop)
    with pytest.raises(StoppedError):
        job(f"{bucket}/samples", 1e-9)
    assert storage.names(f"{bucket}/samples") == [".partial", "settings.json"]
    assert len(storage.names(f"{bucket}/samples/.partial/sample-00002.txt")) > 5
    monkeypatch.setattr(Writer, "_publish", publish)
    job(f"{bucket}/samples", 60.0)
    names = storage.names(f"{bucket}/samples")
    assert names == sorted(path.name for path in (tmp_path / "whole").iterdir())
    for name in names:
        stored = storage.read_bytes(f"{bucket}/samples/{name}")
        assert stored == (tmp_path / "whole" / name).read_bytes(), name


def test_a_ledger_in_the_bucket_lets_one_of_two_schedulers_through(bucket: str) -> None:
    one = Ledger(bucket)
    two = Ledger(bucket)

    def attempt(ledger: Ledger) -> Attempt:
        return Attempt(
            corpus="c", number=1, schedule="s", instant="20260101T000000Z", stage="build", tried=0,
            command=("jobs/x.py",), submitted=1.0, by=ledger.writer, retries=0, retry_after_s=0.0,
        )  # fmt: skip

    assert one.append(attempt(one))
    assert not two.append(attempt(two))
    assert one.append(attempt(one))
    assert one.start(attempt(one))
    assert not two.start(attempt(one))
    assert two.end(attempt(one), "succeeded", Outcome(result={}))
    (entry,) = one.entries("c")
    assert (entry.status, entry.attempt) == ("succeeded", attempt(one))


def test_a_failed_upload_leaves_nothing(bucket: str) -> None:
    def fail(size: int) -> None:
        with storage.writing(f"{bucket}/half") as file:
            file.write(b"x" * size)
            raise RuntimeError

    for size in (10, 60 << 20):  # one request, and a multi-part upload
        with pytest.raises(RuntimeError):
            fail(size)
        assert not storage.exists(f"{bucket}/half")
    storage.write_bytes(f"{bucket}/whole", b"x" * (20 << 20))
    assert len(storage.read_bytes(f"{bucket}/whole")) == 20 << 20


def test_a_corpus_on_s3_has_the_same_bytes_as_a_local_one(
    bucket: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREASONABLE_CACHE", str(tmp_path / "cache"))
    fsspec.filesystem("s3").put(f"{texts}/", f"{BUCKET}/texts/", recursive=True)
    on_s3 = CorpusConfig(name="t", source=f"s3://{BUCKET}/texts", chunk_bytes=4096)
    on_disk = CorpusConfig(name="t", source=str(texts), chunk_bytes=4096)
    remote = build_corpus(on_s3, bucket)
    local = build_corpus(on_disk, str(tmp_path))
    assert remote.version == local.version
    for path in Path(local.url).iterdir():
        assert storage.read_bytes(f"{remote.url}/{path.name}") == path.read_bytes(), path.name
    here = open_corpus(str(tmp_path), "t").open_split("train")
    there = open_corpus(bucket, "t").open_split("train")
    assert (here.read(0, len(here)) == there.read(0, len(there))).all()
    assert not build_corpus(on_s3, bucket).built


@pytest.mark.long
def test_builders_and_pruners_at_once_on_s3(bucket: str, tmp_path: Path) -> None:
    assert builds_at_once(bucket, tmp_path, rounds=6) == []
    retention.prune(bucket, "c", 1)
    assert len(retention.versions(bucket, "c")) == 1
    assert storage.names(f"{bucket}/corpora/.staging") == []


def test_archives_and_large_files_on_s3(bucket: str, tmp_path: Path) -> None:
    text = b"".join(b"line %d of a text that is read in ranges\n" % n for n in range(3000))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("in/t.txt", text)
    (tmp_path / "t.txt").write_bytes(text)
    (tmp_path / "t.txt.xz").write_bytes(lzma.compress(text))
    storage.write_bytes(f"s3://{BUCKET}/x.zip", (tmp_path / "x.zip").read_bytes())
    storage.write_bytes(f"s3://{BUCKET}/t.txt", text)
    storage.write_bytes(f"s3://{BUCKET}/t.txt.xz", lzma.compress(text))
    sources = [
        f"s3://{BUCKET}/t.txt",
        f"s3://{BUCKET}/t.txt.xz",
        f"zip://in/t.txt::s3://{BUCKET}/x.zip",
        str(tmp_path / "t.txt"),
    ]
    made = [
        build_corpus(CorpusConfig(name="t", source=source, chunk_bytes=4096), bucket)
        for source in sources
    ]
    assert len({built.version for built in made}) == 1
    assert verify(open_corpus(bucket, "t")) > len(text)
    storage.write_bytes(f"{made[0].url}/{retention.PIN}", b"")
    (version,) = retention.versions(bucket, "t")
    assert version.pinned
    assert version.published is not None
    tracer = Tracer(open_corpus(bucket, "t"))
    assert tracer.text("train", 100, 200) == text[100:200]
    assert tracer.origin("val", 5).offset == tracer.corpus.tokens_in("train") + 5
    assert retention.prune(bucket, "t", 3) == []


def test_a_remote_root_needs_a_tracking_server(bucket: str) -> None:
    from pipeline.registry.tracking import Tracking

    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        Tracking(bucket)


def test_the_jobs_run_on_a_root_on_s3(bucket: str, texts: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    sizes = {"num_layers": 1, "hidden_size": 16, "global_batch_size": 8, "seq_len": 32}
    sections = {
        "corpus": {"name": "mine", "source": str(texts), "val": 0.2, "test": 0.0},
        "train": {**sizes, "max_steps": 20, "eval_every": 10, "num_workers": 2},
        "sample": {"num_chars": 200},
    }
    recipe.write_text(json.dumps(sections))
    done = process(
        "reproduce",
        *("--recipe", recipe, "--root", bucket),
        MLFLOW_TRACKING_URI=f"sqlite:///{with_database(str(tmp_path))}/mlflow.db",
        UNREASONABLE_CACHE=str(tmp_path / "cache"),
    )
    result = done.result
    assert result["samples"].startswith(f"{bucket}/samples/mine-1-")
    sample = result["samples"].replace("samples.jsonl", "sample-00000.txt")
    assert len(storage.read_bytes(sample)) == 200
    (run,) = storage.names(f"{bucket}/runs")
    assert runs.complete(f"{bucket}/runs/{run}")
    # The report of a whole recipe, which tests/jobs/test_jobs.py leaves to this test.
    assert set(result["val_bits_per_byte"]) == {"model", "xz", "unigram"}
    looks = {"baselines", "evaluation", "explanation"}
    assert set(result["seconds"]) == {"start", "corpus", "train", "sample", "report"} | looks
    assert b"Where it comes from" in storage.read_bytes(result["report"])
    assert f"model    {result['model']}, tracked at sqlite:" in done.err
    # What a person sees: what workers have to say, and nothing that engines say to nobody's use.
    assert "train mine: 20 steps of 20 steps (100%), " in done.err
    assert " train tokens, " in done.err  # said by a worker
    assert done.noise == []
