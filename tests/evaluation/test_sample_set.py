"""Sample sets: drawn, read back, and refused when they are not what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import DamagedError, InputError
from pipeline.evaluation.sample_set import SampleSet, draw_samples, read_samples
from pipeline.model.artifact import read_artifact


@pytest.fixture
def drawn(home: str, small: str, tmp_path: Path) -> SampleSet:
    return draw_samples(read_artifact(small), 2, 300, "0.5,1.0", str(tmp_path / "set"), home)


def test_drawn_samples_are_those_of_the_sampling_job(drawn: SampleSet, home: str) -> None:
    assert len(drawn.texts) == 4
    assert sorted(drawn.temperatures.values()) == [0.5, 0.5, 1.0, 1.0]
    for name, text in drawn.texts.items():
        assert Path(drawn.source, name).read_bytes() == text
    assert read_samples(drawn.source) == drawn


def test_a_changed_file_is_named(drawn: SampleSet) -> None:
    name = next(iter(drawn.texts))
    path = Path(drawn.source, name)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DamagedError, match=f"{name} is not the file"):
        read_samples(drawn.source)


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        read_samples(str(tmp_path))
    (tmp_path / "samples.jsonl").write_text("")
    with pytest.raises(InputError, match="lists no samples"):
        read_samples(str(tmp_path))
    (tmp_path / "samples.jsonl").write_text('{"file": 3}\n')
    with pytest.raises(DamagedError, match="is not what"):
        read_samples(str(tmp_path))


def test_no_name_leads_out_of_the_folder(drawn: SampleSet) -> None:
    path = Path(drawn.source, "samples.jsonl")
    record = json.loads(path.read_text().splitlines()[0])
    record["file"] = "sample-/../../secret"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(DamagedError, match="no sample's file"):
        read_samples(drawn.source)


def test_a_set_is_bounded(drawn: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.sample_set.MAX_BYTES", 700)
    with pytest.raises(InputError, match="700"):
        read_samples(drawn.source)
