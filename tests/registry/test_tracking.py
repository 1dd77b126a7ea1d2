"""Runs, metrics and files on a tracking server: a real one on SQLite, and ones that refuse."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.registry import tracking as module
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking, best_effort, check_tracking, tracking_uri
from tests.loopback import Behaviour, dies, fails, loopback, silent
from tests.registering import with_database
from tests.servers import free_port


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root with nothing but a database."""
    return with_database(str(tmp_path_factory.mktemp("tracked")))


@pytest.fixture
def tracking(place: str) -> Tracking:
    return Tracking(place)


# Where the server is.


def test_a_local_root_has_its_server_in_a_file(tmp_path: Path) -> None:
    assert tracking_uri(str(tmp_path / "new")) == f"sqlite:///{tmp_path}/new/mlflow.db"
    assert (tmp_path / "new").is_dir()


def test_the_environment_names_a_server_for_any_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking_uri("s3://bucket/root") == "http://example.org"


def test_a_remote_root_without_a_server_is_refused() -> None:
    with pytest.raises(InputError, match=r"root memory://x is remote.*set MLFLOW_TRACKING_URI"):
        tracking_uri("memory://x")


def test_a_root_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot make root \S+/file/x: .*Choose another --root"):
        tracking_uri(str(tmp_path / "file" / "x"))


def test_a_root_is_not_taken_for_the_next_ones(tmp_path: Path, place: str) -> None:
    """mlflow.set_tracking_uri() sets the variable by which we would find that server again."""
    Tracking(place)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() == f"sqlite:///{place}/mlflow.db"
    assert mlflow.get_registry_uri() == f"sqlite:///{place}/mlflow.db"
    assert tracking_uri(str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_server_from_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    made = Tracking("memory://x")
    assert os.environ["MLFLOW_TRACKING_URI"] == made.uri == "http://127.0.0.1:1"
    assert made.artifacts is None  # the server knows where they go


def test_files_lie_beside_the_database(place: str, tracking: Tracking) -> None:
    assert tracking.artifacts == f"{place}/mlartifacts"
    number = tracking.experiment("where files go")
    assert tracking.experiment("where files go") == number
    found = tracking.client.get_experiment(number)
    assert (found.name, found.artifact_location) == ("where files go", f"{place}/mlartifacts")


def _first_use(root: str, outcomes: Any) -> None:
    try:
        tracking = Tracking(root)
        Models(tracking).ensure("shared")
        outcomes.put(tracking.experiment("shared"))
    except Exception as error:
        outcomes.put(f"{type(error).__name__}: {error}")


def test_several_processes_can_be_the_first_on_a_root(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")  # mlflow is imported already
    outcomes = fork.Queue()
    processes = [fork.Process(target=_first_use, args=(str(tmp_path), outcomes)) for _ in range(3)]
    for process in processes:
        process.start()
    said = [outcomes.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert said == ["1"] * 3


def test_an_experiment_that_another_job_has_just_made_is_used(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tracking.client.get_experiment_by_name
    number = tracking.experiment("made by another")
    missed = iter([True])

    def get(name: str) -> Any:
        return None if next(missed, False) else real(name)

    monkeypatch.setattr(tracking.client, "get_experiment_by_name", get)
    assert tracking.experiment("made by another") == number


# A server that is not to be had.


def test_a_server_that_is_down_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = Tracking("memory://x")
    expected = rf"the tracking server at {uri} does not answer: .*\. Check MLFLOW_TRACKING_URI\.$"
    with pytest.raises(InputError, match=expected) as refused:
        down.published_step("0" * 32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "reason", ["You are not authenticated. Please", "error code 401", "403 Forbidden"]
)
def test_a_server_that_asks_for_a_password_says_so(tracking: Tracking, reason: str) -> None:
    with (
        pytest.raises(InputError, match=r"lets nobody in.*MLFLOW_TRACKING_USERNAME and MLFLOW_TRA"),
        tracking.answering(),
    ):
        raise RuntimeError(reason)


def test_bad_input_passes_as_it_is(tracking: Tracking) -> None:
    with pytest.raises(InputError, match=r"^no model$"), tracking.answering():
        raise InputError("no model")


@pytest.mark.parametrize("does", [silent, fails, dies])
def test_a_job_goes_on_without_a_server_that_is_away(
    does: Behaviour, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    with loopback(does) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        check_tracking("memory://x")
    (record,) = [record.getMessage() for record in caplog.records]
    assert record.startswith(f"the tracking server at {uri} does not answer: ")
    assert record.endswith("Going on without it: what it has not heard is sent later.")


@pytest.mark.parametrize(("status", "named"), [(401, "lets nobody in"), (404, "does not answer")])
def test_a_server_that_no_waiting_helps_is_refused(
    status: int, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback(lambda handler: handler.send_error(status)) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(InputError, match=named):
            check_tracking("memory://x")


def test_what_the_server_is_not_told_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "unreasonable"), best_effort("the end"):
        raise OSError("first line\nsecond line")
    assert [record.getMessage() for record in caplog.records] == [
        "the tracking server was not told of the end: first line"
    ]


def test_best_effort_is_not_made_against_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), best_effort("the end"):
        raise KeyboardInterrupt


# A training run.


def test_a_training_run_keeps_its_params_and_changes_its_tags(
    tracking: Tracking, corpus: Corpus
) -> None:
    params = {"hidden_size": "32", "seed": "1"}
    mlflow_id = tracking.start_run("trained", "run-a", params, {"num_workers": "2"}, corpus)
    tracking.end_run(mlflow_id, "KILLED")
    assert tracking.client.get_run(mlflow_id).info.status == "KILLED"
    again = tracking.start_run("trained", "run-a", {"seed": "9"}, {"num_workers": "4"}, corpus)
    assert again == mlflow_id
    run = tracking.client.get_run(mlflow_id)
    assert (run.info.status, run.info.run_name) == ("RUNNING", "run-a")
    assert run.data.params == params
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert tags == {
        "unreasonable.run_id": "run-a",
        "corpus_version": corpus.version,
        "corpus_fingerprint": corpus.fingerprint,
        "num_workers": "4",
    }
    other = tracking.start_run("trained", "run-b", params, {}, corpus)
    assert other != mlflow_id


def test_a_training_run_reads_a_corpus_version(tracking: Tracking, corpus: Corpus) -> None:
    mlflow_id = tracking.start_run("reads", "run-c", {}, {}, corpus)
    (read,) = tracking.client.get_run(mlflow_id).inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in read.tags] == [("mlflow.data.context", "training")]
    dataset = read.dataset
    assert (dataset.name, dataset.digest) == ("texts", corpus.version)
    assert dataset.source_type == "unreasonable"
    assert json.loads(dataset.source) == {"uri": corpus.url}
    assert json.loads(dataset.profile) == {
        "tokens": {split: corpus.tokens_in(split) for split in ("train", "val", "test")}
    }


def test_rows_are_published_with_their_own_times(tracking: Tracking, corpus: Corpus) -> None:
    mlflow_id = tracking.start_run("rows", "run-d", {}, {}, corpus)
    assert tracking.published_step(mlflow_id) == 0
    rows = [
        {"step": step, "time": 1000.5 + step, "train_loss": 2.0 / step, "epoch": 0}
        | {"fault": "loss nan", "grad_norm": None, "read": []}  # a rollback's, which are no numbers
        for step in range(1, 601)
    ]
    tracking.log_rows(mlflow_id, rows)  # more metrics than the server takes in one call
    tracking.log_rows(mlflow_id, rows[-1:])  # sent twice: the same row
    tracking.log_rows(mlflow_id, [])
    assert tracking.published_step(mlflow_id) == 600
    history = tracking.client.get_metric_history(mlflow_id, "train_loss")
    found = sorted((metric.step, metric.value, metric.timestamp) for metric in history)
    assert found == [(row["step"], row["train_loss"], int(row["time"] * 1000)) for row in rows]
    metrics = tracking.client.get_run(mlflow_id).data.metrics
    assert set(metrics) == {"train_loss", "epoch"}


def test_a_call_has_as_many_metrics_as_the_server_takes(
    tracking: Tracking, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow_id = tracking.start_run("calls", "run-e", {}, {}, corpus)
    sizes: list[int] = []
    log_batch = tracking.client.log_batch

    def counted(run_id: str, metrics: list[Any]) -> None:
        sizes.append(len(metrics))
        log_batch(run_id, metrics=metrics)

    monkeypatch.setattr(tracking.client, "log_batch", counted)
    rows = [{"step": step, "time": 1.0, "loss": 1.0} for step in range(1, 2002)]
    tracking.log_rows(mlflow_id, rows)
    assert sizes == [1000, 1000, 1]


# A sampling job, an import, an attempt.


def test_a_sampling_job_is_one_run_for_one_output_and_settings(tracking: Tracking) -> None:
    identity = ("sampled", "models:/sampled/1", "/out", "abc123")
    assert tracking.sampling_run(*identity) == ("", False)
    start: Callable[..., str] = lambda *given: tracking.start_sampling(  # noqa: E731
        *given, {"seed": "1"}, run_name="sample sampled/1"
    )
    mlflow_id = start(*identity)
    assert tracking.sampling_run(*identity) == (mlflow_id, False)
    figures = {"files": 2, "mean_nats": 1.5, "chars_per_sec": None}
    tracking.log_samples(mlflow_id, figures, {"samples.jsonl": b"{}\n", "a.txt": b"a"})
    tracking.end_run(mlflow_id, "FINISHED")
    assert tracking.sampling_run(*identity) == (mlflow_id, True)
    assert start(*identity) == mlflow_id
    assert tracking.sampling_run(*identity) == (mlflow_id, False)  # it runs again
    run = tracking.client.get_run(mlflow_id)
    assert run.info.run_name == "sample sampled/1"
    assert run.data.params == {"seed": "1"}
    assert run.data.metrics == {"files": 2.0, "mean_nats": 1.5}
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert tags == {
        "unreasonable.output": "/out",
        "settings": "abc123",
        "model": "models:/sampled/1",
        "job": "sample",
    }
    listed = tracking.client.list_artifacts(mlflow_id, "samples")
    assert sorted(Path(file.path).name for file in listed) == ["a.txt", "samples.jsonl"]
    for at in range(1, 4):  # another model, output or settings is another job
        other = list(identity)
        other[at] += "x"
        assert tracking.sampling_run(*other) == ("", False)


def test_an_output_with_a_quote_is_not_looked_for(tracking: Tracking) -> None:
    """MLflow's filters know no escape for it, so such a job has a new run each time."""
    identity = ("quoted", "models:/quoted/1", "/it's", "abc123")
    first = tracking.start_sampling(*identity, {}, run_name="sample")
    assert tracking.sampling_run(*identity) == ("", False)
    assert tracking.start_sampling(*identity, {}, run_name="sample") != first


def test_an_import_is_a_run_with_the_archives_lineage(place: str, tracking: Tracking) -> None:
    mlflow_id = tracking.start_import("borrowed", "/x.zip", {"model": "models:/texts/1"})
    run = tracking.client.get_run(mlflow_id)
    assert run.info.run_name == "import borrowed"
    assert (run.data.tags["job"], run.data.tags["archive"]) == ("import", "/x.zip")
    (lineage,) = Path(place, "mlartifacts", mlflow_id).rglob("lineage.json")
    assert json.loads(lineage.read_text()) == {"model": "models:/texts/1"}


@pytest.mark.parametrize(("exit_status", "status"), [(0, "FINISHED"), (2, "FAILED")])
def test_an_attempt_of_a_schedule_is_a_run(
    tracking: Tracking, exit_status: int, status: str
) -> None:
    attempt = {
        "schedule": "nightly", "corpus": "linux", "instant": "20260101T000000Z", "stage": "build",
        "tried": 0, "command": ["jobs/build_corpus.py"],
    }  # fmt: skip
    outcome = {"error": "why", "result": {"version": "v"}, "seconds": 2.5,
               "exit_status": exit_status}  # fmt: skip
    tracking.log_attempt(f"job-{exit_status}", attempt, outcome)
    found = tracking.client.search_runs([tracking.experiment("schedules")])
    (run,) = [run for run in found if run.info.run_name == f"job-{exit_status}"]
    assert run.info.status == status
    assert run.data.metrics == {"seconds": 2.5}
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert tags == {
        "job": "schedule",
        "schedule": "nightly",
        "corpus": "linux",
        "instant": "20260101T000000Z",
        "stage": "build",
        "tried": "0",
        "error": "why",
        "version": "v",
    }


def test_files_are_in_a_folder_for_as_long_as_they_are_needed() -> None:
    with module.folder_of({"a": b"1", "b": b""}) as folder:
        assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == {
            "a": b"1",
            "b": b"",
        }
    assert not Path(folder).exists()
