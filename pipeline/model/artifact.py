"""A model's three files: read with their digests checked, checked for sense, and loaded.

    weights.safetensors   torch.nn's names and layout
    config.json           about.ModelAbout
    vocab.json            corpora.vocab.Vocab

Files come from anywhere, so nothing in them is believed: no pickle is read, every shape is compared
with the config, and a model is built only from files that fit each other. torch is imported by
`load_network` alone: who samples needs none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import ModelAbout
from pipeline.model.config import ModelConfig
from pipeline.runs import DIGESTS

if TYPE_CHECKING:
    from pipeline.model.network import CharRNN

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
VOCAB = "vocab.json"
ARTIFACT = (WEIGHTS, CONFIG, VOCAB)
CARD = "MODEL_CARD.md"  # registered beside them; nothing reads it but people
FLOATS = ("float16", "float32", "float64")  # what numpy and torch both have


@dataclass(frozen=True)
class ModelArtifact:
    """A model's three files, whose digests were right, and what identifies it.

    `name` and `version` are the registry's, or the run's id and the checkpoint's name.
    """

    name: str
    version: str
    uri: str
    files: dict[str, bytes]
    digests: dict[str, str]
    about: ModelAbout


@dataclass(frozen=True)
class LoadedWeights:
    """A model's files as arrays that fit each other: weights by name, in the shapes of
    about.model.shapes().
    """

    about: ModelAbout
    vocab: Vocab
    weights: dict[str, np.ndarray]


def artifact_files(network: CharRNN, vocab: Vocab, about: ModelAbout) -> dict[str, bytes]:
    """The three files of a network."""
    import safetensors.torch

    state = network.state_dict()
    # safetensors writes a tensor's memory as it lies, so a transposed one has to be laid out first.
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        WEIGHTS: safetensors.torch.save(weights),
        CONFIG: json_bytes(about.to_json()),
        VOCAB: json_bytes(vocab.to_json()),
    }


def json_bytes(value: Any) -> bytes:
    """JSON as an artifact and a checkpoint hold it."""
    # Sorted, so that equal content has equal bytes, and a digest can stand for it.
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def read_files(
    url: str, names: tuple[str, ...], digests: dict[str, str] | None = None
) -> dict[str, bytes]:
    """The bytes of some files of a folder, checked against `digests` (default: the folder's own
    digests.json).

    Raises DamagedError by the name of a file that is missing or has another digest.
    """
    promised = digests
    if promised is None:
        promised = storage.read_json(storage.join(url, DIGESTS))
    if not isinstance(promised, dict):
        raise DamagedError(
            f"{storage.join(url, DIGESTS)} is not a table of digests; "
            "fetch or train the model again."
        )
    contents = {}
    for name in names:
        try:
            contents[name] = storage.read_bytes(storage.join(url, name))
        except FileNotFoundError:
            raise DamagedError(f"{url} has no {name}; fetch or train the model again.") from None
        if storage.sha256_bytes(contents[name]) != promised.get(name):
            raise DamagedError(
                f"{storage.join(url, name)} does not have the digest it was published with; "
                "fetch it again."
            )
    return contents


def read_artifact(url: str) -> ModelArtifact:
    """The model in a checkpoint's folder. InputError when there is no complete checkpoint."""
    # The digests are written last and removed first: without them the folder is half a checkpoint.
    if not storage.exists(storage.join(url, DIGESTS)):
        raise InputError(f"no complete checkpoint at {url}; give a folder that has {DIGESTS}.")
    files = read_files(url, ARTIFACT)
    run_id, checkpoint = url.rstrip("/").split("/")[-2:]
    return check_artifact(run_id, checkpoint, url, files)


def check_artifact(name: str, version: str, uri: str, files: dict[str, bytes]) -> ModelArtifact:
    """Files whose digests were right, with what identifies them. The config is parsed; weights are
    not looked at.
    """
    digests = {file: storage.sha256_bytes(data) for file, data in files.items()}
    about = parse_about(files, uri)
    return ModelArtifact(name, version, uri, files, digests, about)


def parse_about(files: dict[str, bytes], source: str) -> ModelAbout:
    """The parsed config.json."""
    return ModelAbout.from_json(_parsed(files, CONFIG, source), f"{source}: {CONFIG}")


def parse_vocab(files: dict[str, bytes], source: str) -> Vocab:
    """The parsed vocab.json."""
    return Vocab.from_json(_parsed(files, VOCAB, source))


def load_weights(files: dict[str, bytes], source: str) -> LoadedWeights:
    """A model's files as numpy arrays, without torch. `source` is for messages.

    Raises InputError for another format, DamagedError for files that do not fit each other.
    """
    about, vocab = _parsed_pair(files, source)
    try:
        weights = safetensors.numpy.load(files[WEIGHTS])
    except KeyError:
        # numpy has no bfloat16; safetensors says so by the name that its table of types lacks.
        raise _no_floats(source) from None
    except (SafetensorError, ValueError) as error:
        raise _no_safetensors(source, error) from None
    if not all(value.dtype.name in FLOATS for value in weights.values()):
        raise _no_floats(source)
    _check_shapes(about.model, {name: value.shape for name, value in weights.items()}, source)
    _check_finite(weights, source)
    return LoadedWeights(about, vocab, weights)


def load_network(files: dict[str, bytes], source: str) -> tuple[CharRNN, Vocab, ModelAbout]:
    """The torch network of a model's files in eval mode, its vocabulary, and its config. Errors as
    `load_weights`.
    """
    import safetensors.torch
    import torch

    from pipeline.model.network import CharRNN

    about, vocab = _parsed_pair(files, source)
    try:
        weights = safetensors.torch.load(files[WEIGHTS])
    except KeyError:
        raise _no_floats(source) from None
    except (SafetensorError, ValueError) as error:
        raise _no_safetensors(source, error) from None
    if not all(str(value.dtype).removeprefix("torch.") in FLOATS for value in weights.values()):
        raise _no_floats(source)
    _check_shapes(
        about.model, {name: tuple(value.shape) for name, value in weights.items()}, source
    )
    _check_finite({name: value.numpy() for name, value in weights.items()}, source)
    # On "meta" the network takes no memory and draws no random numbers; the weights become its own.
    with torch.device("meta"):
        network = CharRNN(about.model)
    network.load_state_dict(weights, assign=True)
    return network.eval(), vocab, about


def _parsed(files: dict[str, bytes], name: str, source: str) -> Any:
    """A file's JSON. Text with lone surrogates is refused too: it could not be written again."""
    try:
        value = json.loads(files[name])
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{source}: {name} is not JSON ({error}); fetch the model again."
        ) from None
    return value


def _parsed_pair(files: dict[str, bytes], source: str) -> tuple[ModelAbout, Vocab]:
    """Config and vocabulary, which must be of one size."""
    about = parse_about(files, source)
    vocab = parse_vocab(files, source)
    if about.model.vocab_size != len(vocab):
        raise DamagedError(
            f"{source}: weights for {about.model.vocab_size} symbols, vocabulary of {len(vocab)}."
        )
    return about, vocab


def _check_shapes(model: ModelConfig, shapes: dict[str, tuple[int, ...]], source: str) -> None:
    """Refuse weights that are not what the config describes."""
    # A layer has four tensors. A config may claim any number of layers, and a table of shapes for
    # all of them would fill the memory, so a claim beyond the tensors is refused before.
    if model.num_layers > len(shapes):
        raise DamagedError(f"{source}: {WEIGHTS} does not fit {CONFIG}: {model.num_layers} layers.")
    wanted = model.shapes()
    for name in sorted(wanted.keys() | shapes.keys()):
        if name not in shapes:
            reason = f"{name} is missing"
        elif name not in wanted:
            reason = f"the model has no {name}"
        elif shapes[name] != wanted[name]:
            reason = f"{name} is {shapes[name]}, not {wanted[name]}"
        else:
            continue
        raise DamagedError(f"{source}: {WEIGHTS} does not fit {CONFIG}: {reason}.")


def _check_finite(weights: dict[str, np.ndarray], source: str) -> None:
    """Refuse weights that a run which diverged leaves: every text of theirs would be noise."""
    for name in sorted(weights):
        # As they are computed with: a float64 may be beyond all float32.
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(weights[name].astype(np.float32, copy=False))
        if not is_finite.all():
            count = is_finite.size - int(np.count_nonzero(is_finite))
            raise InputError(
                f"{source}: {count:,} of the {is_finite.size:,} numbers of {name} are not finite, "
                "so the model is none; take an earlier checkpoint, or train again."
            )


def _no_floats(source: str) -> DamagedError:
    return DamagedError(
        f"{source}: {WEIGHTS} holds other numbers than {', '.join(FLOATS)}; fetch the model again."
    )


def _no_safetensors(source: str, error: Exception) -> DamagedError:
    return DamagedError(
        f"{source}/{WEIGHTS} is not a safetensors file ({error}); fetch the model again."
    )
