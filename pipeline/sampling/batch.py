"""The Ray Data adapter of sampling: an actor pool writes files, the driver publishes samples.jsonl last.

A file is complete when it is there; beside it, until the end, lies its record. A job that is run again writes only what
is missing. Which actor writes a file changes nothing in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.progress import Progress, log_to_stderr
from pipeline.sampling.config import SampleConfig
from pipeline.training.artifact import FetchedModel

log = logging.getLogger("unreasonable")

SAMPLES, SETTINGS = "samples.jsonl", "settings.json"


def pending(config: SampleConfig, model: FetchedModel, output: str) -> list[int]:
    """Numbers of the files that are still to be written under `output`; raises InputError as `sample_files` does."""
    Vocab.from_json(json.loads(model.files["vocab.json"])).encode(config.prime.encode())
    _claim(output, _settings(config, model), overwrite=config.overwrite)
    return [number for number in range(config.num_files) if _record(output, _name(number)) is None]


def sample_files(config: SampleConfig, model: FetchedModel, output: str, *, local: bool = False) -> dict[str, Any]:
    """Write the files that `config` asks for under `output`; returns a summary with the list of records.

    Raises InputError for a prime outside the vocabulary, or an output folder that holds other settings' samples.
    `local` runs in this process instead of on Ray.
    """
    missing = pending(config, model, output)
    settings = _settings(config, model)
    names = [_name(number) for number in range(config.num_files)]
    records = {name: record for name in names if (record := _record(output, name)) is not None}
    if records:
        log.info("sample %s: %d of %d files are there already", model.name, len(records), len(names))
    if missing:
        log.info("sample %s: %d files of %s characters", model.uri, len(missing), f"{config.num_chars:,}")
    groups = _groups(missing)
    progress = Progress(f"sample {model.name}", len(missing) * config.num_chars, "chars")
    results = _here(groups, config, model, output) if local else _on_ray(groups, config, model, output)
    for done in results:
        for record in done:
            records[record["file"]] = record
            progress.add(record["num_chars"], f"{len(records)} of {len(names)} files")
    progress.finish(f"{len(names)} files")
    lines = [json.dumps({**records[name], **settings["identity"]}, sort_keys=True) for name in names]
    storage.write_bytes(storage.join(output, SAMPLES), "".join(f"{line}\n" for line in lines).encode())
    return {
        "output": output,
        "files": len(names),
        "chars": config.num_chars * len(names),
        "written": len(missing),
        "chars_per_sec": round(progress.rate()) if missing else None,
        "samples": storage.join(output, SAMPLES),
    }


def default_output(root: str, model: FetchedModel, config: SampleConfig) -> str:
    """Where samples go unless told otherwise: a folder for each model and settings."""
    settings = storage.sha256_bytes(json.dumps(_settings(config, model), sort_keys=True).encode())[:6]
    return storage.join(root, "samples", re.sub(r"[^\w.-]+", "-", f"{model.name}-{model.version}-{settings}"))


def _settings(config: SampleConfig, model: FetchedModel) -> dict[str, Any]:
    """What decides the files' bytes, besides how many they are."""
    identity = {
        "model": model.name,
        "version": model.version,
        "weights_sha256": model.digests["weights.safetensors"],
        "corpus": model.config["corpus"],
        "precision": "fp32",
    }
    keep = ("num_chars", "temperature", "top_k", "prime", "seed")
    return {"identity": identity, **{key: value for key, value in asdict(config).items() if key in keep}}


def _claim(output: str, settings: dict[str, Any], *, overwrite: bool) -> None:
    """Take an output folder for these settings; one that holds other settings' files is refused, or emptied."""
    url = storage.join(output, SETTINGS)
    if storage.exists(url):
        if storage.read_json(url) == settings:
            return
        if not overwrite:
            raise InputError(f"{output} holds samples of other settings; choose another --output, or give --overwrite true.")
        for name in storage.names(output):
            if name in (SAMPLES, SETTINGS) or name.startswith("sample-"):
                storage.remove_tree(storage.join(output, name))
    storage.check_writable(output)
    storage.write_json(url, settings)


def _record(output: str, name: str) -> dict[str, Any] | None:
    url = storage.join(output, _record_name(name))
    return storage.read_json(url) if storage.exists(url) else None


def _record_name(name: str) -> str:
    return f"{name}.json"


def _name(number: int) -> str:
    return f"sample-{number:05d}.txt"


def _groups(numbers: list[int]) -> list[list[int]]:
    from pipeline.sampling.engine import LANE_WIDTH

    return [numbers[at : at + LANE_WIDTH] for at in range(0, len(numbers), LANE_WIDTH)]


class Sampler:
    """One actor: builds the engine once, then writes groups of files."""

    def __init__(self, config: SampleConfig, model: FetchedModel, output: str) -> None:
        import torch

        from pipeline.sampling.engine import Engine
        from pipeline.training.checkpoint import load_model

        torch.set_num_threads(1)  # other counts may sum in another order
        self.config, self.output = config, output
        network, self.vocab, about = load_model(model.files, model.uri)
        self.engine = Engine(network, self.vocab, about["first_tokens"])

    def write(self, numbers: list[int]) -> list[dict[str, Any]]:
        """Sample the numbered files side by side and publish each, its record last."""
        from pipeline.sampling.engine import Request

        config = self.config
        prime = config.prime.encode()
        log.info("files %d-%d: sampling", numbers[0], numbers[-1])
        requests = [
            Request(number, config.num_chars, config.temperature, config.top_k, prime, config.seed) for number in numbers
        ]
        texts, nats = [io.BytesIO(prime) for _ in numbers], [0.0] * len(numbers)
        for text in texts:
            text.seek(0, io.SEEK_END)
        progress = Progress(f"files {numbers[0]}-{numbers[-1]}", config.num_chars * len(numbers), "chars", every_s=5.0)
        for lane, tokens, summed in self.engine.stream(requests):
            texts[lane].write(self.vocab.decode(tokens))
            nats[lane] += summed
            progress.add(len(tokens))
        return [self._publish(number, text.getvalue(), total) for number, text, total in zip(numbers, texts, nats, strict=True)]

    def _publish(self, number: int, text: bytes, nats: float) -> dict[str, Any]:
        name, config = _name(number), self.config
        record = {
            "file": name,
            "number": number,
            "num_chars": config.num_chars,
            "bytes": len(text),
            "sha256": hashlib.sha256(text).hexdigest(),
            "mean_nats": nats / config.num_chars,
            "temperature": config.temperature,
            "top_k": config.top_k,
            "prime": config.prime,
            "seed": config.seed,
        }
        storage.write_bytes(storage.join(self.output, name), text)
        storage.write_json(storage.join(self.output, _record_name(name)), record)
        return record


class RaySampler:
    """A Sampler as Ray Data's actor: a row of file numbers in, a row of records out."""

    def __init__(self, config: SampleConfig, shared: list[Any], output: str) -> None:
        import ray

        log_to_stderr()
        self.sampler = Sampler(config, ray.get(shared[0]), output)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"records": json.dumps(self.sampler.write(json.loads(row["numbers"])))}


def _here(groups: list[list[int]], config: SampleConfig, model: FetchedModel, output: str) -> Iterator[list[dict[str, Any]]]:
    sampler = Sampler(config, model, output)
    for numbers in groups:
        yield sampler.write(numbers)


def _on_ray(groups: list[list[int]], config: SampleConfig, model: FetchedModel, output: str) -> Iterable[list[dict[str, Any]]]:
    import ray.data

    if not groups:
        return
    dataset = ray.data.from_items([{"numbers": json.dumps(numbers)} for numbers in groups], override_num_blocks=len(groups))
    actors = ray.data.ActorPoolStrategy(size=min(config.num_workers, len(groups)))
    shared = ray.put(model)  # one copy per node, whatever the number of actors
    mapped = dataset.map(RaySampler, fn_constructor_args=(config, [shared], output), compute=actors, num_cpus=1)
    for row in mapped.iter_rows():
        yield json.loads(row["records"])
