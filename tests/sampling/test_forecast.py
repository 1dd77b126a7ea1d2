"""What a sampling job would write, compared with what it then writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.engine.saved import pack
from pipeline.errors import InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.model.config import ModelConfig
from pipeline.sampling import forecast as module
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.forecast import Begun, SampleForecast, forecast, untrained
from pipeline.sampling.run import sample_files
from tests.registering import checkpoint


@pytest.fixture
def url(root: str) -> str:
    return checkpoint(root, 16)


def config(url: str, output: Path, **changes: Any) -> SampleConfig:
    given = {"model": url, "num_files": 3, "num_chars": 40, "output": str(output)}
    return SampleConfig(**given | changes)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_job_is_forecast_as_it_then_is(root: str, url: str, tmp_path: Path) -> None:
    settings = config(url, tmp_path / "out", temperature="0.5,1.0", prime="def ")
    before = forecast(settings, root)
    assert files(tmp_path) == set()
    result = sample_files(settings, module_artifact(url), root, local=True)
    assert before.output == result.output
    assert (before.files, before.kept) == (result.files, 0) == (6, 0)
    assert before.characters == result.chars == 240
    assert before.precision == result.precision
    texts = list((tmp_path / "out").glob("sample-*.txt"))
    assert before.bytes.value == sum(path.stat().st_size for path in texts)
    assert set(before.names) <= {path.name for path in texts}
    after = forecast(settings, root)
    assert (after.kept, after.characters) == (6, 0)
    assert after.seconds is not None
    assert after.seconds.value == 1.0


def module_artifact(url: str) -> ModelArtifact:
    from pipeline.model.artifact import read_artifact

    return read_artifact(url)


def test_a_file_that_was_begun_goes_on(root: str, url: str, tmp_path: Path) -> None:
    settings = config(url, tmp_path, num_files=1)
    sample_files(settings, module_artifact(url), root, local=True)
    (tmp_path / "sample-00000.txt").unlink()
    state = tmp_path / ".partial" / "sample-00000.txt" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(pack({"sampled": 15}, {}))
    found = forecast(settings, root)
    assert found.begun == (Begun(file="sample-00000.txt", characters=15),)
    assert (found.kept, found.characters) == (0, 25)
    state.write_bytes(b"broken")
    with pytest.raises(InputError, match="is damaged"):
        forecast(settings, root)
    state.unlink()
    assert forecast(settings, root).begun[0].characters == 0


def test_what_overwrite_would_remove_is_named_and_stays(
    root: str, url: str, tmp_path: Path
) -> None:
    sample_files(config(url, tmp_path, num_files=1), module_artifact(url), root, local=True)
    other = config(url, tmp_path, num_files=1, seed=2)
    with pytest.raises(InputError, match="holds samples of other settings"):
        forecast(other, root)
    before = files(tmp_path)
    found = forecast(dataclasses.replace(other, overwrite=True), root)
    assert found.removed == ("sample-00000.txt", "samples.jsonl", "settings.json")
    assert (found.kept, found.characters) == (0, 40)
    assert files(tmp_path) == before


def test_bad_input_is_refused_as_by_the_job(root: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model models:/m@champion: nothing is registered"):
        forecast(config("models:/m@champion", tmp_path), str(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()
    with pytest.raises(InputError, match="outside the vocabulary"):
        forecast(config(url, tmp_path, prime="\N{SNOWMAN}"), root)
    with pytest.raises(InputError, match="no complete checkpoint"):
        forecast(config(str(tmp_path / "nothing"), tmp_path), root)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="Choose another --output"):
        forecast(config(url, tmp_path / "file" / "below"), root)


def test_lines_count_as_often_as_they_may_come(root: str, url: str, tmp_path: Path) -> None:
    found = forecast(config(url, tmp_path, num_files=1, lines=5, prime="a"), root)
    assert found.characters == 200
    assert found.bytes.value == 205


def test_a_model_to_be_trained_is_forecast_by_its_shape(tmp_path: Path) -> None:
    model = ModelConfig(vocab_size=50, num_layers=1, hidden_size=16)
    settings = SampleConfig(model="models:/m@champion", num_files=2, num_chars=100)
    found = untrained(settings, model, "byte")
    assert (found.version, found.output, found.files, found.characters) == ("", None, 2, 200)
    assert (found.precision, found.bytes.value) == ("auto", 200)
    assert untrained(settings, model, "char").bytes.value == 220


def test_a_step_reads_all_weights_once_and_works_for_each_lane() -> None:
    model = ModelConfig(vocab_size=10, num_layers=1, hidden_size=8)
    read = 32 * 8 + 2 * 32 + 10 * 8 + 10
    lane = 2 * read / 110e9 + 4e-9 * 18
    assert module._step_seconds(model, "fp32", 3) == pytest.approx(4 * read / 30e9 + 3 * lane)
    assert module._step_seconds(model, "int8", 1) == pytest.approx(
        read / 30e9 + 2 * read / 450e9 + 4e-9 * 18
    )


def test_time_is_shared_by_actors_and_not_estimated_for_gpus() -> None:
    model = ModelConfig(vocab_size=10, num_layers=1, hidden_size=8)

    def value(**changes: Any) -> float:
        settings = SampleConfig(model="m", num_files=128, **changes)
        found = module.seconds(settings, model, "fp32", 128, 10**9)
        assert found is not None
        return found.value - 10

    assert value(num_workers=2) == pytest.approx(value() / 2, abs=0.1)
    settings = SampleConfig(model="m", use_gpu=True)
    assert module.seconds(settings, model, "fp32", 1, 100) is None


def test_characters_take_the_bytes_of_the_text_that_was_learnt(root: str, corpus: Corpus) -> None:
    about = module_artifact(checkpoint(root, 16)).about
    width, _ = module._char_bytes("char", about, root)
    assert width == corpus.bytes_in("train") / corpus.tokens_in("train")
    assert module._char_bytes("char", about, storage.join(root, "elsewhere"))[0] == 1.1
    assert module._char_bytes("byte", about, root)[0] == 1.0


def test_a_forecast_is_json(root: str, url: str, tmp_path: Path) -> None:
    found = forecast(config(url, tmp_path), root)
    assert isinstance(found, SampleForecast)
    assert found.to_json()["bytes"]["basis"].startswith("a byte model")
