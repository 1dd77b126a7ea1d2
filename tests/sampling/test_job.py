"""A job's output folder: taken for one set of settings, looked through, grouped into tasks,
finished. Nothing here samples: files and records are made by hand.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import WEIGHTS, ModelArtifact, check_artifact
from pipeline.sampling.job import Job, prepare
from pipeline.sampling.plan import Sample, SampleRecord, make_plan
from tests.sampling.conftest import config, here


def planned(model: ModelArtifact, output: Path | str = "", **changes: Any) -> Job:
    """A job of three files whose folder nobody has looked into."""
    return Job(make_plan(config(output, **{"num_files": 3, **changes}), model), str(output))


def written(job: Job, number: int, text: bytes = b"four") -> SampleRecord:
    """Put a file into a job's folder; returns the record that belongs to it."""
    sample: Sample = job.plan.samples[number]
    storage.write_bytes(storage.join(job.output, sample.name), text)
    return job.plan.record(
        sample,
        num_chars=len(text),
        size=len(text),
        sha256=storage.sha256_bytes(text),
        mean_nats=1.0 + number,
    )


def left_behind(job: Job, record: SampleRecord) -> None:
    """Put a record where a killed job leaves it."""
    url = storage.join(job.output, ".partial", f"{record.file}.json")
    storage.write_json(url, record.to_json())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The folder.


def test_an_empty_folder_is_taken_by_its_settings(tmp_path: Path, model: ModelArtifact) -> None:
    job = prepare(config(tmp_path / "new", num_files=3), model, "")
    assert job.output == str(tmp_path / "new")
    assert names(tmp_path / "new") == {"settings.json"}
    settings = json.loads((tmp_path / "new" / "settings.json").read_text())
    assert settings == job.plan.settings
    assert [sample.name for sample in job.missing] == [
        "sample-00000.txt",
        "sample-00001.txt",
        "sample-00002.txt",
    ]


def test_a_folder_that_nobody_names_is_the_models_and_the_settings(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(), model, str(tmp_path))
    assert job.output == f"{tmp_path}/samples/m-1-{job.plan.digest}"
    other = prepare(config(seed=2), model, str(tmp_path))
    assert other.output != job.output


def test_a_name_that_is_no_name_of_a_folder_is_made_one(
    tmp_path: Path, model: ModelArtifact
) -> None:
    odd = dataclasses.replace(model, name="my model: b/c", version="v@1")
    job = prepare(config(), odd, str(tmp_path))
    assert job.output == f"{tmp_path}/samples/my-model-b-c-v-1-{job.plan.digest}"


def test_a_relative_output_is_a_folder_here(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare(config("out"), model, "").output == str(tmp_path / "out")


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"temperature": "0.5"},
        {"top_k": 3},
        {"top_p": 0.9},
        {"stop": "x"},
        {"lines": 3},
        {"precision": "fp32"},
        {"prime": "def "},
        {"num_chars": 7},
    ],
)
def test_other_settings_do_not_mix_with_what_is_there(
    tmp_path: Path, model: ModelArtifact, other: dict[str, Any]
) -> None:
    prepare(config(tmp_path), model, "")
    prepare(config(tmp_path, num_files=2, num_workers=4), model, "")
    with pytest.raises(InputError, match=r"holds samples of other settings; choose another --out"):
        prepare(config(tmp_path, **other), model, "")
    job = prepare(config(tmp_path, **other, overwrite=True), model, "")
    assert json.loads((tmp_path / "settings.json").read_text()) == job.plan.settings


def test_overwriting_removes_what_is_ours_and_nothing_else(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    left_behind(job, written(job, 0))
    for name in ("samples.jsonl", "sample-t1-p0000-00000.txt", "keep.me", "my-sample-1.txt"):
        (tmp_path / name).write_bytes(b"x")
    job = prepare(config(tmp_path, num_files=3, seed=2, overwrite=True), model, "")
    assert names(tmp_path) == {"settings.json", "keep.me", "my-sample-1.txt"}
    assert len(job.missing) == 3
    assert (tmp_path / "keep.me").read_bytes() == b"x"


def test_overwriting_the_same_settings_keeps_what_is_there(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    left_behind(job, written(job, 0))
    job = prepare(config(tmp_path, num_files=3, overwrite=True), model, "")
    assert len(job.missing) == 2


def test_settings_go_last_so_that_half_a_clearing_is_still_refused(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(config(tmp_path), model, "")
    (tmp_path / "sample-00000.txt").write_bytes(b"x")
    (tmp_path / "samples.jsonl").write_bytes(b"")
    order: list[str] = []
    monkeypatch.setattr(storage, "remove_tree", lambda url: order.append(Path(url).name))
    prepare(config(tmp_path, seed=2, overwrite=True), model, "")
    assert order == ["sample-00000.txt", "samples.jsonl", "settings.json"]


@pytest.mark.parametrize("name", ["sample-00000.txt", "samples.jsonl", ".partial"])
def test_files_by_our_names_that_nobody_claims_are_not_touched(
    tmp_path: Path, model: ModelArtifact, name: str
) -> None:
    (tmp_path / name).write_bytes(b"somebody's own")
    with pytest.raises(InputError, match="other settings"):
        prepare(config(tmp_path), model, "")
    assert (tmp_path / name).read_bytes() == b"somebody's own"
    prepare(config(tmp_path, overwrite=True), model, "")
    assert names(tmp_path) == {"settings.json"}


def test_damaged_settings_are_refused_unless_they_are_to_go(
    tmp_path: Path, model: ModelArtifact
) -> None:
    (tmp_path / "settings.json").write_bytes(b"{broken")
    with pytest.raises(DamagedError, match=r"settings\.json is not JSON"):
        prepare(config(tmp_path), model, "")
    prepare(config(tmp_path, overwrite=True), model, "")


def test_a_folder_that_cannot_be_written_is_named(model: ModelArtifact) -> None:
    with pytest.raises(InputError, match=r"cannot write under /proc/samples: .* another --output"):
        prepare(config("/proc/samples"), model, "")


def test_a_folder_that_cannot_be_looked_into_is_named(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> list[str]:
        raise PermissionError("no")

    monkeypatch.setattr(storage, "names", refuse)
    expected = rf"cannot look into {tmp_path}: PermissionError: no\. Choose another --output\."
    with pytest.raises(InputError, match=expected):
        prepare(config(tmp_path), model, "")


def test_a_finished_folder_need_not_be_writable(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    job.add([written(job, number) for number in range(3)])
    job.finish()

    def refuse(*given: Any, **options: Any) -> None:
        raise AssertionError("written to")

    monkeypatch.setattr(storage, "write_json", refuse)
    monkeypatch.setattr(storage, "check_writable", refuse)
    assert prepare(config(tmp_path, num_files=3), model, "").missing == []


# What is there.


def test_files_with_a_record_are_not_sampled_again(tmp_path: Path, model: ModelArtifact) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    first = written(job, 0)
    left_behind(job, written(job, 2))
    (tmp_path / "samples.jsonl").write_text(json.dumps(first.to_json()) + "\n")
    again = prepare(config(tmp_path, num_files=3), model, "")
    assert set(again.records) == {"sample-00000.txt", "sample-00002.txt"}
    assert again.records["sample-00000.txt"] == first
    assert [sample.name for sample in again.missing] == ["sample-00001.txt"]


def test_a_file_of_another_size_than_its_record_is_sampled_again(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    for number in range(3):
        left_behind(job, written(job, number))
    (tmp_path / "sample-00000.txt").write_bytes(b"thr")
    (tmp_path / "sample-00001.txt").write_bytes(b"fives")
    (tmp_path / "sample-00002.txt").unlink()
    assert len(prepare(config(tmp_path, num_files=3), model, "").missing) == 3


def test_of_two_records_the_one_that_a_killed_job_left_counts(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    older = written(job, 0)
    newer = written(job, 0, b"fives")
    left_behind(job, newer)
    (tmp_path / "samples.jsonl").write_text(json.dumps(older.to_json()) + "\n")
    assert prepare(config(tmp_path, num_files=3), model, "").records == {newer.file: newer}
    (tmp_path / "sample-00000.txt").write_bytes(b"four")
    assert prepare(config(tmp_path, num_files=3), model, "").records == {}


@pytest.mark.parametrize(
    "damaged",
    [
        b"{broken",
        b"[1]",
        b"3",
        b'{"file": "sample-00000.txt"}',
        b'{"file": "sample-00000.txt", "bytes": 4}',
    ],
)
def test_records_that_are_none_are_refused_by_name(
    tmp_path: Path, model: ModelArtifact, damaged: bytes
) -> None:
    prepare(config(tmp_path), model, "")
    (tmp_path / "samples.jsonl").write_bytes(damaged)
    expected = rf"{tmp_path}/samples\.jsonl is not what a job writes \(.*\); remove it, or give"
    with pytest.raises(DamagedError, match=expected):
        prepare(config(tmp_path), model, "")


def test_a_damaged_record_of_a_killed_job_is_refused_by_name(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path), model, "")
    left_behind(job, written(job, 0))
    (tmp_path / ".partial" / "sample-00000.txt.json").write_bytes(b"{")
    with pytest.raises(DamagedError, match=r"sample-00000\.txt\.json is not JSON"):
        prepare(config(tmp_path), model, "")


# Tasks.


def test_groups_are_even_and_no_larger_than_the_lanes(model: ModelArtifact) -> None:
    for files, workers in ((1, 1), (1, 4), (64, 1), (65, 1), (130, 2), (300, 2), (1000, 7)):
        job = planned(model, num_files=files, num_workers=workers)
        groups = job.groups()
        sizes = [len(group) for group in groups]
        assert [sample for group in groups for sample in group] == job.plan.samples
        assert max(sizes) <= 64
        assert len(set(sizes[:-1])) <= 1
        assert len(sizes) <= workers * -(-files // (64 * workers))
    assert [len(group) for group in planned(model, num_files=130).groups()] == [44, 44, 42]


@pytest.mark.parametrize("early", [{"stop": "x"}, {"lines": 3}])
def test_where_texts_end_early_a_task_refills_its_lanes(
    model: ModelArtifact, early: dict[str, Any]
) -> None:
    def sizes(files: int, workers: int) -> list[int]:
        job = planned(model, num_files=files, num_workers=workers, **early)
        return [len(group) for group in job.groups()]

    assert sizes(256, 1) == [256]
    assert sizes(257, 1) == [129, 128]
    assert sizes(256, 2) == [128, 128]


def test_only_what_is_missing_is_grouped(tmp_path: Path, model: ModelArtifact) -> None:
    job = planned(model, tmp_path)
    job.add([written(job, 1)])
    (group,) = job.groups()
    assert [sample.name for sample in group] == ["sample-00000.txt", "sample-00002.txt"]


# The end.


def test_a_finished_job_publishes_its_records_in_order(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    records = [written(job, number) for number in (2, 0, 1)]
    for record in records:
        left_behind(job, record)
    beginning = tmp_path / ".partial" / "sample-00001.txt" / "state.safetensors"
    storage.write_bytes(str(beginning), b"")
    job.add(records)
    job.finish()
    lines = (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True)
    in_order = sorted(records, key=lambda record: record.number)
    assert lines == [json.dumps(row.to_json(), sort_keys=True) + "\n" for row in in_order]
    assert names(tmp_path) == {*(row.file for row in records), "samples.jsonl", "settings.json"}


def test_fewer_files_asked_for_do_not_forget_the_others(
    tmp_path: Path, model: ModelArtifact
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    job.add([written(job, number) for number in range(3)])
    job.finish()
    whole = (tmp_path / "samples.jsonl").read_bytes()
    fewer = prepare(config(tmp_path, num_files=1), model, "")
    assert fewer.missing == []
    fewer.finish()
    assert (tmp_path / "samples.jsonl").read_bytes() == whole
    assert fewer.result(0, None).files == 1


def test_other_files_beginnings_stay(tmp_path: Path, model: ModelArtifact) -> None:
    job = prepare(config(tmp_path, num_files=1), model, "")
    job.add([written(job, 0)])
    other = tmp_path / ".partial" / "sample-00004.txt" / "state.safetensors"
    storage.write_bytes(str(other), b"x")
    job.finish()
    assert other.read_bytes() == b"x"


def test_records_that_are_published_already_are_not_written_again(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare(config(tmp_path, num_files=1), model, "")
    job.add([written(job, 0)])
    job.finish()
    monkeypatch.setattr(storage, "write_bytes", lambda *given: 1 / 0)
    job.finish()


def test_a_result_is_over_all_files_of_the_job(tmp_path: Path, model: ModelArtifact) -> None:
    job = prepare(config(tmp_path, num_files=2), model, "")
    job.add([written(job, 0, b"a" * 30), written(job, 1, b"a" * 10)])
    assert job.result(1, 1234).to_json() == {
        "output": str(tmp_path),
        "model": "models:/m/1",
        "precision": "int8",
        "files": 2,
        "chars": 40,
        "mean_nats": (30 * 1.0 + 10 * 2.0) / 40,
        "written": 1,
        "chars_per_sec": 1234,
        "samples": f"{tmp_path}/samples.jsonl",
    }
    assert job.result(0, None).chars_per_sec is None


# What is no number.


def with_weights(model: ModelArtifact, size: float) -> ModelArtifact:
    """The model with weights of their own signs, and all of one size."""
    tensors = safetensors.numpy.load(model.files[WEIGHTS])
    sized = {name: np.sign(value) * np.float32(size) for name, value in tensors.items()}
    files = {**model.files, WEIGHTS: safetensors.numpy.save(sized)}
    return check_artifact("m", "1", "models:/m/1", files)


def test_weights_that_are_not_finite_are_refused_before_anything_is_written(
    tmp_path: Path, model: ModelArtifact
) -> None:
    with pytest.raises(InputError, match="are not finite, so the model is none") as caught:
        prepare(config(tmp_path / "new"), with_weights(model, float("nan")), "")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new" / "settings.json").exists()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_finite_weights_with_products_that_are_not_write_no_record(
    tmp_path: Path, model: ModelArtifact, precision: Any
) -> None:
    huge = with_weights(model, 3e38)
    with pytest.raises(InputError, match="the model's logits are not finite numbers"):
        here(tmp_path, huge, precision=precision, num_files=1)
    assert names(tmp_path) == {"settings.json"}


@pytest.mark.parametrize("nats", ["NaN", "Infinity", "-Infinity"])
def test_a_record_that_is_no_json_is_refused(
    tmp_path: Path, model: ModelArtifact, nats: str
) -> None:
    job = prepare(config(tmp_path, num_files=3), model, "")
    job.add([written(job, number) for number in range(3)])
    job.finish()
    published = tmp_path / "samples.jsonl"
    published.write_text(published.read_text().replace('"mean_nats": 1.0', f'"mean_nats": {nats}'))
    with pytest.raises(DamagedError, match=r"samples\.jsonl is not what a job writes"):
        prepare(config(tmp_path, num_files=3), model, "")
    job.add([dataclasses.replace(written(job, 0), mean_nats=float(nats))])
    with pytest.raises(ValueError, match="not JSON compliant"):
        job.finish()
