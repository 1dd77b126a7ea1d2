"""What MLflow itself runs: it samples what our own jobs sample, from Python, and whatever code
registered it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from pipeline.engine.engine import Engine
from pipeline.errors import InputError
from pipeline.registry import models
from pipeline.registry.fetch import fetch_model
from pipeline.registry.tracking import Tracking
from pipeline.sampler import load_model, sample, stream
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files

HOUSE = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden"
PARAMS: dict[str, Any] = {"num_chars": 120, "temperature": 0.7, "seed": 3}


@pytest.fixture(scope="module")
def model(home: str) -> Any:
    """MLflow's own model of models:/texts/1."""
    Tracking(home)  # tells MLflow where its registry is
    return mlflow.pyfunc.load_model("models:/texts/1")


def test_mlflow_itself_samples_what_our_job_samples(home: str, model: Any, tmp_path: Path) -> None:
    settings = PARAMS | {"temperature": "0.7", "output": str(tmp_path)}
    job = SampleConfig(model="models:/texts/1", num_files=2, prime="def ", **settings)
    sample_files(job, fetch_model(job.model, home), home, local=True)
    # A model of bytes that has learned nothing writes what is no UTF-8; MLflow's answer is text.
    written = [(tmp_path / f"sample-0000{number}.txt").read_bytes() for number in range(2)]
    files = [text.decode("utf-8", "replace") for text in written]
    assert model.predict(["def "], params=PARAMS) == files[:1]
    assert model.predict(["def ", "def "], params=PARAMS) == files  # row n is file n
    ours = load_model("models:/texts/1", home)
    assert sample(ours, "def ", **PARAMS) == files[0]
    assert "".join(stream(ours, "def ", number=1, **PARAMS)) == files[1]


def test_rows_may_be_a_table_and_settings_may_be_left_out(home: str, model: Any) -> None:
    """As MLflow's model server hands them on."""
    ours = load_model("models:/texts/1", home)
    expected = [
        sample(ours, prime, number=number, num_chars=200)
        for number, prime in enumerate(("def ", "class "))
    ]
    assert model.predict(pd.DataFrame({"prime": ["def ", "class "]})) == expected
    assert model.predict(["def ", "class "], params={}) == expected


@pytest.mark.parametrize(
    "params",
    [
        {"num_chars": 90, "stop": "e"},
        {"num_chars": 20, "lines": 4},
        {"num_chars": 60, "top_k": 5, "top_p": 0.9, "temperature": 0.0},
    ],
)
def test_every_setting_is_the_jobs(home: str, model: Any, params: dict[str, Any]) -> None:
    ours = load_model("models:/texts/1", home)
    assert model.predict(["def "], params=params) == [sample(ours, "def ", **params)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": -1.0}, r"temperature is -1\.0"),
        ({"num_chars": 0}, "num_chars is 0"),
        ({"top_p": 1.5}, r"top_p is 1\.5"),
        ({"lines": 2, "stop": "x"}, "stop has no meaning"),
        ({"stop": "\x00"}, "outside the vocabulary"),
        ({"stop": "\ud800"}, r"stop is '\\ud800', which has half a surrogate pair"),
        ({"stop": None}, "stop is None; it must be text"),
        ({"num_chars": None}, "num_chars is None; it must be a whole number"),
        ({"temperature": None}, "temperature is None; it must be a number"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"seed": 2**70}, "seed is 1180591620717411303424; it must be at least 0 and below"),
        ({"lines": 2**63}, "lines is 9223372036854775808; it must be below"),
        ({"temprature": 0.5}, "there is no parameter 'temprature'; there are num_chars, temper"),
        ({7: 1, "seed": 1}, "there is no parameter '7'"),
    ],
)
def test_what_a_job_refuses_is_refused(model: Any, params: dict[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model.predict(["def "], params=params)
    assert "\n" not in str(caught.value)
    # As `mlflow models serve` answers: 400, and the reason alone.
    assert isinstance(caught.value, MlflowException)
    assert caught.value.get_http_status_code() == 400
    caught.value.message = f"Failed to predict data. \nError: {caught.value.message}"
    assert json.loads(caught.value.serialize_as_json()) == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": str(caught.value),
    }


@pytest.mark.parametrize(
    ("primes", "params", "message"),
    [
        (["\x00"], {}, "outside the vocabulary"),
        (["a\nb"], {"lines": 2}, "a prime with a line feed cannot begin a line"),
    ],
)
def test_primes_are_refused_by_their_row(
    model: Any, primes: list[str], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(primes, params=params)


@pytest.mark.parametrize("name", ["num_chars", "temperature", "top_k", "top_p", "lines", "seed"])
@pytest.mark.parametrize("value", ["ten", [1], {"a": 1}, True])
def test_mlflow_refuses_other_types_by_name(model: Any, name: str, value: Any) -> None:
    """Its params schema does, before our code is asked; the status is 400 as well."""
    with pytest.raises(MlflowException, match=name) as caught:
        model.predict(["def "], params={name: value})
    assert caught.value.get_http_status_code() == 400


def test_without_mlflows_own_call_the_params_are_what_is_given(model: Any) -> None:
    ours = model.unwrap_python_model()
    assert ours.predict(None, ["def "], {"num_chars": 9}) == [
        model.predict(["def "], params={"num_chars": 9})[0]
    ]
    with pytest.raises(InputError, match="there is no parameter 'warmth'"):
        ours.predict(None, ["def "], {"warmth": 1})
    assert ours.predict(None, [], {}) == []
    with pytest.raises(InputError, match="num_chars is 0"):
        ours.predict(None, [], {"num_chars": 0})
    # MLflow's schema refuses these too, in words of its own.
    with pytest.raises(InputError, match=r"prime 1 is 'a\\ud800', which has half a surrogate pair"):
        ours.predict(None, ["def ", "a\ud800"])
    with pytest.raises(InputError, match=r"prime 0 is 7; it must be text"):
        ours.predict(None, [7])


# What a server bounds.


@pytest.mark.parametrize(
    "params",
    [{"num_chars": 100_001}, {"num_chars": 10**12}, {"num_chars": 1001, "lines": 100}],
)
def test_a_text_has_no_more_characters_than_the_model_says(
    model: Any, params: dict[str, int]
) -> None:
    with pytest.raises(InputError, match="is more than the 100,000 characters that this") as caught:
        model.predict(["def "], params=params)
    assert caught.value.get_http_status_code() == 400  # type: ignore[attr-defined]


def test_the_bound_is_stored_with_the_model_and_loaded_with_another(home: str) -> None:
    Tracking(home)
    assert models.MAX_SERVED_CHARS == 100_000
    stored = mlflow.pyfunc.load_model("models:/texts/1")
    assert stored.model_config == {"max_chars": models.MAX_SERVED_CHARS}
    small = mlflow.pyfunc.load_model("models:/texts/1", model_config={"max_chars": 10})
    assert len(small.predict(["d"], params={"num_chars": 10})) == 1
    with pytest.raises(InputError, match="num_chars 11 is more than the 10 characters"):
        small.predict(["d"], params={"num_chars": 11})
    with pytest.raises(InputError, match="num_chars 5 times lines 3 is more than the 10"):
        small.predict(["d"], params={"num_chars": 5, "lines": 3})


def test_loading_compiles_what_requests_run(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[int] = []
    sample_all = Engine.sample

    def sampling(self: Engine, requests: list[Any], stop: bytes = b"") -> list[bytes]:
        sampled.append(len(requests))
        return sample_all(self, requests, stop)

    monkeypatch.setattr(Engine, "sample", sampling)
    Tracking(home)
    mlflow.pyfunc.load_model("models:/texts/1")
    assert sampled == [1]


@pytest.fixture
def server(model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's scoring server of the model, without a socket: a JSON body in, a status and a text
    out.
    """
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # `init` sets it for good
    app = scoring_server.init(model)

    def post(body: Any) -> tuple[int, str]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/invocations",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        asyncio.run(app(scope, receive, send))
        return sent[0]["status"], b"".join(part["body"] for part in sent[1:]).decode()

    return post


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": [None]}, "prime 0 is None; it must be text."),
        ({"inputs": ["a", 7]}, "prime 1 is 7; it must be text."),
        ({"inputs": [True]}, "prime 0 is True; it must be text."),
        ({"instances": [None]}, "prime 0 is None; it must be text."),
        ({"dataframe_records": [{"x": 3}]}, "prime 0 is 3; it must be text."),
        (
            {"dataframe_split": {"columns": ["x"], "data": [[None]]}},
            "prime 0 is None; it must be text.",
        ),
        (
            {"inputs": ["a"], "params": {"num_chars": None}},
            "num_chars is None; it must be a whole number.",
        ),
        (
            {"inputs": ["a"], "params": {"stop": "\x00"}},
            "b'\\x00' has symbols outside the vocabulary",
        ),
    ],
)
def test_null_and_wrong_types_are_refused_in_one_line(
    server: Any, body: dict[str, Any], message: str
) -> None:
    status, text = server(body)
    answer = json.loads(text)
    assert (status, answer.keys()) == (400, {"error_code", "message"})
    assert message in answer["message"]
    assert "\n" not in answer["message"]


@pytest.mark.parametrize(
    "body",
    [
        *({"inputs": value} for value in (None, {"a": 1}, [])),
        *({"inputs": ["a"], "params": {"num_chars": value}} for value in ("ten", 1.5, [1], True)),
        *({"inputs": ["a"], "params": 7}, [], 7, None, {}, {"messages": 3}),
    ],
)
def test_nothing_that_is_asked_is_answered_with_a_stack_trace(server: Any, body: Any) -> None:
    status, text = server(body)
    assert status == 400
    assert "stack_trace" not in json.loads(text)
    assert "Traceback" not in text


def test_texts_are_given_up_when_the_server_has_given_them_up(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is 504 by then, and nobody reads what is still written."""
    pieces: list[int] = []
    stream_all = Engine.stream

    def streaming(self: Engine, *given: Any) -> Any:
        for piece in stream_all(self, *given):
            pieces.append(len(piece.text))
            yield piece

    monkeypatch.setattr(Engine, "stream", streaming)
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    whole = model.predict(["def "], params={"num_chars": 5000})
    assert sum(pieces) > 5000
    assert len(whole) == 1  # from Python there is no limit
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    pieces.clear()
    with pytest.raises(InputError, match="the texts took longer than 0 s; ask for fewer or less"):
        model.predict(["def "], params={"num_chars": 5000})
    assert len(pieces) == 1


LOAD = """
import json, sys
import pipeline.sampler
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
texts = [model.predict(call["primes"], params=call["params"]) for call in json.loads(sys.argv[2])]
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("pipeline")]
assert ours and not any(file.startswith(sys.argv[1]) for file in ours), ours
print(json.dumps(texts))
"""


def test_a_model_of_older_code_loads_beside_ours(tmp_path: Path) -> None:
    """Its own file looks for names where they were when it was registered. In a process that has
    imported this package, it finds this package's modules, and must write the same texts with them.
    """
    with zipfile.ZipFile(GOLDEN / "registered.zip") as archive:
        archive.extractall(tmp_path / "model")
    calls = json.loads((GOLDEN / "registered.expected.json").read_text())["calls"]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model"), json.dumps(calls)],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [call["texts"] for call in calls]
