"""An untrained model, and jobs of it in this process: what it writes is noise, and that is enough
for all that is around the writing.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.model.about import PrecisionCheck
from pipeline.model.artifact import CONFIG, ModelArtifact, check_artifact, json_bytes, parse_about
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import SampleResult
from pipeline.sampling.run import sample_files
from tests.registering import untrained


@pytest.fixture(scope="session")
def model(corpus: Corpus) -> ModelArtifact:
    """A model that registration found to lose nothing in int8."""
    files = untrained(corpus, 16)
    about = parse_about(files, "a test")
    about = dataclasses.replace(about, sampling=PrecisionCheck("int8", 64, 1.0, 1.0))
    files[CONFIG] = json_bytes(about.to_json())
    return check_artifact("m", "1", "models:/m/1", files)


def config(output: Path | str = "", **changes: Any) -> SampleConfig:
    """Settings of a small job."""
    given = {"model": "models:/m/1", "num_files": 11, "num_chars": 1500, "output": str(output)}
    return SampleConfig(**given | changes)


def here(output: Path, model: ModelArtifact, **changes: Any) -> SampleResult:
    """Run a job in this process, without Ray."""
    return sample_files(config(output, **changes), model, "", local=True)


def texts(folder: Path) -> dict[str, bytes]:
    """A job's text files and its samples.jsonl, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("sample*")}


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of samples.jsonl."""
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
