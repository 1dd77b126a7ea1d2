"""Sampling jobs from end to end, in this process and in processes of their own: what is written,
what is not written again, and what a tracking server is told. tests/sampling/test_on_ray.py has the
pool of actors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking
from pipeline.sampling import run as module
from pipeline.sampling.job import prepare
from pipeline.sampling.run import SamplingRun, run_sampling
from tests.registering import registered, with_database
from tests.sampling.conftest import config, here, rows, texts

HOUSE = Path(__file__).parents[2]


# What is written.


def test_a_job_writes_files_and_a_line_for_each(tmp_path: Path, model: ModelArtifact) -> None:
    result = here(tmp_path, model, num_files=3)
    assert (result.files, result.written, result.chars) == (3, 3, 4500)
    assert result.samples == f"{tmp_path}/samples.jsonl"
    assert result.chars_per_sec is not None
    assert result.chars_per_sec > 0
    assert {path.name for path in tmp_path.iterdir()} == {*texts(tmp_path), "settings.json"}
    for number, row in enumerate(rows(tmp_path)):
        text = (tmp_path / row["file"]).read_bytes()
        assert row["number"] == number
        assert hashlib.sha256(text).hexdigest() == row["sha256"]
        assert len(text) == row["bytes"] == row["num_chars"] == 1500
        assert (row["precision"], row["model"], row["version"]) == ("int8", "m", "1")


def test_how_many_files_a_job_has_changes_none_of_them(
    tmp_path: Path, model: ModelArtifact
) -> None:
    def files(count: int) -> dict[str, bytes]:
        folder = tmp_path / str(count)
        here(folder, model, num_files=count, num_chars=70)
        return {name: text for name, text in texts(folder).items() if name.endswith(".txt")}

    most = files(130)
    assert len(set(most.values())) == 130
    for count in (1, 2, 63, 64, 65):
        fewer = files(count)
        assert len(fewer) == count
        assert all(most[name] == text for name, text in fewer.items())


def test_a_temperature_of_several_gives_what_it_gives_alone(
    tmp_path: Path, model: ModelArtifact
) -> None:
    primes = tmp_path / "primes.txt"
    primes.write_bytes(b"def \nclass \n")
    several = {"num_files": 2, "num_chars": 90}
    both = tmp_path / "both"
    here(both, model, **several, temperature="0.5,1.0", primes=str(primes))
    here(tmp_path / "one", model, **several, prime="class ")
    written = texts(both)
    assert len([name for name in written if name.endswith(".txt")]) == 8
    alone = (tmp_path / "one" / "sample-00001.txt").read_bytes()
    assert written["sample-t1-p0001-00001.txt"] == alone
    assert [row["prime"] for row in rows(both)] == ["def ", "def ", "class ", "class "] * 2


def test_a_prime_comes_first_and_must_be_in_the_vocabulary(
    tmp_path: Path, model: ModelArtifact
) -> None:
    here(tmp_path / "a", model, prime="def ", num_files=1)
    expected = texts(tmp_path / "a")["sample-00000.txt"]
    assert expected.startswith(b"def ")
    with pytest.raises(InputError, match="outside the vocabulary: byte 0x00"):
        here(tmp_path / "b", model, prime="de\x00f")
    assert not (tmp_path / "b").exists()
    here(tmp_path / "b", model, prime="de\x00f ", unknown="skip", num_files=1)
    assert texts(tmp_path / "b")["sample-00000.txt"] == expected
    (tmp_path / "prime.py").write_bytes(b"def ")
    here(tmp_path / "c", model, prime_file=str(tmp_path / "prime.py"), num_files=1)
    assert texts(tmp_path / "c")["sample-00000.txt"] == expected


def test_lines_are_items_of_one_file(tmp_path: Path, model: ModelArtifact) -> None:
    here(tmp_path, model, lines=40, num_chars=30, num_files=2, prime="d")
    for row in rows(tmp_path):
        text = (tmp_path / row["file"]).read_bytes()
        items = text.split(b"\n")
        assert items.pop() == b""
        assert len(items) == 40
        assert all(item.startswith(b"d") and len(item) <= 30 for item in items)
        assert row["num_chars"] == len(text) - 40  # the prime of each is read, not sampled


# What is not written again.


def test_a_job_run_again_writes_only_what_is_missing(tmp_path: Path, model: ModelArtifact) -> None:
    here(tmp_path, model)
    before = texts(tmp_path)
    (tmp_path / "sample-00003.txt").unlink()
    assert here(tmp_path, model).written == 1
    assert texts(tmp_path) == before
    (tmp_path / "samples.jsonl").unlink()
    assert here(tmp_path, model).written == 11  # nothing says what the files are
    (tmp_path / "sample-00002.txt").write_bytes(before["sample-00002.txt"][:9])
    assert here(tmp_path, model).written == 1
    assert texts(tmp_path) == before
    assert here(tmp_path, model, num_files=13).written == 2
    done = here(tmp_path, model, num_files=2)
    assert (done.written, done.chars_per_sec) == (0, None)
    assert len(rows(tmp_path)) == 13  # fewer files asked for does not forget the others


def test_overwriting_leaves_the_new_settings_files_alone(
    tmp_path: Path, model: ModelArtifact
) -> None:
    here(tmp_path, model)
    with pytest.raises(InputError, match="other settings"):
        here(tmp_path, model, seed=2)
    assert here(tmp_path, model, seed=2, num_files=2, overwrite=True).written == 2
    assert len(list(tmp_path.glob("*.txt"))) == 2


# In processes of their own.

# What `sample_files` does, but for its progress: to import that takes MLflow's 2-3 s.
JOB = """
import json, sys
from pathlib import Path
from pipeline.engine.opening import open_engine
from pipeline.model.artifact import ARTIFACT, check_artifact
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import prepare
from pipeline.sampling.writer import Writer
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
files = {name: (folder / name).read_bytes() for name in ARTIFACT}
model = check_artifact("m", "1", "models:/m/1", files)
job = prepare(SampleConfig(model="m", **settings), model, "")
writer = Writer(job.plan, job.output, open_engine(model, job.plan.precision))
for samples in job.groups():
    job.add(writer.write(samples, lambda chars, earlier: None))
job.finish()
"""


@pytest.fixture
def job(tmp_path: Path, model: ModelArtifact) -> Callable[..., list[str]]:
    """The command of a job of `model` with some settings."""
    for name, data in model.files.items():
        (tmp_path / name).write_bytes(data)

    def command(output: Path, **settings: Any) -> list[str]:
        given = json.dumps({"output": str(output), **settings})
        return [sys.executable, "-c", JOB, str(tmp_path), given]

    return command


def test_threads_and_environment_change_nothing(
    tmp_path: Path, job: Callable[..., list[str]]
) -> None:
    """The same job in processes with other thread counts, in two precisions."""
    settings = {"num_files": 3, "num_chars": 700}
    for threads in ("1", "2"):
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
        }
        for precision in ("fp32", "int8"):
            command = job(tmp_path / f"{threads}{precision}", precision=precision, **settings)
            subprocess.run(command, check=True, env=environment, capture_output=True, cwd=HOUSE)
    for precision in ("fp32", "int8"):
        assert texts(tmp_path / f"1{precision}") == texts(tmp_path / f"2{precision}")


def test_a_killed_process_loses_and_shows_nothing_half(
    tmp_path: Path, model: ModelArtifact, job: Callable[..., list[str]]
) -> None:
    """kill -9 twice; what is there is always complete, and in the end everything is what it would
    have been.
    """
    out = tmp_path / "out"
    command = job(out, num_files=6, num_chars=120_000, save_every_s=0.02)
    whole = here(tmp_path / "whole", model, num_files=6, num_chars=120_000)
    assert whole.written == 6
    expected = texts(tmp_path / "whole")
    # Of the first run the beginnings are left; of the second some more of each.
    for part in (2, 6):
        process = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE)
        wait_for(process, out, f"part-{part:05d}-")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "samples.jsonl").exists()
        for path in out.glob("*.txt"):
            assert path.read_bytes() == expected[path.name]
    subprocess.run(command, check=True, cwd=HOUSE, capture_output=True)
    assert texts(out) == expected
    assert not (out / ".partial").exists()


def wait_for(process: subprocess.Popen[bytes], output: Path, part: str) -> None:
    """Until one of the job's files has a part of this name."""
    deadline = time.monotonic() + 120
    while not list(output.glob(f".partial/*/{part}*")):
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


# What a tracking server is told.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with models:/texts/1."""
    root = with_database(str(tmp_path_factory.mktemp("home")))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    registered(root, 16)
    return root


class Engine:
    """A Ray that is none: it says that it was asked for, and the job runs in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outputs: list[str] = []
        monkeypatch.setattr(module, "write_on_ray", module._write_here)

    @contextlib.contextmanager
    def __call__(self, output: str) -> Iterator[None]:
        self.outputs.append(output)
        yield


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def sampled(home: str, output: Path, engine: Engine, **changes: Any) -> SamplingRun:
    settings = {"model": "models:/texts/1", "num_files": 3, "num_chars": 300, **changes}
    return run_sampling(config(output, **settings), home, engine)


def run_of(home: str, mlflow_id: str | None) -> Any:
    assert mlflow_id
    return Tracking(home).client.get_run(mlflow_id)


def all_runs(home: str) -> int:
    client = Tracking(home).client
    experiment = client.get_experiment_by_name("texts")
    return len(client.search_runs([experiment.experiment_id]))


def test_a_job_is_a_run_linked_to_the_model_version(
    home: str, tmp_path: Path, engine: Engine
) -> None:
    done = sampled(home, tmp_path, engine, temperature="0.5,1.0", seed=7, prime="def ")
    assert engine.outputs == [str(tmp_path)]
    assert done.to_json() == done.result.to_json() | {"mlflow_run_id": done.mlflow_run_id}
    assert (done.result.files, done.result.written, done.result.chars) == (6, 6, 1800)
    run = run_of(home, done.mlflow_run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "sample texts/1")
    assert run.data.tags["model"] == "models:/texts/1"
    assert run.data.tags["unreasonable.output"] == str(tmp_path)
    assert run.data.params == {
        "temperatures": "[0.5, 1.0]",
        "num_chars": "300",
        "top_k": "0",
        "top_p": "1.0",
        "stop": "",
        "lines": "0",
        "seed": "7",
        "primes": "1",
        "precision": done.result.precision,
    }
    assert run.data.metrics == {
        "files": 6.0,
        "chars": 1800.0,
        "mean_nats": pytest.approx(done.result.mean_nats),
        "chars_per_sec": done.result.chars_per_sec,
    }
    version = Models(Tracking(home)).resolve("models:/texts/1")
    assert version.model_id
    assert [model.model_id for model in run.inputs.model_inputs] == [version.model_id]
    kept = Tracking(home).client.list_artifacts(done.mlflow_run_id, "samples")
    assert {Path(file.path).name for file in kept} == {p.name for p in tmp_path.glob("sample*")}


def test_a_job_that_finds_nothing_to_do_asks_for_no_engine_and_tells_nothing(
    home: str, tmp_path: Path, engine: Engine
) -> None:
    sampled(home, tmp_path, engine)
    before = all_runs(home)
    again = sampled(home, tmp_path, engine)
    assert (again.result.written, again.mlflow_run_id) == (0, None)
    assert len(engine.outputs) == 1
    assert all_runs(home) == before


def test_a_job_killed_before_it_had_told_all_tells_it_later(
    home: str, tmp_path: Path, engine: Engine
) -> None:
    first = sampled(home, tmp_path, engine)
    Tracking(home).client.update_run(first.mlflow_run_id, status="RUNNING")
    again = sampled(home, tmp_path, engine)
    assert again.mlflow_run_id == first.mlflow_run_id
    assert run_of(home, again.mlflow_run_id).info.status == "FINISHED"
    assert len(engine.outputs) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (OSError("full"), "FAILED")]
)
def test_a_job_that_ends_before_its_end_says_so_and_is_taken_up_again(
    home: str,
    tmp_path: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
) -> None:
    write = module.write_samples

    def ended(*given: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(module, "write_samples", ended)
    with pytest.raises(type(error)):
        sampled(home, tmp_path, engine)
    identity = ("texts", "models:/texts/1", str(tmp_path))
    settings = prepare(
        config(tmp_path, model="models:/texts/1", num_files=3, num_chars=300),
        module.fetch_model("models:/texts/1", home),
        home,
    ).plan.digest
    mlflow_id, finished = Tracking(home).sampling_run(*identity, settings)
    assert not finished
    run = run_of(home, mlflow_id)
    assert (run.info.status, run.data.metrics) == (status, {})
    monkeypatch.setattr(module, "write_samples", write)
    assert sampled(home, tmp_path, engine).mlflow_run_id == mlflow_id
    assert run_of(home, mlflow_id).info.status == "FINISHED"


def test_a_checkpoints_samples_need_no_tracking_server(
    home: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Tracking", lambda root: 1 / 0)
    url = f"{home}/runs/run-16/checkpoint-00000001"
    done = sampled(home, tmp_path, engine, model=url)
    assert (done.result.written, done.mlflow_run_id) == (3, None)
    assert done.result.model == url


def test_a_server_that_stops_answering_costs_no_sample(
    home: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: Any, **options: Any) -> None:
        raise OSError("away")

    monkeypatch.setattr(Tracking, "start_sampling", away)
    done = sampled(home, tmp_path, engine)
    assert (done.result.written, done.mlflow_run_id) == (3, None)
    monkeypatch.undo()
    again = Engine(monkeypatch)
    monkeypatch.setattr(Tracking, "log_samples", away)
    done = sampled(home, tmp_path / "other", again)
    assert done.result.written == 3
    assert run_of(home, done.mlflow_run_id).info.status == "RUNNING"


def test_large_and_many_files_stay_in_the_output_folder(
    home: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.MAX_ARTIFACT_BYTES == 1024**2
    assert module.MAX_ARTIFACTS == 20
    monkeypatch.setattr(module, "MAX_ARTIFACTS", 2)
    monkeypatch.setattr(module, "MAX_ARTIFACT_BYTES", 304)

    def kept(folder: str, prime: str) -> list[str]:
        done = sampled(home, tmp_path / folder, engine, prime=prime)
        files = Tracking(home).client.list_artifacts(done.mlflow_run_id, "samples")
        return sorted(Path(file.path).name for file in files)

    assert kept("small", "def ") == ["sample-00000.txt", "sample-00001.txt", "samples.jsonl"]
    assert kept("large", "class") == ["samples.jsonl"]


def test_settings_in_mlflow_are_the_jobs(home: str, tmp_path: Path, engine: Engine) -> None:
    primes = tmp_path / "primes"
    primes.write_bytes(b"def \nclass \n")
    done = sampled(home, tmp_path / "out", engine, primes=str(primes), stop="x", precision="fp32")
    params = run_of(home, done.mlflow_run_id).data.params
    assert (params["primes"], params["stop"], params["precision"]) == ("2", "x", "fp32")
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert params["temperatures"] == json.dumps(settings["temperatures"])
