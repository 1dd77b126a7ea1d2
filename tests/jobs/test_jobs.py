"""The jobs as a person runs them: flags, exit statuses, one line of error, one line of JSON.

jobs/sample.py and jobs/models.py have tests of their own names; tests/jobs/test_stops.py kills
training jobs, and tests/test_s3.py runs a whole recipe on an object store.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import build_corpus, train
from jobs.command import Common
from pipeline import runs, storage
from pipeline.corpora import retention
from pipeline.corpora.build import build_corpus as build
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.hints import command
from pipeline.model.about import CorpusReference
from pipeline.registry.fetch import frozen_vocab
from pipeline.registry.models import corpus_references
from pipeline.reproducing import report, stages
from pipeline.tasks import run_here
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RunStart
from tests.jobs.conftest import Run, process
from tests.registering import registered, with_database

RECIPE = """
corpus: {{name: mine, source: {source}, val: 0.2, test: 0.0}}
train: {{num_layers: 1, hidden_size: 24, global_batch_size: 8, seq_len: 32,
         max_steps: 20, eval_every: 20, num_workers: 2}}
sample: {{num_files: 2, num_chars: 300}}
"""
JOBS = ["build_corpus", "train", "sample", "reproduce"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_a_process_with_help_and_one_line_of_error(name: str) -> None:
    refused = process(name, "--no_such_flag", "1")
    assert "no_such_flag" in refused.refusal


@pytest.mark.parametrize("name", JOBS)
def test_help_and_bad_flags(run: Run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.status == 0
    assert "--recipe" in shown.out
    for arguments, expected in (
        (["--no_such_flag", "1"], "no_such_flag"),
        (["--recipe", "nope"], "no recipe 'nope'"),
        (["--scale", "nope"], "no scale 'nope'"),
        (["--rec", "pystdlib"], "rec"),
    ):
        assert expected in run(name, *arguments).refusal


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--num_layers", "two"], "num_layers"),
        (["train", "--num_layers", "0"], "num_layers is 0"),
        (["train", "--corpus", "nope"], "no corpus 'nope'"),
        (["train", "--learning_rate", "nan"], "learning_rate"),
        (["train", "--resume", "nope"], "no run 'nope'"),
        (["train", "--sync", "nope"], "no run 'nope'"),
        (["train", "--fork", "nope"], "no run 'nope'"),
        (["train", "--fork", "one", "--resume", "two"], "--resume and --fork are two things to do"),
        (["train", "--num_workers", "2:1"], "num_workers is 2:1"),
        (["train", "--num_workers", "1:40"], "40 workers share 32 lanes"),
        (["train", "--eval_every", "soon"], "eval_every is soon"),
        (["train", "--checkpoint_every", "0m"], "checkpoint_every is 0m"),
        (["train", "--sample_every", "1,x"], "sample_every is '1,x'"),
        (["train", "--precision", "bf16"], "precision bf16 needs a GPU"),
        (["train", "--num_workers", "99"], "99 workers share 32 lanes"),
        (["build_corpus", "--source", "/no/such/file"], "does not exist"),
        (["build_corpus", "--unit", "word"], "unit"),
        (["sample", "--model", "models:/nope@champion"], "no model"),
        (["sample", "--temperature", "-1"], "temperature"),
        (["sample", "--seed", "99999999999999999999"], "seed is"),
    ],
)
def test_wrong_values_are_one_line_and_status_two(
    run: Run, no_ray: None, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    name, *flags = arguments
    root = with_database(str(tmp_path / "root")) if "models:" in flags[-1] else tmp_path / "root"
    assert expected in run(name, "--root", root, *flags).refusal


@pytest.mark.parametrize("job", ["train", "reproduce"])
@pytest.mark.parametrize("dry", [["--dry_run"], []])
def test_a_recipe_whose_name_no_model_can_have_is_refused_before_anything_starts(
    run: Run, no_ray: None, tmp_path: Path, texts: Path, job: str, dry: list[str]
) -> None:
    recipe = tmp_path / "wiki:small.yaml"
    recipe.write_text(RECIPE.format(source=texts).replace("name: mine\n", ""))
    refused = run(job, "--recipe", recipe, "--root", tmp_path / "root", *dry).refusal
    assert "the recipe's name 'wiki:small' becomes its model's" in refused
    assert not (tmp_path / "root").exists()


@pytest.mark.long  # tests/test_s3.py runs the same jobs on a root on S3
def test_a_recipe_from_source_to_report(tmp_path: Path, texts: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(source=texts))
    root = tmp_path / "root"
    result = process("reproduce", "--recipe", recipe, "--root", root).result
    assert set(result["val_bits_per_byte"]) == {"model", "xz", "unigram"}
    assert len(Path(result["samples"]).with_name("sample-00000.txt").read_bytes()) == 300
    # Everything is there: no engine starts.
    sampled = process("sample", "--recipe", recipe, "--root", root)
    assert sampled.result["written"] == 0
    assert "starting a local Ray" not in sampled.err


# build_corpus


def test_a_corpus_is_built_listed_checked_and_pruned(
    run: Run, on_local_ray: None, tmp_path: Path, texts: Path
) -> None:
    root = tmp_path / "root"
    mine = ["--recipe", "paulgraham", "--source", texts, "--root", root]
    first = run("build_corpus", *mine, "--num_workers", 2).result
    assert first["built"]
    assert first["removed"] == []
    other = run("build_corpus", *mine, "--unit", "char", "--keep", 1, "--force").result
    assert other["removed"] == [first["version"]]
    shown = run("build_corpus", "--list", "--root", root)
    (row,) = shown.result["corpora"]
    assert (row["name"], row["version"], row["latest"]) == ("paulgraham", other["version"], True)
    head, line = shown.log
    assert " ".join(head.split()) == (
        "name version text documents vocabulary train / val / test tokens age"
    )
    assert line.startswith(f"paulgraham  {other['version']}  latest  ")
    tokens = other["tokens"]
    assert f"{tokens['train']:,} / {tokens['val']:,} / {tokens['test']:,}" in line
    assert f"{other['vocab_size']} chars" in line
    checked = run("build_corpus", "--verify", "--name", "paulgraham", "--root", root).result
    assert checked.pop("verified_bytes") > 100_000
    assert checked == {
        "corpus": "paulgraham",
        "version": other["version"],
        "url": other["url"],
    }
    (Path(other["url"]) / "documents.arrow").write_bytes(b"damaged")
    refused = run("build_corpus", "--verify", "--name", "paulgraham", "--root", root)
    assert "documents.arrow does not have the digest" in refused.refusal


def test_sources_that_have_not_changed_start_no_ray(
    run: Run, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    asked: list[int] = []

    def session(**options: Any) -> contextlib.nullcontext[None]:
        started.append(options)
        return contextlib.nullcontext()

    def runner(num_workers: int) -> Any:
        asked.append(num_workers)
        return run_here

    monkeypatch.setattr("cluster.connect.ray_session", session)
    monkeypatch.setattr("cluster.connect.node_count", lambda: 1)
    monkeypatch.setattr("pipeline.tasks.ray_runner", runner)
    mine = ["--recipe", "paulgraham", "--source", texts, "--root", tmp_path]
    assert run("build_corpus", *mine, "--num_workers", 3).result["built"]
    again = run("build_corpus", *mine)
    assert not again.result["built"]
    assert not any(line.startswith("corpus: {") for line in again.log)  # nothing to announce
    forced = run("build_corpus", *mine, "--force")
    assert forced.result["built"]
    assert any(line.startswith('corpus: {"') for line in forced.log)
    assert started == [{"dashboard": False}] * 2
    assert asked == [3, 0]


def test_a_local_root_is_refused_on_a_cluster_of_several_nodes(
    run: Run, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.connect.ray_session", lambda **options: contextlib.nullcontext())
    monkeypatch.setattr("cluster.connect.node_count", lambda: 2)
    for name in ("build_corpus", "train", "reproduce"):
        recipe = tmp_path / "mine.yaml"
        recipe.write_text(RECIPE.format(source=texts))
        ended = run(name, "--recipe", recipe, "--root", tmp_path / "root")
        assert (ended.status, ended.out) == (2, "")
        assert "is on one machine, the cluster has 2 nodes" in ended.err
    assert not (tmp_path / "root" / "corpora").exists()


def test_a_corpus_can_take_a_models_vocabulary(tmp_path: Path, texts: Path) -> None:
    root = with_database(str(tmp_path / "root"))
    build(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    version = registered(root, 16)
    (tmp_path / "t.txt").write_bytes(b"def f(x):\n    return x\n")
    config = CorpusConfig(
        name="small", source=str(tmp_path / "t.txt"), vocab_from=version.uri, val=0.0, test=0.0
    )
    vocab = frozen_vocab(config.vocab_from, root)
    build(config, root, frozen=vocab)
    assert open_corpus(root, "small").vocab == open_corpus(root, "texts").vocab
    # Who names a corpus, or nothing, names no model; a name that is no corpus is a model's.
    for vocab_from in ("texts", f"texts@{open_corpus(root, 'texts').version}", ""):
        assert frozen_vocab(vocab_from, root) is None
    shutil.rmtree(f"{root}/corpora/texts")
    assert frozen_vocab("texts", root) == vocab
    with pytest.raises(InputError, match=r"vocab_from 'nobody' is no corpus under .* and no model"):
        frozen_vocab("nobody", root)
    build(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    # The corpus that a model or a run learned is not removed.
    corpus = open_corpus(root, "texts")
    assert build_corpus._used_by(root, "texts") == corpus_references(root, "texts")
    assert corpus_references(root, "texts") == {corpus.version: ["model texts/1"]}
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    RunStart(reference, "texts", {}).write(runs.run_url(root, "run-16"))
    assert retention.run_references(root, "texts") == {corpus.version: ["run run-16"]}


# train


def common(root: str, **recipe: Any) -> Common:
    sections = {"name": "recipe", "corpus": {"name": "own", "source": "x"}, **recipe}
    return Common(root=root, recipe=sections, flags={})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"corpus": "own"}, "recipe"),
        ({"corpus": "own@v1"}, "recipe"),
        ({"corpus": "other"}, "other"),
        ({"corpus": "other@v1"}, "other"),
        ({"corpus": "other", "resume": "run"}, "recipe"),  # which is the run's own by now
    ],
)
def test_a_model_is_called_after_the_recipe_or_another_corpus(
    settings: dict[str, Any], name: str
) -> None:
    assert train._model_name(TrainConfig(**settings), common("/root")) == name


def test_a_recipes_corpus_is_built_when_it_is_missing(tmp_path: Path, root: str) -> None:
    missing = train._corpus_to_build
    built = missing(TrainConfig(corpus="own"), common(str(tmp_path)))
    assert built == CorpusConfig(name="own", source="x")
    assert missing(TrainConfig(corpus="own@v1"), common(str(tmp_path))) is None
    assert missing(TrainConfig(corpus="other"), common(str(tmp_path))) is None
    there = common(root, corpus={"name": "texts", "source": "x"})
    assert missing(TrainConfig(corpus="texts"), there) is None


def test_a_run_with_another_source_builds_the_corpus_anew(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")
    own = {"name": "own", "source": str(texts), "val": 0.2, "test": 0.0}
    build(CorpusConfig(**own), root)

    def to_build(reference: str = "own", changed: tuple[str, ...] = ("corpus",)) -> Any:
        told = replace(common(root, corpus=own), changed=frozenset(changed))
        return train._corpus_to_build(TrainConfig(corpus=reference), told)

    assert to_build(changed=()) is None
    assert to_build() is None  # the same source
    own["source"] = str(texts / "abc.py")
    assert to_build() == CorpusConfig(**own)
    assert to_build(changed=("train",)) is None
    # What another corpus, or a version, was built from does not change any more.
    for reference in ("own@v1", "other"):
        with pytest.raises(InputError, match=r"which is not built here; leave out --source"):
            to_build(reference)


def test_a_resumed_run_has_its_own_settings_and_corpus_version(tmp_path: Path) -> None:
    config = {"corpus": "own", "hidden_size": 7}
    start = RunStart(CorpusReference("own", "v1", "f" * 64), "named", config)
    start.write(runs.run_url(str(tmp_path), "run-1"))
    recipe = {"name": "recipe", "train": {"corpus": "x"}, "sample": {"model": "m"}}
    assert train.resumed(recipe, str(tmp_path), {"resume": "run-1"}) == {
        "name": "named",
        "train": {"corpus": "own@v1", "hidden_size": 7},
        "sample": {"model": "m"},
    }
    assert train.resumed(recipe, str(tmp_path), {"seed": "1"}) is recipe


def test_a_job_ends_with_where_the_result_is(caplog: pytest.LogCaptureFixture) -> None:
    def said(**changes: Any) -> list[str]:
        caplog.clear()
        values = {"stopped": False, "val_loss": 1.23456, "val_bits_per_byte": 1.5,
                  "model": "models:/a/1", "champion": True, **changes}  # fmt: skip
        with caplog.at_level("INFO", "unreasonable"):
            train._say_where(SimpleNamespace(**values), "/root")  # type: ignore[arg-type]
        return [record.getMessage() for record in caplog.records]

    assert said() == [
        "val_loss 1.2346, 1.5000 bits per byte; models:/a/1, the champion",
        f"next: {command('sample')} --root /root --model models:/a/1",
    ]
    assert said(champion=False)[0] == "val_loss 1.2346, 1.5000 bits per byte; models:/a/1"
    assert said(stopped=True, run_id="run-1", result=SimpleNamespace(step=7)) == [
        f"stopped at step 7; go on: {command('train')} --root /root --resume run-1"
    ]


def test_a_remote_root_without_a_tracking_server_is_refused_before_ray_starts(
    run: Run, no_ray: None, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(source=texts))
    # As a store says that has no corpus yet.
    monkeypatch.setattr("pipeline.corpora.manifest.latest", lambda root, name: None)
    ended = run("train", "--recipe", recipe, "--root", "s3://bucket/root")
    assert (ended.status, ended.out) == (2, "")
    assert "set MLFLOW_TRACKING_URI" in ended.err


# reproduce


@pytest.mark.parametrize("stopped", [False, True])
def test_a_recipe_ends_with_a_report_or_with_how_to_go_on(
    run: Run,
    tmp_path: Path,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped: bool,
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(source=texts))
    root = str(tmp_path / "root")
    trained = SimpleNamespace(stopped=stopped, run_id="run-1")

    class Done(SimpleNamespace):
        def to_json(self) -> dict[str, Any]:
            return {"stopped": stopped}

    def reproduced(recipe: stages.Recipe, at: str, runner: Any, times: Any) -> Any:
        assert (recipe.name, at) == ("mine", root)
        assert recipe.corpus.source == str(texts)
        assert (recipe.train.hidden_size, recipe.sample.num_files) == (24, 2)
        assert recipe.evaluate is not None
        assert recipe.evaluate.model == "models:/mine@champion"
        assert recipe.explain is None  # it was asked to end before that
        assert list(times.seconds) == ["start"]
        return Done(trained=trained)

    monkeypatch.setattr("cluster.connect.ray_session", lambda **options: contextlib.nullcontext())
    monkeypatch.setattr("cluster.connect.node_count", lambda: 1)
    monkeypatch.setattr(stages, "reproduce", reproduced)
    monkeypatch.setattr(report, "report", lambda done: "the report")
    ended = run("reproduce", "--recipe", recipe, "--root", root, "--until", "evaluate")
    assert json.loads(ended.out) == {"stopped": stopped}
    assert ended.status == (130 if stopped else 0)
    go_on = f"stopped; go on: {command('train')} --root {root} --resume run-1"
    assert ended.log[-1] == (go_on if stopped else "the report")
    # Before Ray starts it is tried whether something can be written: a folder, and no more.
    assert not storage.names(root)


def test_the_posts_four_letters_are_learned_without_any_engine(
    run: Run, no_ray: None, tmp_path: Path
) -> None:
    ended = run("reproduce", "--hello", "--root", tmp_path)
    assert ended.result["learned"] == 4
    assert [line.split()[:2] for line in ended.log[1:8:2]] == [
        ["h", "e"],
        ["e", "l"],
        ["l", "l"],
        ["l", "o"],
    ]
    assert "min-char-rnn" in Path(ended.result["report"]).read_text()


def test_a_claim_that_is_none_is_refused_before_anything_runs(
    run: Run, no_ray: None, tmp_path: Path, texts: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(source=texts) + "reproduce: {claims: [{name: a}]}\n")
    refused = run("reproduce", "--recipe", recipe, "--root", tmp_path / "root").refusal
    assert "recipe mine: claim 1: measured, comparison, expected is not given." in refused


def test_a_corpus_of_other_settings_than_the_recipes_is_told_of(
    tmp_path: Path, texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = str(tmp_path)
    build(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    corpus = open_corpus(root, "texts")
    told = "was built with another test, val than the recipe has; to build it anew: "

    def said(config: TrainConfig, **settings: Any) -> str:
        caplog.clear()
        recipe = {"name": "r", "corpus": {"name": "texts", "source": str(texts), **settings}}
        common = Common(root=root, recipe=recipe, flags={"recipe": "r.yaml"})
        train._say_if_older(corpus, config, common)
        return caplog.text

    config = TrainConfig(corpus="texts", max_steps=1)
    assert f"corpus texts@{corpus.version} {told}" in said(config)
    assert f"build-corpus --root {root} --recipe r.yaml" in said(config)
    assert said(config, val=0.2, test=0.0) == ""
    # Another folder may hold the same documents: where text lies is no setting of this kind.
    assert said(config, val=0.2, test=0.0, source="/elsewhere") == ""
    assert said(config, val=0.3, source="") == ""  # the text is a person's own
    assert said(TrainConfig(corpus=f"texts@{corpus.version}", max_steps=1)) == ""
