"""A run from end to end with a real SQLite MLflow: tracked, registered, champion decided, and found
again by those who read it.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import logging
import math
import pickle
import threading
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml

from pipeline import lease, runs
from pipeline.corpora import retention
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import DamagedError, DivergedError, InputError
from pipeline.registry.champion import score_on
from pipeline.registry.fetch import fetch_model, frozen_vocab
from pipeline.registry.models import Models, corpus_references
from pipeline.registry.origin import git_commit
from pipeline.registry.tracking import Tracking
from pipeline.runs import checkpoint_name
from pipeline.sampler import load_model, sample, stream
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from pipeline.training import loop
from pipeline.training import run as module
from pipeline.training.checkpoint import Best
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig, settings_digest
from pipeline.training.finishing import TrainedRun
from pipeline.training.loop import RunResult
from pipeline.training.preflight import check_run
from pipeline.training.run import ensure_trained, run_experiment
from pipeline.training.trainer import Trainer, Votes
from tests.training.conftest import CONFIG, RUN_ID, SMALL, Kept


def journal(run: str) -> list[dict[str, Any]]:
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def version_of(trained: TrainedRun) -> str:
    """The corpus version that a run learned."""
    return trained.corpus.split("@")[1]


@pytest.fixture
def texts_corpus(home: str) -> Corpus:
    return open_corpus(home, "texts")


def test_the_loss_falls_and_every_step_has_one_row(trained: TrainedRun) -> None:
    rows = journal(trained.run)
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]
    assert [row["step"] for row in rows if "val_loss" in row] == [20, 40, 60]


def test_a_run_says_what_it_came_to(trained: TrainedRun, home: str) -> None:
    assert trained.result is not None
    assert (trained.run_id, trained.run) == (RUN_ID, runs.run_url(home, RUN_ID))
    assert (trained.model, trained.champion, trained.stopped) == ("models:/texts/1", True, False)
    assert trained.tracking_uri == Tracking(home).uri
    scores = {row["step"]: row["val_loss"] for row in journal(trained.run) if "val_loss" in row}
    best = trained.result.best
    assert best.step is not None
    assert trained.val_loss == best.val_loss == min(scores.values()) == scores[best.step]
    end = json.loads(Path(trained.run, "run.json").read_text())
    assert end == {
        "model": "models:/texts/1",
        "mlflow_run_id": trained.mlflow_run_id,
        **trained.result.to_json(),
    }


def test_mlflow_has_the_run(trained: TrainedRun, home: str) -> None:
    client = Tracking(home).client
    run = client.get_run(trained.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["unreasonable.run_id"] == trained.run_id
    assert run.data.params["hidden_size"] == "32"
    assert run.data.tags["unreasonable.published_step"] == "60"
    # Params are what the run was started with; what may differ by session is a tag too.
    names = {field.name for field in dataclasses.fields(CONFIG)}
    assert set(run.data.params) == (names - {"resume", "sync"}) | {"max_chars"}
    assert (run.data.params["max_steps"], run.data.params["num_workers"]) == ("60", "2")
    assert run.data.tags["max_steps"] == "60"
    assert run.data.tags["resume"] == RUN_ID
    assert names & set(run.data.tags) == MAY_CHANGE | ENDS
    (dataset,) = run.inputs.dataset_inputs
    identity = (dataset.dataset.name, dataset.dataset.digest)
    assert identity == ("texts", version_of(trained))
    history = client.get_metric_history(trained.mlflow_run_id, "train_loss")
    published = [(metric.step, metric.value) for metric in sorted(history, key=lambda m: m.step)]
    assert published == [(row["step"], row["train_loss"]) for row in journal(trained.run)]


def test_mlflow_has_what_a_person_looks_for(trained: TrainedRun, home: str) -> None:
    assert trained.result is not None
    client = Tracking(home).client
    run = client.get_run(trained.mlflow_run_id)
    assert run.data.tags["parameters"] == str(trained.result.parameters)
    assert run.data.tags["mlflow.user"] == getpass.getuser()
    assert run.data.tags["mlflow.source.name"]
    assert run.data.tags["mlflow.source.git.commit"] == git_commit()
    assert run.data.metrics["chars_per_sec"] == trained.result.chars_per_sec

    def artifact(path: str) -> bytes:
        return Path(client.download_artifacts(trained.mlflow_run_id, path)).read_bytes()

    config = yaml.safe_load(artifact("config.yaml"))
    assert config == dataclasses.asdict(CONFIG) | {"resume": RUN_ID}
    for step in (10, 40):
        name = f"samples/step-{step:06d}.txt"
        assert artifact(name) == Path(trained.run, name).read_bytes()
    assert b"## A sample" in artifact("samples/MODEL_CARD.md")


def test_mlflow_shows_the_models_figures_at_its_step(
    trained: TrainedRun, home: str, texts_corpus: Corpus
) -> None:
    assert trained.result is not None
    best = trained.result.best
    version = Models(Tracking(home)).resolve(trained.model)
    client = Tracking(home).client
    (output,) = client.get_run(trained.mlflow_run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (version.model_id, best.step)
    metrics = client.get_logged_model(version.model_id).metrics
    figures = {
        metric.key: metric.value
        for metric in metrics
        if (metric.dataset_name, metric.dataset_digest) == ("texts", texts_corpus.version)
    }
    assert figures["val_loss"] == best.val_loss
    assert set(figures) == {"val_loss", "val_bits_per_char", "val_bits_per_byte"}
    assert {metric.step for metric in metrics} == {best.step}
    assert "train_loss" in {metric.key for metric in metrics}  # the run's own, at that step


def test_the_registered_model_scores_what_the_run_reported(
    trained: TrainedRun, home: str, texts_corpus: Corpus
) -> None:
    models = Models(Tracking(home))
    version = models.resolve("models:/texts@champion")
    assert version.uri == trained.model
    scored = score_on(models, version, texts_corpus, CONFIG.eval_lanes)
    assert scored == pytest.approx(trained.val_bits_per_byte, rel=1e-5)


def test_mlflow_itself_samples_what_our_job_samples(
    trained: TrainedRun, home: str, tmp_path: Path
) -> None:
    model = mlflow.pyfunc.load_model(trained.model)
    params: dict[str, Any] = {"num_chars": 120, "temperature": 0.7, "seed": 3}
    (text,) = model.predict(["def "], params=params)
    settings = params | {"temperature": "0.7", "output": str(tmp_path)}
    ours = SampleConfig(model=trained.model, num_files=2, prime="def ", **settings)
    sample_files(ours, fetch_model(trained.model, home), home, local=True)
    files = [(tmp_path / f"sample-0000{number}.txt").read_text() for number in range(2)]
    assert files[0] == text
    assert model.predict(["def ", "def "], params=params) == files  # row n is file n
    loaded = load_model(trained.model, home)
    assert sample(loaded, "def ", **params) == text
    assert "".join(stream(loaded, "def ", number=1, **params)) == files[1]
    with pytest.raises(InputError, match="temperature is -1"):
        model.predict(["def "], params={"temperature": -1.0})


def test_a_corpus_can_take_a_models_vocabulary(
    trained: TrainedRun, home: str, tmp_path: Path, texts_corpus: Corpus
) -> None:
    (tmp_path / "t.txt").write_bytes(b"def f(x):\n    return x\n")
    source = str(tmp_path / "t.txt")
    config = CorpusConfig(
        name="borrowed", source=source, vocab_from=trained.model, val=0.0, test=0.0
    )
    vocab = frozen_vocab(config.vocab_from, home)
    build_corpus(config, home, frozen=vocab)
    assert open_corpus(home, "borrowed").vocab == texts_corpus.vocab


def test_a_corpus_version_is_in_use_by_the_run_and_its_model(
    trained: TrainedRun, home: str
) -> None:
    version = version_of(trained)
    by_runs = retention.run_references(home, "texts")
    by_models = corpus_references(home, "texts")
    assert set(by_runs) == set(by_models) == {version}
    assert f"run {trained.run_id}" in by_runs[version]
    assert "model texts/1" in by_models[version]


def test_a_tampered_model_is_refused_by_name(trained: TrainedRun, home: str) -> None:
    model_id = Models(Tracking(home)).resolve(trained.model).model_id
    (folder,) = Path(home, "mlartifacts").rglob(model_id)
    for name in ("weights.safetensors", "vocab.json", "config.json"):
        (file,) = folder.rglob(name)
        good = file.read_bytes()
        forgeries = [good[:-4] + b"\0\0\0\1", good + b" ", pickle.dumps({"weights": [1]})]
        try:
            for forgery in forgeries:
                file.write_bytes(forgery)
                with pytest.raises(DamagedError, match=name.replace(".", r"\.")):
                    fetch_model(trained.model, home)
        finally:
            file.write_bytes(good)
    assert fetch_model(trained.model, home).uri == trained.model


def test_the_precision_to_sample_in_was_measured(
    trained: TrainedRun, home: str, texts_corpus: Corpus
) -> None:
    models = Models(Tracking(home))
    version = models.resolve(trained.model)
    measured = json.loads(models.download(version)["config.json"])["sampling"]
    in_val = texts_corpus.tokens_in("val")
    assert 0.5 * in_val < measured["tokens"] < in_val
    # Part of the same text.
    assert measured["nats_fp32"] == pytest.approx(trained.val_loss, rel=0.1)
    lost = measured["nats_int8"] / measured["nats_fp32"] - 1
    assert abs(lost) < 0.01
    chosen = "int8" if lost <= 0.002 else "fp32"
    assert measured["precision"] == version.tags["precision"] == chosen
    assert f"{measured['nats_int8']:.5f}" in version.description


def test_what_is_trained_is_not_trained_again(
    trained: TrainedRun, home: str, texts_corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        again = ensure_trained(CONFIG, home, "texts", texts_corpus)
    assert again == TrainedRun(
        run_id=trained.run_id,
        run=trained.run,
        tracking_uri=trained.tracking_uri,
        model=trained.model,
        val_loss=trained.val_loss,
        val_bits_per_byte=trained.val_bits_per_byte,
    )
    assert "models:/texts/1 was trained with these settings on this corpus" in caplog.text
    assert again.to_json() == {
        "run_id": trained.run_id,
        "run": trained.run,
        "tracking_uri": trained.tracking_uri,
        "model": trained.model,
        "val_loss": trained.val_loss,
        "val_bits_per_byte": trained.val_bits_per_byte,
    }
    other = settings_digest(dataclasses.asdict(dataclasses.replace(CONFIG, seed=5)))
    models = Models(Tracking(home))
    assert models.trained("texts", other, texts_corpus.fingerprint) is None


def test_what_is_not_trained_is_trained(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(module, "run_experiment", lambda *given: calls.append(given))
    other = dataclasses.replace(CONFIG, seed=5)
    ensure_trained(other, home, "texts", texts_corpus)
    assert calls == [(other, home, "texts", texts_corpus)]


def test_samples_show_the_model_as_it_learned(trained: TrainedRun) -> None:
    folder = Path(trained.run, "samples")
    assert sorted(path.name for path in folder.iterdir()) == ["step-000010.txt", "step-000040.txt"]
    assert all(len(path.read_bytes()) == 60 for path in folder.iterdir())


def test_a_run_starts_from_a_registered_model(
    trained: TrainedRun, home: str, texts_corpus: Corpus, in_process: None
) -> None:
    warm = dataclasses.replace(
        CONFIG, init_from="models:/texts@champion", max_steps=1, learning_rate=1e-9, num_workers=1
    )
    again = run_experiment(warm, home, "warm", texts_corpus)
    assert again.val_loss == pytest.approx(trained.val_loss, rel=1e-4)
    start = json.loads(Path(again.run, "start.json").read_text())
    # The version, not the alias, which may move.
    assert start["config"]["init_from"] == trained.model
    assert start["recipe"] == "warm"
    assert start["corpus"] == {
        "name": "texts",
        "version": texts_corpus.version,
        "fingerprint": texts_corpus.fingerprint,
    }


def test_a_model_is_found_by_its_runs_and_its_checkpoint(trained: TrainedRun, home: str) -> None:
    references = (trained.run_id, trained.mlflow_run_id, f"runs:/{trained.mlflow_run_id}/model")
    for reference in references:
        assert fetch_model(reference, home).uri == trained.model
    assert trained.result is not None
    assert trained.result.best.step is not None
    best = f"{trained.run}/{checkpoint_name(trained.result.best.step)}"
    # A checkpoint needs no tracking server.
    found = fetch_model(best, "s3://a-root-without-a-tracking-server")
    weights = fetch_model(trained.model, home).files["weights.safetensors"]
    assert (found.uri, found.files["weights.safetensors"]) == (best, weights)


def test_a_worse_model_does_not_become_champion(
    trained: TrainedRun, home: str, texts_corpus: Corpus, in_process: None
) -> None:
    short = dataclasses.replace(CONFIG, max_steps=5, num_workers=1)
    worse = run_experiment(short, home, "texts", texts_corpus)
    assert worse.champion is False
    assert worse.val_bits_per_byte is not None
    assert trained.val_bits_per_byte is not None
    assert worse.val_bits_per_byte > trained.val_bits_per_byte
    assert Models(Tracking(home)).resolve("models:/texts@champion").uri == trained.model
    # Its own settings are those of the checkpoint, which are found again.
    tags = Models(Tracking(home)).resolve(worse.model).tags
    assert tags["train_settings"] == settings_digest(dataclasses.asdict(short))


def test_finished_and_unknown_runs_are_not_resumed(trained: TrainedRun, home: str) -> None:
    with pytest.raises(InputError, match="is finished"):
        check_run(dataclasses.replace(CONFIG, resume=trained.run_id), home)
    with pytest.raises(InputError, match="no run 'nope'"):
        check_run(dataclasses.replace(CONFIG, resume="nope"), home)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/nope@champion", "registered are: texts"),
        ("models:/texts/99", "no model"),
        ("models:/texts/one", "neither"),
        ("/nowhere", "no complete checkpoint"),
        ("models:/texts@nobody", "no model"),
        ("runs:/0123456789abcdef/model", "no model was registered from run"),
        ("20260101-000000-abcdef", "no model was registered from run"),
    ],
)
def test_an_unknown_model_is_one_clear_error(
    trained: TrainedRun, home: str, uri: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fetch_model(uri, home)


# How a run ends, without a run: training is replaced, MLflow is real.

RESULT = RunResult(step=7, epoch=0.5, minutes=1.5, best=Best(5, 2.0), parameters=99, stopped=False)


def status_of(root: str, name: str) -> str:
    tracking = Tracking(root)
    (run,) = tracking.client.search_runs([tracking.experiment(name)])
    return str(run.info.status)


def test_a_run_that_was_asked_to_stop_is_not_registered(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run_training(*given: Any) -> RunResult:
        calls.append(given)
        return dataclasses.replace(RESULT, stopped=True)

    monkeypatch.setattr(module, "run_training", run_training)
    trained = run_experiment(CONFIG, home, "stopped", texts_corpus)
    assert calls == [(CONFIG, home, trained.run_id, "stopped", texts_corpus)]
    assert trained.stopped
    assert trained.to_json() == {
        "run_id": trained.run_id,
        "run": f"{home}/runs/{trained.run_id}",
        "tracking_uri": Tracking(home).uri,
        "mlflow_run_id": trained.mlflow_run_id,
        "corpus": f"texts@{texts_corpus.version}",
        "step": 7,
        "epoch": 0.5,
        "minutes": 1.5,
        "best": {"step": 5, "val_loss": 2.0},
        "parameters": 99,
        "stopped": True,
    }
    assert status_of(home, "stopped") == "KILLED"
    assert not Path(trained.run, "run.json").exists()
    start = json.loads(Path(trained.run, "start.json").read_text())
    assert start["config"] == dataclasses.asdict(CONFIG)
    # Resumed it is the same run, to MLflow too, and was still started with the same settings.
    longer = dataclasses.replace(CONFIG, resume=trained.run_id, max_steps=99)
    resumed = run_experiment(longer, home, "stopped", texts_corpus)
    assert (resumed.run_id, resumed.mlflow_run_id) == (trained.run_id, trained.mlflow_run_id)
    assert json.loads(Path(trained.run, "start.json").read_text()) == start


def test_a_run_that_fails_is_marked_so(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_training(*_: Any) -> RunResult:
        raise InputError("training diverged")

    monkeypatch.setattr(module, "run_training", run_training)
    with pytest.raises(InputError, match="training diverged"):
        run_experiment(CONFIG, home, "failed", texts_corpus)
    assert status_of(home, "failed") == "FAILED"


def test_a_run_that_diverged_ends_in_one_line_once_its_best_model_is_registered(
    small_root: str, small_corpus: Corpus, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns for a while; then its weights are spoilt before every step."""
    config = TrainConfig(**{**SMALL, "max_rollbacks": 2})

    def run_training(config: TrainConfig, root: str, run_id: str, *_: Any) -> RunResult:
        trainer = Trainer(config, small_corpus, torch.device("cpu"))
        real_step = trainer.train_step

        def spoilt(votes: Votes) -> Any:
            if trainer.step >= 12:
                trainer.model.head.weight.data.fill_(math.nan)
            return real_step(votes)

        monkeypatch.setattr(trainer, "train_step", spoilt)
        result = loop.train(trainer, kept)
        for step in kept.files:
            kept.write(runs.run_url(root, run_id), step)
        return result

    monkeypatch.setattr(module, "check_resources", lambda config: None)
    monkeypatch.setattr(module, "run_training", run_training)
    with pytest.raises(DivergedError) as caught:
        run_experiment(config, small_root, "wild", small_corpus)
    text = str(caught.value)
    assert text.startswith("training diverged at step 15 after 2 rollbacks: loss nan")
    assert "The best model of before, of step 10, is models:/wild/1; " in text
    assert "\n" not in text
    assert status_of(small_root, "wild") == "FAILED"
    tracking = Tracking(small_root)
    (run,) = tracking.client.search_runs([tracking.experiment("wild")])
    history = tracking.client.get_metric_history(run.info.run_id, "rollbacks")
    assert [(each.step, each.value) for each in history] == [(13, 1.0), (14, 2.0), (15, 3.0)]
    end = json.loads(next(Path(small_root, "runs").glob("*/run.json")).read_text())
    assert end["diverged"].startswith("training diverged at step 15")
    assert end["rollbacks"] == 3


def test_a_run_that_diverged_before_any_good_evaluation_says_so(
    small_root: str, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = dataclasses.replace(RESULT, diverged="training diverged at step 3")
    monkeypatch.setattr(module, "check_resources", lambda config: None)
    monkeypatch.setattr(module, "run_training", lambda *_: result)
    with pytest.raises(DivergedError, match="step 3, before any evaluation was good; no model"):
        run_experiment(TrainConfig(**SMALL), small_root, "hopeless", small_corpus)


def test_a_run_without_an_evaluation_has_nothing_to_register(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_training", lambda *_: RESULT)
    with pytest.raises(InputError, match="has no evaluated checkpoint to register; train longer"):
        run_experiment(CONFIG, home, "unscored", texts_corpus)
    assert status_of(home, "unscored") == "FINISHED"


def test_a_run_that_another_process_works_at_is_refused(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_training(config: Any, root: str, run_id: str, *_: Any) -> RunResult:
        again = dataclasses.replace(CONFIG, resume=run_id)
        with pytest.raises(InputError, match=f"run {run_id} is under way"):
            run_experiment(again, root, "twice", texts_corpus)
        with pytest.raises(InputError, match=f"run {run_id} is under way"):
            check_run(again, root)
        return dataclasses.replace(RESULT, stopped=True)

    monkeypatch.setattr(module, "run_training", run_training)
    trained = run_experiment(CONFIG, home, "twice", texts_corpus)
    check_run(dataclasses.replace(CONFIG, resume=trained.run_id), home)


def test_a_run_that_was_taken_over_registers_nothing(
    home: str, texts_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_training(config: Any, root: str, run_id: str, *_: Any) -> RunResult:
        notes = Path(runs.run_url(root, run_id), "lease")
        (notes / "000002.json").write_bytes((notes / "000001.json").read_bytes())
        assert stopped.wait(30)
        return RESULT

    stopped = threading.Event()
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    monkeypatch.setattr(module, "_stop", stopped.set)
    monkeypatch.setattr(module, "run_training", run_training)
    with pytest.raises(InputError, match="was taken over by another process"):
        run_experiment(CONFIG, home, "lost", texts_corpus)
