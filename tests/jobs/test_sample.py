"""The sampling job as a person runs it: against a real MLflow server, and beside MLflow's own model server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.command import run_command
from jobs.sample import sample as sample_job
from pipeline import sampler
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.registry.tracking import Registry, fetch_model
from pipeline.sampling.job import sample_files
from pipeline.sampling.config import SampleConfig
from tests.registering import registered
from tests.servers import free_port, mlflow_server, running

HOUSE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with a corpus; the registry is the server's."""
    root = str(tmp_path_factory.mktemp("home"))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, home: str) -> Iterator[str]:
    """A tracking server that has models:/texts/1, its champion."""
    with (
        mlflow_server(tmp_path_factory.mktemp("mlflow")) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", url)
        Registry(home).promote(registered(home, 32))
        yield url


@pytest.fixture
def tracked(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return server


def job(*arguments: object) -> list[str]:
    return [sys.executable, "jobs/sample.py", *map(str, arguments)]


def test_a_job_is_a_run_linked_to_the_model_version(
    home: str, tracked: str, tmp_path: Path
) -> None:
    settings = [
        "--root",
        home,
        "--model",
        "models:/texts@champion",
        "--output",
        tmp_path,
        "--num_workers",
        2,
        "--seed",
        7,
    ]
    settings += [
        "--temperature",
        "0.5,1.0",
        "--num_files",
        3,
        "--num_chars",
        5000,
        "--prime",
        "def ",
    ]
    done = subprocess.run(job(*settings), capture_output=True, text=True, cwd=HOUSE, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["files"], result["written"], result["chars"]) == (6, 6, 30_000)
    client = Registry(home).client
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["model"] == "models:/texts/1"
    assert (run.data.params["temperatures"], run.data.params["seed"]) == ("[0.5, 1.0]", "7")
    assert run.data.metrics["mean_nats"] == pytest.approx(result["mean_nats"])
    version = Registry(home).resolve("models:/texts/1")
    assert version.model_id
    assert [model.model_id for model in run.inputs.model_inputs] == [version.model_id]
    names = {
        Path(found.path).name for found in client.list_artifacts(result["mlflow_run_id"], "samples")
    }
    assert names == {path.name for path in tmp_path.glob("sample*")}
    again = subprocess.run(job(*settings), capture_output=True, text=True, cwd=HOUSE, check=False)
    assert json.loads(again.stdout.splitlines()[-1])["written"] == 0
    assert "starting a local Ray" not in again.stderr


@pytest.mark.long
def test_a_killed_job_run_again_gives_what_an_undisturbed_one_gives(
    home: str, tracked: str, tmp_path: Path
) -> None:
    def settings(name: str) -> list[Any]:
        return ["--root", home, "--model", "models:/texts/1", "--output", tmp_path / name, "--num_workers", 2,
                "--num_files", 4, "--num_chars", 1_500_000, "--save_every_s", 0.2]  # fmt: skip

    process = subprocess.Popen(
        job(*settings("killed")), cwd=HOUSE, start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed" / ".partial").glob("*/part-00002-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)  # the driver; Ray's processes end without it
    process.wait()
    done = subprocess.run(
        job(*settings("killed")), capture_output=True, text=True, cwd=HOUSE, check=False
    )
    assert done.returncode == 0, done.stderr
    whole = SampleConfig(
        model="models:/texts/1",
        output=str(tmp_path / "whole"),
        num_files=4,
        num_chars=1_500_000,
        temperature="0.7",
    )
    sample_files(whole, fetch_model(whole.model, home), home, local=True)
    for name in ("samples.jsonl", *(f"sample-{n:05d}.txt" for n in range(4))):
        assert (tmp_path / "killed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name


def test_mlflows_model_server_gives_what_our_job_gives(
    home: str, tracked: str, tmp_path: Path
) -> None:
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("mlflow")), "models", "serve", "--env-manager", "local", "-m",
        "models:/texts@champion",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    body = {
        "inputs": ["def ", "class "],
        "params": {"num_chars": 150, "temperature": 0.7, "seed": 5},
    }
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with running(command, f"http://127.0.0.1:{port}/ping", tmp_path / "serve.log", environment):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            served = json.loads(response.read())["predictions"]
    model = sampler.load_model("models:/texts@champion", home)
    ours = [
        sampler.sample(model, prime, number=n, **body["params"])
        for n, prime in enumerate(body["inputs"])
    ]  # type: ignore[arg-type]
    assert served == ours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "models:/nobody@champion"], "no model models:/nobody@champion"),
        (["--model", "models:/texts@nobody"], "no model models:/texts@nobody"),
        (["--model", "models:/texts/99"], "no model models:/texts/99"),
        (
            ["--model", "runs:/0123456789abcdef0123456789abcdef/model"],
            "no model was registered from run",
        ),
        (["--model", "/nowhere/at/all"], "no complete checkpoint at /nowhere/at/all"),
        (["--prime", "na\u00efve"], "outside the vocabulary: byte 0xAF"),
        (["--num_files", "0"], "num_files is 0"),
        (["--num_chars", "-5"], "num_chars is -5"),
        (["--num_chars", "many"], "num_chars"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--temperature", "0.5,hot"], "temperature is '0.5,hot'"),
        (["--top_p", "1.5"], "top_p is 1.5"),
        (["--primes", "/nowhere/primes.txt"], "cannot read primes /nowhere/primes.txt"),
        (["--output", "/proc/samples"], "cannot write under /proc/samples"),
        (["--output", "nosuch://bucket/x"], "Protocol not known: nosuch"),
    ],
)
def test_bad_input_is_one_clear_line(
    home: str, tracked: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    argv = [
        "--root",
        home,
        *([] if "--model" in arguments else ["--model", "models:/texts/1"]),
        *arguments,
    ]
    with pytest.raises(SystemExit) as exit_:
        run_command("sample", "sample", SampleConfig, sample_job, argv)
    shown = capsys.readouterr()
    assert (exit_.value.code, shown.out) == (2, "")
    assert len(shown.err.splitlines()) == 1, shown.err
    assert message in shown.err


def test_an_output_of_other_settings_needs_overwrite(
    home: str, tracked: str, tmp_path: Path
) -> None:
    sampler_settings = [
        "--root",
        home,
        "--model",
        "models:/texts/1",
        "--output",
        str(tmp_path),
        "--num_chars",
        "100",
    ]
    (tmp_path / "settings.json").write_text("{}")
    refused = subprocess.run(
        job(*sampler_settings), capture_output=True, text=True, cwd=HOUSE, check=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].endswith("choose another --output, or give --overwrite.")
    (tmp_path / "keep.me").write_text("not ours")
    config = SampleConfig(
        model="models:/texts/1", output=str(tmp_path), num_chars=100, overwrite=True
    )
    sample_files(config, fetch_model(config.model, home), home, local=True)
    assert (tmp_path / "keep.me").exists()
    assert len((tmp_path / "sample-00000.txt").read_bytes()) == 100


def test_a_tracking_server_that_is_down_is_one_line(home: str, tmp_path: Path) -> None:
    settings = ["--root", home, "--model", "models:/texts@champion"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    }
    refused = subprocess.run(
        job(*settings), capture_output=True, text=True, cwd=HOUSE, env=environment, check=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "does not answer" in errors[0]
    assert "Traceback" not in refused.stderr
