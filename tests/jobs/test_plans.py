"""--dry_run's functions: the job's own settings and refusals, table and JSON; nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs import plans
from jobs.command import Common
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.reproducing.config import ReproduceConfig
from pipeline.sampling.config import SampleConfig
from pipeline.training import estimate
from pipeline.training.config import TrainConfig
from tests.jobs.conftest import HOUSE
from tests.registering import checkpoint


@pytest.fixture(autouse=True)
def _rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "product_rate", lambda *shape: 1e9)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("a line of text\n" * 400)
    return text


def common(root: object, text: Path, **flags: Any) -> Common:
    recipe = {
        "name": "mine",
        "corpus": {"name": "mine", "source": str(text), "val": 0.2, "test": 0.0},
        "train": {
            "corpus": "mine",
            "num_layers": 1,
            "hidden_size": 8,
            "global_batch_size": 4,
            "seq_len": 20,
            "max_steps": 30,
            "max_epochs": 0,
        },
        "sample": {"model": "models:/mine@champion", "num_chars": 50},
        "evaluate": {"model": "models:/mine@champion"},
        "explain": {"model": "models:/mine@champion"},
    }
    return Common(root=str(root), recipe=recipe, flags=flags)


def shown(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "unreasonable")
    return caplog


def test_a_build_is_planned(tmp_path: Path, text: Path, log: pytest.LogCaptureFixture) -> None:
    given = common(tmp_path / "root", text, num_workers=2, force=False, keep=3)
    config = given.section("corpus", CorpusConfig)
    found = json.loads(json.dumps(plans.corpus_plan(config, given)))
    assert not (tmp_path / "root").exists()
    built = build_corpus(config, given.root)
    assert found["tokens"] == built.tokens
    assert found["settings"]["val"] == 0.2
    assert (found["dry_run"], found["root"]) == (True, given.root)
    table = shown(log)
    assert "files: 1 documents, 6.0 kB; 0 excluded, 0 skipped; text.txt" in table
    assert "train 4,800, val 1,200, test 0" in table
    assert "warning" in table


def test_a_training_that_builds_first_is_planned(
    tmp_path: Path, text: Path, log: pytest.LogCaptureFixture
) -> None:
    given = common(tmp_path / "root", text)
    config = given.section("train", TrainConfig)
    found = json.loads(json.dumps(plans.train_plan(config, given)))
    assert not (tmp_path / "root").exists()
    assert found["builds_corpus"]["tokens"]["train"] == found["text"]["train_tokens"] == 4800
    assert (found["model"], found["steps"], found["steps_per_epoch"]) == ("mine", 30, 59)
    build_corpus(given.section("corpus", CorpusConfig), given.root)
    after = plans.train_plan(config, given)
    assert "builds_corpus" not in after
    assert after["parameters"] == found["parameters"]
    assert after["text"]["version"] == open_corpus(given.root, "mine").version
    assert "mine@(to be built): 4,800 tokens" in shown(log)


def test_another_corpus_names_the_model_and_is_not_built(tmp_path: Path, text: Path) -> None:
    given = common(tmp_path / "root", text)
    build_corpus(CorpusConfig(name="other", source=str(text), val=0.2), given.root)
    config = TrainConfig(corpus="other", global_batch_size=4, seq_len=20)
    assert plans.train_plan(config, given)["model"] == "other"
    with pytest.raises(InputError, match="no corpus 'third'"):
        plans.train_plan(TrainConfig(corpus="third"), given)


def test_a_sampling_job_is_planned(
    root: str, tmp_path: Path, text: Path, log: pytest.LogCaptureFixture
) -> None:
    config = SampleConfig(model=checkpoint(root, 16), num_chars=50, output=str(tmp_path / "out"))
    found = json.loads(json.dumps(plans.sample_plan(config, common(root, text))))
    assert (found["files"], found["kept"], found["characters"]) == (1, 0, 50)
    assert found["settings"]["num_chars"] == 50
    assert not (tmp_path / "out").exists()
    assert "1, of which 0 are there; about 50 B" in shown(log)


def test_an_evaluation_is_planned(
    root: str, tmp_path: Path, text: Path, log: pytest.LogCaptureFixture
) -> None:
    config = EvaluateConfig(model=checkpoint(root, 16), output=str(tmp_path / "out"))
    found = json.loads(json.dumps(plans.evaluate_plan(config, common(root, text))))
    assert found["models"][0]["model"] == "run-16/checkpoint-00000001"
    assert found["training_bytes"] > 0
    assert found["output"] == str(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "fp32, 0 symbols unknown" in shown(log)


def test_a_recipe_is_planned_stage_by_stage(
    tmp_path: Path, text: Path, log: pytest.LogCaptureFixture
) -> None:
    given = common(tmp_path / "root", text)
    found = json.loads(json.dumps(plans.reproduce_plan(ReproduceConfig(), given)))
    assert not (tmp_path / "root").exists()
    assert found["settings"]["train"]["max_steps"] == 30
    assert found["skipped"] == []
    assert found["sample"]["parameters"] == found["train"]["parameters"]
    assert "there already  nothing" in shown(log)
    # What looks at a model has no forecast of its time; it is said that it will run.
    assert "evaluate, explain" in shown(log)
    assert found["settings"]["explain"]["model"] == "models:/mine@champion"
    shorter = plans.reproduce_plan(ReproduceConfig(until="sample"), given)
    assert set(shorter["settings"]) == {"corpus", "train", "sample"}
    with pytest.raises(InputError, match="set MLFLOW_TRACKING_URI"):
        plans.reproduce_plan(ReproduceConfig(), common("memory://root", text))


@pytest.mark.parametrize("nested", [True, False])
def test_an_action_on_models_is_planned(tmp_path: Path, nested: bool) -> None:
    own = {"name": ""}
    values = {"action": "list", "list": own} if nested else {"action": "list", **own}
    found = plans.models_plan(values, str(tmp_path / "root"))
    assert (found["action"], found["changes"], found["dry_run"]) == ("list", False, True)
    assert not (tmp_path / "root").exists()


def test_schedules_are_planned(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    values = {"root": str(tmp_path / "root"), "schedule": "", "run_now": "linux"}
    found = json.loads(json.dumps(plans.schedule_plan(values)))
    assert not (tmp_path / "root").exists()
    assert [row["schedule"] for row in found["schedules"]] == ["linux", "latex", "wikipedia"]
    assert [job["schedule"] for job in found["now"]] == ["linux"]
    assert "would submit linux-" in shown(log)
    log.clear()
    plans.schedule_plan({**values, "run_now": ""})
    assert "nothing would be submitted now" in shown(log)


def test_a_vocabulary_of_a_model_that_is_not_there_is_refused(tmp_path: Path, text: Path) -> None:
    given = common(tmp_path / "root", text)
    config = CorpusConfig(name="mine", source=str(text), vocab_from="models:/m@champion")
    with pytest.raises(InputError, match="no model 'models:/m@champion': nothing is registered"):
        plans.corpus_plan(config, given)


def test_a_cluster_gives_each_worker_its_own_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.plans.os.cpu_count", lambda: 3)
    assert plans._cpus() == 3
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert plans._cpus() is None


def test_a_fresh_recipe_is_planned_without_any_engine(tmp_path: Path, text: Path) -> None:
    """In a process of its own: what is imported shows what could have been started."""
    given = common(tmp_path / "root", text)
    code = f"""
import sys
from jobs.command import Common
from jobs.plans import reproduce_plan
from pipeline.reproducing.config import ReproduceConfig
reproduce_plan(ReproduceConfig(), Common(root={given.root!r}, recipe={given.recipe!r}, flags={{}}))
print(*{{"torch", "ray", "mlflow"}} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == [text]


def test_every_document_and_an_explanation_are_planned(
    root: str, tmp_path: Path, text: Path, log: pytest.LogCaptureFixture
) -> None:
    out = str(tmp_path / "out")
    model = checkpoint(root, 16)
    documents = EvaluateConfig(model=model, per_document=True, output=out)
    found = json.loads(json.dumps(plans.evaluate_plan(documents, common(root, text))))
    assert found["text"].startswith("val of texts@")
    assert "every document of val of texts@" in shown(log)
    explained = ExplainConfig(model=model, output=out, kind="c")
    found = json.loads(json.dumps(plans.explain_plan(explained, common(root, text))))
    assert (found["kind"], found["output"]) == ("c", out)
    assert "as c" in shown(log)
    assert not (tmp_path / "out").exists()
