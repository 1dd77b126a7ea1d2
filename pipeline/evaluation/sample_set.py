"""Samples that an evaluation looks at: a folder that jobs/sample.py wrote, or some drawn now."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import SAMPLES
from pipeline.sampling.plan import SampleRecord
from pipeline.sampling.run import sample_files

MAX_BYTES = 64 << 20  # of a whole set: it is held in memory, and indexed at 12 bytes a symbol


@dataclass(frozen=True)
class SampleSet:
    """Samples by file name, and the temperature of each."""

    source: str
    texts: dict[str, bytes]
    temperatures: dict[str, float]


def read_samples(url: str) -> SampleSet:
    """The samples of a folder.

    InputError for a folder that holds none, DamagedError for a file that is not the one recorded.
    """
    folder = storage.absolute(url)
    texts = {}
    temperatures = {}
    room = MAX_BYTES
    for record in sample_records(folder):
        room -= record.bytes
        if room < 0:
            raise InputError(
                f"the samples in {folder} have more than {MAX_BYTES:,} bytes; give a smaller set."
            )
        text = storage.read_given(storage.join(folder, record.file), MAX_BYTES, "sample")
        if storage.sha256_bytes(text) != record.sha256:
            raise DamagedError(
                f"{folder}/{record.file} is not the file that {SAMPLES} tells of; "
                "sample it again with --overwrite."
            )
        texts[record.file] = text
        temperatures[record.file] = record.temperature
    return SampleSet(folder, texts, temperatures)


def draw_samples(
    model: ModelArtifact, files: int, chars: int, temperature: str, output: str, root: str
) -> SampleSet:
    """Write so many samples for each temperature to `output`, or find them there, and read them."""
    config = SampleConfig(
        model=model.uri, num_files=files, num_chars=chars, temperature=temperature, output=output
    )
    sample_files(config, model, root, local=True)
    return read_samples(output)


def sample_records(folder: str) -> list[SampleRecord]:
    """What samples.jsonl of a folder tells. InputError where there is none."""
    url = storage.join(folder, SAMPLES)
    try:
        lines = storage.read_given(url, MAX_BYTES, "list of samples").splitlines()
        records = [SampleRecord.from_json(json.loads(line)) for line in lines]
    except InputError as error:
        raise InputError(
            f"{folder} holds no samples: {error} Give a folder that jobs/sample.py wrote, or the "
            "number of samples to draw."
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{url} is not what jobs/sample.py writes ({error}).") from None
    if not records:
        raise InputError(f"{url} lists no samples; give another folder.")
    for record in records:
        # A name is part of a URL: one with a slash could lead out of the folder.
        if "/" in record.file or not record.file.startswith("sample-"):
            raise DamagedError(f"{url} names {record.file!r}, which is no sample's file.")
    return records
