"""Checkpoints: a folder that is a superset of the model artifact, complete when its digests.json is there.

    weights.safetensors config.json vocab.json       the model artifact
    optimizer.safetensors lanes.safetensors state.json
    digests.json                                     SHA-256 of each file above; written last

Nothing here is a pickle: safetensors and JSON only. See docs/formats.md.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.training.artifact import ARTIFACT, CONFIG, VOCAB, WEIGHTS, FetchedModel
from pipeline.training.config import ModelConfig
from pipeline.training.model import CharRNN

FORMAT = 2
MODEL_FORMAT = 1
OPTIMIZER, LANES, STATE, METRICS = "optimizer.safetensors", "lanes.safetensors", "state.json", "metrics.jsonl"
DIGESTS = "digests.json"
PREFIX = "checkpoint-"


def name(step: int) -> str:
    return f"{PREFIX}{step:08d}"


def step_of(entry: str) -> int:
    """The step in a checkpoint's name."""
    return int(entry.removeprefix(PREFIX))


def artifact_files(model: CharRNN, vocab: Vocab, about: dict[str, Any]) -> dict[str, bytes]:
    """The model artifact: weights, vocabulary, and a config that also holds `about` (corpus, settings, first tokens)."""
    config = {"format": MODEL_FORMAT, "model": asdict(model.config), **about}
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    return {WEIGHTS: safetensors.torch.save(weights), CONFIG: _json(config), VOCAB: _json(vocab.to_json())}


def training_files(optimizer: dict[str, torch.Tensor], lanes: torch.Tensor, state: dict[str, Any]) -> dict[str, bytes]:
    """What a checkpoint holds beyond the artifact, to go on exactly. `lanes` is all lanes' state, (L, S, B, H)."""
    return {
        OPTIMIZER: safetensors.torch.save(optimizer),
        LANES: safetensors.torch.save({"state": lanes.detach().cpu().contiguous()}),
        STATE: _json({"format": FORMAT, **state}),
    }


def write(url: str, files: dict[str, bytes]) -> None:
    """Write files and, last, their digests: what makes the folder a checkpoint."""
    for file, data in files.items():
        storage.write_bytes(storage.join(url, file), data)
    digests = {file: storage.sha256_bytes(data) for file, data in files.items()}
    storage.write_json(storage.join(url, DIGESTS), digests)


def complete(run_url: str) -> list[str]:
    """Names of a run's complete checkpoints, oldest first."""
    found = [entry for entry in storage.names(run_url) if entry.startswith(PREFIX)]
    return [entry for entry in found if storage.exists(storage.join(run_url, entry, DIGESTS))]


def read_state(url: str) -> dict[str, Any]:
    """A checkpoint's state.json; another format is refused by name."""
    state = storage.read_json(storage.join(url, STATE))
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"{url} is not a format {FORMAT} checkpoint; go on with the program's version that wrote it.")
    return state


def best(run_url: str) -> str | None:
    """Name of the complete checkpoint with the lowest val_loss (the earliest of equals); None when none was evaluated."""
    scored = []
    for entry in complete(run_url):
        state = read_state(storage.join(run_url, entry))
        if state["val_loss"] is not None and math.isfinite(state["val_loss"]):
            scored.append((state["val_loss"], entry))
    return min(scored)[1] if scored else None


def prune(run_url: str, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the best. One disappears with its digests, which go first.

    What a killed write left behind goes too, once a newer checkpoint is complete.
    """
    there = complete(run_url)
    kept = {*there[-keep:], best(run_url)} if len(there) > keep else set(there)
    for entry in storage.names(run_url):
        if entry.startswith(PREFIX) and entry not in kept and there and entry < there[-1]:
            if entry in there:
                storage.remove(storage.join(run_url, entry, DIGESTS))
            storage.remove_tree(storage.join(run_url, entry))


def read(url: str, files: tuple[str, ...], digests: dict[str, str] | None = None) -> dict[str, bytes]:
    """The bytes of some files of a checkpoint or artifact, checked against `digests` (default: the folder's own)."""
    promised = digests if digests is not None else storage.read_json(storage.join(url, DIGESTS))
    if not isinstance(promised, dict):
        raise DamagedError(f"{storage.join(url, DIGESTS)} is not a table of digests; fetch or train the model again.")
    contents = {}
    for file in files:
        try:
            contents[file] = storage.read_bytes(storage.join(url, file))
        except FileNotFoundError:
            raise DamagedError(f"{url} has no {file}; fetch or train the model again.") from None
        if storage.sha256_bytes(contents[file]) != promised.get(file):
            raise DamagedError(f"{storage.join(url, file)} does not have the digest it was published with; fetch it again.")
    return contents


def fetch(url: str) -> FetchedModel:
    """The model in a checkpoint folder, checked against the folder's own digests."""
    if not storage.exists(storage.join(url, DIGESTS)):
        raise InputError(f"no complete checkpoint at {url}; give a folder that has {DIGESTS}.")
    files = read(url, ARTIFACT)
    run, step = url.rstrip("/").split("/")[-2:]
    return fetched(run, step, url, files)


def fetched(model: str, version: str, uri: str, files: dict[str, bytes]) -> FetchedModel:
    """Artifact files, already checked, with what identifies them."""
    digests = {file: storage.sha256_bytes(data) for file, data in files.items()}
    try:
        config = json.loads(files[CONFIG])
        json.dumps(config, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{uri}: {CONFIG} is not JSON ({error}); fetch the model again.") from None
    sections = [config.get(key, {}) for key in ("corpus", "sampling", "lineage")] if isinstance(config, dict) else [None]
    if not all(isinstance(section, dict) for section in sections) or "corpus" not in config:
        raise DamagedError(f"{uri}: {CONFIG} does not say what the model learned; fetch the model again.")
    return FetchedModel(model, version, uri, files, digests, config)


def load_model(files: dict[str, bytes], source: str) -> tuple[CharRNN, Vocab, dict[str, Any]]:
    """Build the model of an artifact's bytes: (model in eval mode, vocabulary, parsed config). `source` is for messages."""
    try:
        config = json.loads(files[CONFIG])
        vocab = Vocab.from_json(json.loads(files[VOCAB]))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DamagedError(f"{source}: {CONFIG} or {VOCAB} is not JSON ({error}); fetch the model again.") from None
    if not isinstance(config, dict) or config.get("format") != MODEL_FORMAT:
        raise InputError(f"{source} is not a format {MODEL_FORMAT} model; use the program's version that wrote it.")
    try:
        model_config = ModelConfig(**config["model"])
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{source}: {CONFIG} does not describe a model ({error}); fetch the model again.") from None
    if model_config.vocab_size != len(vocab):
        raise DamagedError(f"{source}: weights for {model_config.vocab_size} symbols, vocabulary of {len(vocab)}.")
    weights = tensors(files[WEIGHTS], f"{source}/{WEIGHTS}")
    try:
        if not 1 <= model_config.num_layers <= len(weights):
            raise ValueError(f"{model_config.num_layers} layers")
        with torch.device("meta"):  # a shape takes no memory before the weights are seen to have it
            model = CharRNN(model_config)
        model.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise DamagedError(f"{source}: {WEIGHTS} does not fit {CONFIG}: {' '.join(str(error).split())}") from None
    if "first_tokens" in config and not _are_counts(config["first_tokens"], len(vocab)):
        raise DamagedError(f"{source}: first_tokens in {CONFIG} are not (token, count) pairs of its vocabulary.")
    return model.eval(), vocab, config


def _are_counts(pairs: Any, symbols: int) -> bool:
    """Whether these are pairs of a token and how often it occurs: compiled code reads them without looking."""
    return isinstance(pairs, list) and all(
        isinstance(pair, list | tuple)
        and [type(number) for number in pair] == [int, int]
        and 0 <= pair[0] < symbols
        and 0 <= pair[1] < 1 << 53
        for pair in pairs
    )


def tensors(data: bytes, source: str) -> dict[str, torch.Tensor]:
    """The tensors of safetensors bytes; anything else (a pickle, say) is refused by name, unread."""
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedError(f"{source} is not a safetensors file ({error}); fetch the model again.") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, torch.Tensor]:
    """An optimiser's state as 'parameter/key' tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[index]}/{key}": value.detach().cpu().contiguous()
        for index, values in state.items()
        for key, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, names: list[str], stored: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    values: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in stored.items():
        parameter, _, field = key.rpartition("/")
        values.setdefault(names.index(parameter), {})[field] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": values})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
