"""The sampling job as a person runs it: against a real MLflow server, and beside MLflow's own model
server.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import sampler
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.registry.fetch import fetch_model
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from tests.jobs.conftest import HOUSE, Run, process
from tests.registering import registered
from tests.servers import free_port, mlflow_server, running


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
        Models(Tracking(home)).promote(registered(home, 32))
        yield url


@pytest.fixture
def tracked(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return server


def test_a_job_is_a_run_linked_to_the_model_version(
    home: str, tracked: str, tmp_path: Path, run: Run, on_local_ray: None
) -> None:
    settings = [
        *("--root", home, "--model", "models:/texts@champion", "--output", tmp_path),
        *("--num_workers", 2, "--seed", 7, "--temperature", "0.5,1.0", "--num_files", 3),
        *("--num_chars", 5000, "--prime", "def "),
    ]
    done = run("sample", *settings)
    result = done.result
    assert (result["files"], result["written"], result["chars"]) == (6, 6, 30_000)
    assert done.log[-1] == f"samples: {tmp_path}/samples.jsonl"
    client = Tracking(home).client
    mlflow_run = client.get_run(result["mlflow_run_id"])
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.data.tags["model"] == "models:/texts/1"
    params = mlflow_run.data.params
    assert (params["temperatures"], params["seed"]) == ("[0.5, 1.0]", "7")
    assert mlflow_run.data.metrics["mean_nats"] == pytest.approx(result["mean_nats"])
    version = Models(Tracking(home)).resolve("models:/texts/1")
    assert version.model_id
    assert [model.model_id for model in mlflow_run.inputs.model_inputs] == [version.model_id]
    kept = client.list_artifacts(result["mlflow_run_id"], "samples")
    assert {Path(file.path).name for file in kept} == {
        path.name for path in tmp_path.glob("sample*")
    }
    assert any(line.startswith("sample: {") for line in done.log)  # the settings, once


def test_a_finished_job_run_again_starts_no_ray(
    home: str, tracked: str, tmp_path: Path, run: Run, no_ray: None
) -> None:
    settings = SampleConfig(model="models:/texts/1", output=str(tmp_path), num_chars=100)
    sample_files(settings, fetch_model(settings.model, home), home, local=True)
    again = run(
        "sample", "--root", home, "--model", "models:/texts/1", "--output", tmp_path,
        "--num_chars", 100, "--temperature", 1.0,
    )  # fmt: skip
    assert (again.result["written"], again.result["files"]) == (0, 1)
    assert not any(line.startswith("sample: {") for line in again.log)


@pytest.mark.long
def test_a_killed_job_run_again_gives_what_an_undisturbed_one_gives(
    home: str, tracked: str, tmp_path: Path
) -> None:
    settings = [
        *("--root", home, "--model", "models:/texts/1", "--output", str(tmp_path / "killed")),
        *("--num_workers", "2", "--num_files", "4", "--num_chars", "1500000"),
        *("--save_every_s", "0.2"),
    ]
    job = subprocess.Popen(
        [sys.executable, "jobs/sample.py", *settings],
        cwd=HOUSE,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed" / ".partial").glob("*/part-00002-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGKILL)  # the driver; Ray's processes end without it
    job.wait()
    done = process("sample", *settings)
    assert done.status == 0, done.err
    whole = SampleConfig(
        model="models:/texts/1",
        output=str(tmp_path / "whole"),
        num_files=4,
        num_chars=1_500_000,
        temperature="0.7",
    )
    sample_files(whole, fetch_model(whole.model, home), home, local=True)
    for name in ("samples.jsonl", *(f"sample-{n:05d}.txt" for n in range(4))):
        killed = (tmp_path / "killed" / name).read_bytes()
        assert killed == (tmp_path / "whole" / name).read_bytes(), name


def test_mlflows_model_server_gives_what_our_job_gives(
    home: str, tracked: str, tmp_path: Path
) -> None:
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("mlflow")), "models", "serve", "--env-manager", "local",
        "-m", "models:/texts@champion", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    primes = ["def ", "class "]
    params: dict[str, Any] = {"num_chars": 150, "temperature": 0.7, "seed": 5}
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/ping", tmp_path / "serve.log", environment):
        status, served = invoke(url, {"inputs": primes, "params": params})
        refusals = [invoke(url, request) for request, _ in WRONG_REQUESTS]
        assert invoke(url, {"inputs": primes, "params": params}) == (status, served)
    model = sampler.load_model("models:/texts@champion", home)
    ours = [
        sampler.sample(model, prime, number=number, **params) for number, prime in enumerate(primes)
    ]
    assert (status, served["predictions"]) == (200, ours)
    for (request, reason), (status, answer) in zip(WRONG_REQUESTS, refusals, strict=True):
        assert status == 400, (request, answer)
        assert re.search(reason, answer["message"]), (request, answer)
        assert "stack_trace" not in answer, request
        assert "Traceback" not in json.dumps(answer), request


# What is sent to the server, and what the answer says. The last ones are refused by MLflow itself,
# whose message quotes the request. A null among the inputs is missing: the server has made it the
# text "None" before it asks the model.
WRONG_REQUESTS: list[tuple[Any, str]] = [
    ({"inputs": ["d"], "params": {"num_chars": 0}}, r"^num_chars is 0; it must be at least 1\.$"),
    ({"inputs": ["d"], "params": {"num_chars": None}}, "^num_chars is None; it must be a whole"),
    ({"inputs": ["d"], "params": {"temperature": float("nan")}}, "^temperature is nan; it must"),
    ({"inputs": ["d"], "params": {"temperature": None}}, "^temperature is None; it must"),
    ({"inputs": ["d"], "params": {"seed": 2**70}}, r"^seed is \d+; it must be at least 0"),
    ({"inputs": ["d"], "params": {"top_p": 2}}, "^top_p is 2; it must be above 0"),
    ({"inputs": ["d"], "params": {"stop": None}}, "^stop is None; it must be text"),
    ({"inputs": ["d"], "params": {"stop": "\udc80"}}, "^stop is .*half a surrogate pair"),
    ({"inputs": ["d"], "params": {"stop": "x", "lines": 2}}, "^lines end at a line feed"),
    (
        {"inputs": ["d"], "params": {"warmth": 1}},
        r"^there is no parameter 'warmth'; there are num_",
    ),
    ({"inputs": ["d"], "params": {"prime": "a", "n": 1}}, "^there is no parameter 'n', 'prime';"),
    ({"inputs": ["na\u00efve"]}, "outside the vocabulary"),
    ({"inputs": ["d"], "params": {"num_chars": "ten"}}, "num_chars"),
    ({"inputs": ["d"], "params": {"num_chars": True}}, "num_chars"),
    ({"inputs": ["d"], "params": {"temperature": [1]}}, "temperature"),
    ({"inputs": ["d"], "params": {"seed": 1.5}}, "seed"),
    ({"inputs": ["d"], "params": [1]}, "Parameters must be a dictionary"),
    ({"inputs": ["a\ud800"]}, "surrogates not allowed"),
    ({"inputs": {"a": {"b": 1}}}, "signature"),
    ({"input": ["d"]}, r"^prime 0 is \['d'\]; it must be text"),
    ([1], "dictionary"),
]


def invoke(url: str, request: Any) -> tuple[int, dict[str, Any]]:
    """What the model server answers: status and JSON."""
    sent = urllib.request.Request(
        f"{url}/invocations", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(sent, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


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
    home: str, tracked: str, run: Run, no_ray: None, arguments: list[str], message: str
) -> None:
    model = [] if "--model" in arguments else ["--model", "models:/texts/1"]
    assert message in run("sample", "--root", home, *model, *arguments).refusal


def test_an_output_of_other_settings_needs_overwrite(
    home: str, tracked: str, tmp_path: Path, run: Run, on_local_ray: None
) -> None:
    settings = [
        *("--root", home, "--model", "models:/texts/1", "--output", tmp_path),
        *("--num_chars", 100),
    ]
    (tmp_path / "settings.json").write_text("{}")
    refusal = run("sample", *settings).refusal
    assert refusal.endswith("choose another --output, or give --overwrite.")
    (tmp_path / "keep.me").write_text("not ours")
    assert run("sample", *settings, "--overwrite").result["written"] == 1
    assert (tmp_path / "keep.me").exists()
    assert len((tmp_path / "sample-00000.txt").read_bytes()) == 100


def test_a_tracking_server_that_is_down_is_one_line(home: str, tmp_path: Path) -> None:
    """As a process: what libraries say of their retries must not hide the line."""
    down = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    }
    refused = process("sample", "--root", home, "--model", "models:/texts@champion", **down)
    assert (refused.status, refused.out) == (2, "")
    (error,) = [line for line in refused.err.splitlines() if line.startswith("error: ")]
    assert "does not answer" in error
    assert "Traceback" not in refused.err
