"""What is said before workers start: unknown runs, other settings, short splits, damage."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.interleaved import Streams
from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference
from pipeline.training import preflight
from pipeline.training.config import TrainConfig
from pipeline.training.lanes import crossing
from pipeline.training.preflight import (
    RunStart,
    check_machine,
    check_run,
    check_same_settings,
    started,
)
from tests.training.conftest import SMALL

START = RunStart(CorpusReference("small", "0123", "0123456"), "model", {"seed": 1})
JSON: dict[str, Any] = {
    "format": 1,
    "corpus": {"name": "small", "version": "0123", "fingerprint": "0123456"},
    "recipe": "model",
    "config": {"seed": 1},
}


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **changes})


@pytest.fixture
def root(small_root: str, tmp_path: Path) -> str:
    """A root of one's own, with the corpus `small`."""
    shutil.copytree(Path(small_root) / "corpora", tmp_path / "corpora")
    return str(tmp_path)


def write_start(root: str, run_id: str, **changes: Any) -> Path:
    start = RunStart(START.corpus, "model", dataclasses.asdict(config(**changes)))
    start.write(runs.run_url(root, run_id))
    return Path(root, "runs", run_id)


def test_a_start_is_json_and_comes_back(tmp_path: Path) -> None:
    START.write(str(tmp_path))
    assert json.loads((tmp_path / "start.json").read_text()) == JSON == START.to_json()
    assert RunStart.read(str(tmp_path)) == START


@pytest.mark.parametrize(
    "value",
    [
        {key: item for key, item in JSON.items() if key != "corpus"},
        {key: item for key, item in JSON.items() if key != "recipe"},
        JSON | {"corpus": {"name": "small"}},
        JSON | {"corpus": 5},
        JSON | {"config": 5},
        JSON | {"config": ["seed"]},
        [],
    ],
)
def test_what_is_no_start_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    (tmp_path / "start.json").write_text(json.dumps(value))
    with pytest.raises(DamagedError) as caught:
        RunStart.read(str(tmp_path))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/start.json is not what a run starts with (")
    assert text.endswith("); restore it.")


def test_a_run_may_start(root: str, small_corpus: Corpus) -> None:
    corpus = check_run(config(), root)
    assert (corpus.name, corpus.version) == ("small", small_corpus.version)
    assert Path(root, "runs").is_dir()
    assert list(Path(root, "runs").iterdir()) == []  # of the attempt to write nothing is left


def test_a_run_may_go_on(root: str) -> None:
    write_start(root, "one")
    assert started(root, "one").recipe == "model"
    assert check_run(config(resume="one", max_steps=99), root).name == "small"


def test_an_unknown_run_is_refused_with_those_there_are(root: str) -> None:
    with pytest.raises(InputError) as caught:
        check_run(config(resume="nope"), root)
    assert str(caught.value) == f"no run 'nope' under {root}; the newest are: none."
    for number in range(7):
        write_start(root, f"run-{number}")
    with pytest.raises(InputError) as caught:
        started(root, "nope")
    assert str(caught.value) == (
        f"no run 'nope' under {root}; the newest are: run-2, run-3, run-4, run-5, run-6."
    )


def test_a_finished_run_is_refused(root: str) -> None:
    folder = write_start(root, "one")
    (folder / "run.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        check_run(config(resume="one"), root)
    assert str(caught.value) == "run one is finished; start a new run, or sample its model."


def test_a_run_of_before_a_setting_had_its_default() -> None:
    before = dataclasses.asdict(config())
    del before["max_rollbacks"]
    check_same_settings(before, config())
    with pytest.raises(InputError, match="this one had --max_rollbacks 10"):
        check_same_settings(before, config(max_rollbacks=3))


def test_a_run_is_resumed_with_its_settings(root: str) -> None:
    write_start(root, "one", hidden_size=16, seed=3)
    with pytest.raises(InputError) as caught:
        check_run(config(resume="one", hidden_size=17), root)
    assert str(caught.value) == (
        "a resumed run keeps its settings; this one had --hidden_size 16, --seed 3. "
        "Give these, or start a new run."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 99},
        {"max_epochs": 3},
        {"max_minutes": 1.5},
        {"corpus": "small@0123"},
        {"verify": True},
        {"num_workers": 2},
        {"cpus_per_worker": 2},
        {"use_gpu": True},
        {"checkpoint_every": 7},
        {"keep_checkpoints": 7},
        {"sample_every": 7},
        {"sample_chars": 7},
        {"resume": "one"},
        {"eval_every": 7},
        {"eval_lanes": 7},
        {"patience": 7},
        {"accumulate": 7},
    ],
)
def test_where_and_how_long_a_run_goes_on_may_change(changes: dict[str, Any]) -> None:
    check_same_settings(dataclasses.asdict(config()), config(**changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_steps": 99}, "--max_steps 20"),
        ({"max_epochs": 3}, "--max_epochs 0"),
    ],
)
def test_cosine_keeps_its_end(changes: dict[str, Any], named: str) -> None:
    before = dataclasses.asdict(config(schedule="cosine"))
    with pytest.raises(InputError, match=named):
        check_same_settings(before, config(schedule="cosine", **changes))


def test_what_does_not_compare_any_more_is_said(caplog: pytest.LogCaptureFixture) -> None:
    before = dataclasses.asdict(config())
    preflight.say_changes(before, config(eval_every=7, patience=3))
    assert caplog.messages == []
    preflight.say_changes(before, config(accumulate=2, eval_lanes=7))
    first, second = caplog.messages
    assert first.startswith("accumulate was 1: ")
    assert second.startswith("eval_lanes was 4: ")


def test_minutes_are_no_end_that_cosine_is_drawn_towards() -> None:
    before = dataclasses.asdict(config(schedule="cosine"))
    check_same_settings(before, config(schedule="cosine", max_minutes=1.0, num_workers=2))


def test_a_setting_of_another_version_is_refused_a_new_one_is_not() -> None:
    before = dataclasses.asdict(config())
    check_same_settings({key: before[key] for key in before if key != "compile"}, config())
    with pytest.raises(InputError, match="--zeal 5"):
        check_same_settings(before | {"zeal": 5}, config())


def test_a_split_too_short_for_the_lanes_is_refused(root: str) -> None:
    with pytest.raises(InputError, match=r"train split has [\d,]+ tokens; 900 lanes of seq_len 20"):
        check_run(config(global_batch_size=900), root)


@pytest.mark.parametrize(("length", "refused"), [(1, True), (2, False)])
def test_evaluation_needs_two_tokens(tmp_path: Path, length: int, refused: bool) -> None:
    (tmp_path / "t.txt").write_bytes(b"x" * 2000)
    source = str(tmp_path / "t.txt")
    share = length / 2000
    build_corpus(
        CorpusConfig(name="small", source=source, split="tail", val=share, test=0.0), str(tmp_path)
    )
    if not refused:
        assert check_run(config(), str(tmp_path)).tokens_in("val") == 2
        return
    with pytest.raises(InputError) as caught:
        check_run(config(), str(tmp_path))
    assert str(caught.value) == (
        "corpus small has 1 val tokens; evaluation needs 2: build it with a larger --val share."
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_shards_are_opened_and_on_request_read(root: str, small_corpus: Corpus, split: str) -> None:
    shard = Path(root, "corpora", "small", small_corpus.version, f"{split}-00000.arrow")
    good = shard.read_bytes()
    middle = len(good) // 2
    shard.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    check_run(config(), root)
    with pytest.raises(DamagedError, match=rf"{split}-00000\.arrow does not have the digest"):
        check_run(config(verify=True), root)
    shard.write_bytes(good[:-1])
    with pytest.raises(DamagedError, match=rf"{split}-00000\.arrow"):
        check_run(config(), root)


def test_a_root_that_cannot_be_written_is_refused(root: str) -> None:
    Path(root, "runs").write_text("a file stands where the runs would be")
    with pytest.raises(InputError, match=r"cannot write under .*/runs.*Choose another --root\."):
        check_run(config(), root)


def test_what_this_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(preflight, "_gpus", lambda: 1)
    check_machine(2, 2)
    check_machine(1, use_gpu=True)
    with pytest.raises(InputError, match=r"3 workers need 6 CPUs, this machine has 4; lower"):
        check_machine(3, 2)
    with pytest.raises(InputError, match=r"2 workers need 2 GPUs, this machine has 1; leave out"):
        check_machine(2, use_gpu=True)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_machine(99, 9, use_gpu=True)  # the cluster is asked once it is connected


def test_a_model_is_as_large_as_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    for cell in ("lstm", "gru", "rnn"):
        for embedding_size in (0, 7):
            one = config(cell=cell, num_layers=3, hidden_size=11, embedding_size=embedding_size)
            shapes = one.model(50).shapes().values()
            assert preflight._parameters(one, 50) == sum(math.prod(shape) for shape in shapes)
    huge = config(num_layers=10**12)
    with pytest.raises(InputError, match=r"a model of .* parameters takes .* lower --hidden_size"):
        preflight._check_size(huge, 50)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(InputError, match="parameters takes"):
        preflight._check_size(huge, 50)


def test_a_warm_up_that_never_ends_is_warned_of(
    root: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"schedule": "cosine", "max_steps": 20}
    check_run(config(**settings, warmup_steps=19), root)
    assert "warmup_steps" not in caplog.text
    check_run(config(**settings, warmup_steps=20), root)
    assert "warmup_steps is 20, and the run has 20 steps" in caplog.text
    check_run(config(max_steps=20, warmup_steps=20), root)  # of no other schedule


def test_nothing_is_compiled_without_a_compiler(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++" if name == "c++" else None)
    check_run(config(compile=True, cell="gru"), root)
    monkeypatch.setattr("shutil.which", lambda name: None)
    check_run(config(), root)
    with pytest.raises(InputError, match=r"compile needs a C\+\+ compiler"):
        check_run(config(compile=True, cell="gru"), root)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_run(config(compile=True, cell="gru"), root)


def test_workers_of_one_machine_share_its_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = config(hidden_size=64, global_batch_size=8)
    needed = preflight._parameters(one, 50) * preflight._BYTES_A_PARAMETER
    memory = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": int(1.5 * needed)}
    monkeypatch.setattr("os.sysconf", memory.get)
    preflight._check_size(one, 50)
    assert "may take about" in caplog.text  # with its process and activations
    with pytest.raises(InputError, match="on 2 workers, and there are"):
        preflight._check_size(config(hidden_size=64, num_workers=2), 50)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    preflight._check_size(config(hidden_size=64, num_workers=2), 50)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_a_resize_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert preflight.resize_s() == preflight.RESIZE_S
    monkeypatch.setenv("UNREASONABLE_RESIZE_S", "2.5")
    assert preflight.resize_s() == 2.5
    monkeypatch.setenv("UNREASONABLE_RESIZE_S", value)
    with pytest.raises(InputError, match=f"UNREASONABLE_RESIZE_S is '{value}'"):
        check_machine(1)


def test_lanes_that_are_not_the_streams_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("some text to read\n" * 500)
    settings = CorpusConfig(
        name="small", source=str(source), split="interleaved", streams=4, stream_seq_len=20,
        val=0.1, test=0.0,
    )  # fmt: skip
    build_corpus(settings, str(tmp_path / "root"))
    caplog.clear()
    check_run(config(global_batch_size=4), str(tmp_path / "root"))
    assert caplog.messages == []
    check_run(config(global_batch_size=6), str(tmp_path / "root"))
    assert caplog.messages == [f"corpus small: {crossing(Streams(4, 1), 6)}"]
