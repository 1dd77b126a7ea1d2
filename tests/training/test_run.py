"""Training on real Ray workers, with a real SQLite MLflow: tracked, registered, scored again, champion decided."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from pipeline.corpora import retention
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.training.run import ensure_trained, run_experiment, score_on
from pipeline.registry.tracking import Registry, corpus_references, fetch_model
from pipeline.sampler import load_model, sample, stream
from pipeline.sampling.job import sample_files
from pipeline.sampling.config import SampleConfig
from pipeline.training import checkpoint
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import check_run

CONFIG = TrainConfig(
    corpus="texts", num_layers=1, hidden_size=32, global_batch_size=8, seq_len=32, optimizer="adam", learning_rate=0.01,
    max_steps=60, eval_every=20, checkpoint_every=20, num_workers=2, sample_every="10,40", sample_chars=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    root = str(tmp_path_factory.mktemp("home"))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    return root


@pytest.fixture(scope="module")
def result(home: str, local_ray: None) -> dict[str, Any]:
    return run_experiment(CONFIG, home, "texts", open_corpus(home, "texts"))


def test_the_loss_falls_and_every_step_has_one_row(result: dict[str, Any]) -> None:
    rows = [
        json.loads(line) for line in Path(result["run"], "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]
    assert [row["step"] for row in rows if "val_loss" in row] == [20, 40, 60]


def test_mlflow_has_the_run(result: dict[str, Any], home: str) -> None:
    client = Registry(home).client
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["unreasonable.run_id"] == result["run_id"]
    assert run.data.params["hidden_size"] == "32"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == (
        "texts",
        result["corpus"].split("@")[1],
    )
    rows = [
        json.loads(line) for line in Path(result["run"], "metrics.jsonl").read_text().splitlines()
    ]
    history = client.get_metric_history(result["mlflow_run_id"], "train_loss")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
        (r["step"], r["train_loss"]) for r in rows
    ]


def test_the_registered_model_scores_what_the_run_reported(
    result: dict[str, Any], home: str
) -> None:
    registry = Registry(home)
    version = registry.resolve("models:/texts@champion")
    assert version.uri == result["model"]
    scored = score_on(registry, version, open_corpus(home, "texts"), CONFIG.eval_lanes)
    assert scored == pytest.approx(result["val_bits_per_byte"], rel=1e-5)


def test_mlflow_itself_samples_what_our_job_samples(
    result: dict[str, Any], home: str, tmp_path: Path
) -> None:
    model = mlflow.pyfunc.load_model(result["model"])
    params = {"num_chars": 120, "temperature": 0.7, "seed": 3}
    (text,) = model.predict(["def "], params=params)
    settings = params | {"temperature": "0.7", "output": str(tmp_path)}
    ours = SampleConfig(model=result["model"], num_files=2, prime="def ", **settings)  # type: ignore[arg-type]
    sample_files(ours, fetch_model(result["model"], home), home, local=True)
    assert (tmp_path / "sample-00000.txt").read_text() == text
    first, second = model.predict(["def ", "def "], params=params)  # row n is file n
    assert [first, second] == [(tmp_path / f"sample-0000{n}.txt").read_text() for n in range(2)]
    ours_in_python = load_model(result["model"], home)
    assert sample(ours_in_python, "def ", num_chars=120, temperature=0.7, seed=3) == text
    assert (
        "".join(stream(ours_in_python, "def ", number=1, num_chars=120, temperature=0.7, seed=3))
        == second
    )
    with pytest.raises(InputError, match="temperature is -1"):
        model.predict(["def "], params={"temperature": -1.0})


def test_a_corpus_can_take_a_models_vocabulary(
    result: dict[str, Any], home: str, tmp_path: Path
) -> None:
    from jobs.build_corpus import _model_vocab
    from jobs.command import Common

    (tmp_path / "t.txt").write_bytes(b"def f(x):\n    return x\n")
    config = CorpusConfig(
        name="small", source=str(tmp_path / "t.txt"), vocab_from=result["model"], val=0.0, test=0.0
    )
    vocab = _model_vocab(config, Common(root=home, recipe={}, flags={}))
    build_corpus(config, home, frozen=vocab)
    assert open_corpus(home, "small").vocab == open_corpus(home, "texts").vocab
    assert retention.run_references(home, "texts") == {
        result["corpus"].split("@")[1]: [f"run {result['run_id']}"]
    }
    assert corpus_references(home, "texts") == {result["corpus"].split("@")[1]: ["model texts/1"]}


def test_a_tampered_model_is_refused_by_name(result: dict[str, Any], home: str) -> None:
    (weights,) = Path(home, "mlartifacts").rglob("weights.safetensors")
    good = weights.read_bytes()
    try:
        weights.write_bytes(good[:-4] + b"\0\0\0\1")
        with pytest.raises(DamagedError, match=r"weights\.safetensors"):
            fetch_model(result["model"], home)
        weights.write_bytes(pickle.dumps({"weights": [1]}))
        with pytest.raises(DamagedError, match=r"weights\.safetensors"):
            fetch_model(result["model"], home)
    finally:
        weights.write_bytes(good)
    for name in ("vocab.json", "config.json"):
        (file,) = Path(home, "mlartifacts").rglob(name)
        kept = file.read_bytes()
        try:
            file.write_bytes(kept + b" ")
            with pytest.raises(DamagedError, match=name):
                fetch_model(result["model"], home)
        finally:
            file.write_bytes(kept)


def test_a_run_on_ray_is_the_same_run_again_and_a_stopped_one_resumes_to_it(
    result: dict[str, Any], home: str
) -> None:
    from pipeline.training.on_ray import run_training

    corpus = open_corpus(home, "texts")
    short = dataclasses.replace(CONFIG, max_steps=40)
    run_training(short, home, "again", "texts", corpus)
    run_training(CONFIG, home, "again", "texts", corpus)  # goes on from step 40
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        files = [
            Path(run, checkpoint.name(60), name).read_bytes()
            for run in (result["run"], f"{home}/runs/again")
        ]
        assert files[0] == files[1], name


def test_the_precision_to_sample_in_was_measured(result: dict[str, Any], home: str) -> None:
    version = Registry(home).resolve(result["model"])
    config = json.loads(Registry(home).fetch(version)["config.json"])
    measured = config["sampling"]
    corpus = open_corpus(home, "texts")
    assert 0.5 * corpus.tokens_in("val") < measured["tokens"] < corpus.tokens_in("val")
    assert measured["nats_fp32"] == pytest.approx(
        result["val_loss"], rel=0.1
    )  # part of the same text
    lost = measured["nats_int8"] / measured["nats_fp32"] - 1
    assert abs(lost) < 0.01
    assert (
        measured["precision"] == version.tags["precision"] == ("int8" if lost <= 0.002 else "fp32")
    )
    assert f"{measured['nats_int8']:.5f}" in version.description


def test_what_is_trained_is_not_trained_again(result: dict[str, Any], home: str) -> None:
    corpus = open_corpus(home, "texts")
    assert ensure_trained(CONFIG, home, "texts", corpus)["model"] == result["model"]
    assert Registry(home).trained("texts", dataclasses.replace(CONFIG, seed=5), corpus) is None


def test_samples_show_the_model_as_it_learned(result: dict[str, Any], home: str) -> None:
    folder = Path(result["run"], "samples")
    assert sorted(path.name for path in folder.iterdir()) == ["step-000010.txt", "step-000040.txt"]
    assert all(len(path.read_bytes()) == 60 for path in folder.iterdir())


def test_a_run_starts_from_a_registered_model(result: dict[str, Any], home: str) -> None:
    warm = dataclasses.replace(
        CONFIG, init_from="models:/texts@champion", max_steps=1, learning_rate=1e-9, num_workers=1
    )
    again = run_experiment(warm, home, "warm", open_corpus(home, "texts"))
    assert again["val_loss"] == pytest.approx(result["val_loss"], rel=1e-4)
    start = json.loads(Path(again["run"], "start.json").read_text())
    assert (
        start["config"]["init_from"] == result["model"]
    )  # the version, not the alias, which may move
    for reference in (
        result["run_id"],
        result["mlflow_run_id"],
        f"runs:/{result['mlflow_run_id']}/model",
    ):
        assert fetch_model(reference, home).uri == result["model"]
    best = f"{result['run']}/checkpoint-{result['best']['step']:08d}"
    found = fetch_model(
        best, "s3://a-root-without-a-tracking-server"
    )  # which a checkpoint does not need
    assert (found.uri, found.files["weights.safetensors"]) == (
        best,
        fetch_model(result["model"], home).files["weights.safetensors"],
    )


def test_ray_knows_the_best_checkpoint(result: dict[str, Any]) -> None:
    best = f"checkpoint-{result['best']['step']:08d}"
    assert best in Path(result["run"], "checkpoint_manager_snapshot.json").read_text()


def test_a_diverging_run_is_one_clear_error(home: str, local_ray: None) -> None:
    from pipeline.training.on_ray import run_training

    wild = dataclasses.replace(
        CONFIG, learning_rate=1e37, optimizer="rmsprop", max_grad_norm=0.0, num_workers=2
    )
    with pytest.raises(InputError, match="training diverged at step"):
        run_training(wild, home, "wild", "texts", open_corpus(home, "texts"))


def test_a_worse_model_does_not_become_champion(result: dict[str, Any], home: str) -> None:
    worse = run_experiment(
        dataclasses.replace(CONFIG, max_steps=5, num_workers=1),
        home,
        "texts",
        open_corpus(home, "texts"),
    )
    assert not worse["champion"]
    assert Registry(home).resolve("models:/texts@champion").uri == result["model"]


def test_more_workers_than_the_cluster_has_are_refused_at_once(home: str, local_ray: None) -> None:
    from pipeline.training.on_ray import run_training

    corpus = open_corpus(home, "texts")
    with pytest.raises(InputError, match="7 workers need 7 CPUs, the cluster has 2"):
        run_training(dataclasses.replace(CONFIG, num_workers=7), home, "never", "texts", corpus)
    with pytest.raises(InputError, match="2 workers need 6 CPUs, the cluster has 2"):
        run_training(dataclasses.replace(CONFIG, cpus_per_worker=3), home, "never", "texts", corpus)
    with pytest.raises(InputError, match="2 workers need 2 GPUs, the cluster has 0"):
        run_training(dataclasses.replace(CONFIG, use_gpu=True), home, "never", "texts", corpus)
    assert not Path(home, "runs", "never").exists()


def test_finished_and_unknown_runs_are_not_resumed(result: dict[str, Any], home: str) -> None:
    with pytest.raises(InputError, match="is finished"):
        check_run(dataclasses.replace(CONFIG, resume=result["run_id"]), home)
    with pytest.raises(InputError, match="no run 'nope'"):
        check_run(dataclasses.replace(CONFIG, resume="nope"), home)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/nope@champion", "registered are: texts"),
        ("models:/texts/99", "no model"),
        ("models:/texts", "neither"),
        ("/nowhere", "no complete checkpoint"),
        ("models:/texts@nobody", "no model"),
        ("runs:/0123456789abcdef/model", "no model was registered from run"),
        ("20260101-000000-abcdef", "no model was registered from run"),
    ],
)
def test_an_unknown_model_is_one_clear_error(
    result: dict[str, Any], home: str, uri: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fetch_model(uri, home)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_with_bf16(home: str) -> None:
    from pipeline.training.on_ray import run_training

    config = dataclasses.replace(CONFIG, use_gpu=True, num_workers=1, precision="bf16")
    run_training(config, home, "gpu", "texts", open_corpus(home, "texts"))
