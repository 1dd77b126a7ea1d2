"""A saved lane: where a text stands, as a safetensors file that nobody could have edited unnoticed.

    tensors    hidden and cell (L, H), logits (V padded), float32
    metadata   lane: JSON of the lane's numbers, and what its writer puts beside them
               sha256: of that JSON and all tensors

The compiled loop believes its numbers: an index out of range reads foreign memory, and a count
below zero never ends. So the digest finds what a disk or a person changed, and every number is
compared with the request it belongs to, whatever the digest says.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from pipeline.engine.request import Request

# What of a lane's numbers moves while it runs: the rest follows from its request.
MOVING = ("position", "left", "begun", "sampled", "matched", "items")
_TENSORS = ("hidden", "cell", "logits")
# A cell's output lies in [-1, 1]. Rounding may pass it by a little, and the int8 activations that
# are made of it (times 127, plus 128.5) stay within a byte up to here.
_LARGEST_OUTPUT = 1.001
# A sum of -log(p) that a GPU's log_softmax rounded may lie below zero by this much a symbol.
_NATS_ROUNDING = 1e-3


@dataclass(frozen=True)
class SavedLane:
    """The facts and tensors of a file whose digest was right."""

    facts: dict[str, Any]
    tensors: dict[str, np.ndarray]


def pack(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Facts and tensors as the bytes of a file."""
    lane = json.dumps(dict(facts))
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return safetensors.numpy.save(arrays, {"lane": lane, "sha256": _digest(lane, arrays)})


def unpack(saved: bytes) -> SavedLane:
    """The contents of such a file. ValueError for anything else, and for an edited one."""
    try:
        # safetensors' format: eight bytes of length, then a JSON header. `load` gives tensors
        # alone.
        size = int.from_bytes(saved[:8], "little")
        metadata = json.loads(saved[8 : 8 + size])["__metadata__"]
        lane = metadata["lane"]
        tensors = safetensors.numpy.load(saved)
        digest = _digest(lane, tensors)
        facts = json.loads(lane)
    except (
        SafetensorError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"it is no saved lane ({type(error).__name__}: {error})") from None
    if "sha256" not in metadata:
        raise ValueError("it has no digest, as those of older versions")
    if metadata["sha256"] != digest:
        raise ValueError("it does not have its digest")
    if not isinstance(facts, dict):
        raise ValueError("it has no facts")
    return SavedLane(facts, tensors)


def saved_facts(saved: bytes) -> dict[str, Any]:
    """The JSON of a saved lane; ValueError for anything else."""
    return unpack(saved).facts


def request_digest(request: Request, stop: np.ndarray) -> str:
    """What a lane was asked, whole: its key leaves out lengths, and what only narrows the
    choice.
    """
    asked = asdict(request) | {
        "prime": hashlib.sha256(request.prime).hexdigest(),
        "stop": stop.tolist(),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def check_numbers(
    facts: Mapping[str, Any], request: Request, prime_symbols: int, stop_symbols: int
) -> None:
    """ValueError, by name, for numbers that a lane of this request never has.

    `prime_symbols` are those of the prime without the line feed that lines read before it.
    """
    found = {name: _whole(facts, name) for name in (*MOVING, "prime_read")}
    has_lines = request.lines > 0
    # Lines read a line feed before the first prime, and one prime for each item that is done.
    line_feed = int(has_lines)
    done = request.lines - found["items"] if has_lines else 0
    of_item = request.num_chars - found["left"]
    prime_read = found["prime_read"]
    before = found["sampled"] - of_item  # symbols of the items that are done
    # An item that is done has a symbol at least.
    fewest = done
    most = done * request.num_chars
    is_reading = prime_read < prime_symbols
    read = prime_read + line_feed + done * prime_symbols
    in_range = {
        "items": 1 <= found["items"] <= request.lines if has_lines else found["items"] == 0,
        "left": 1 <= found["left"] <= request.num_chars and not (is_reading and of_item),
        "prime_read": -line_feed <= prime_read <= prime_symbols and not (done and prime_read < 0),
        "sampled": fewest <= before <= most,
        "position": found["position"] == found["sampled"] + read,
        "begun": found["begun"] == int(found["position"] > 0),
        "matched": 0 <= found["matched"] < max(stop_symbols, 1)
        and found["matched"] <= found["sampled"],
        "nats": _is_nats(facts.get("nats"), found["sampled"]),
    }
    for name, is_right in in_range.items():
        if not is_right:
            raise ValueError(f"{name} is {str(facts.get(name))[:40]}, which its text cannot have")


def check_tensors(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], position: int
) -> None:
    """ValueError for arrays of another shape or type, and for numbers that no step makes."""
    if sorted(tensors) != sorted(_TENSORS):
        raise ValueError(f"it has other tensors than {', '.join(_TENSORS)}")
    # A cell state grows by 1 at most a step: its gates lie in [0, 1], its candidate in [-1, 1].
    largest = {"hidden": _LARGEST_OUTPUT, "cell": position + 1.0, "logits": math.inf}
    for name in _TENSORS:
        array = tensors[name]
        # numpy would spread a smaller array over a larger one without a word.
        if array.dtype != np.float32 or array.shape != shapes[name]:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not float32 {shapes[name]}")
        if not np.isfinite(array).all() or np.abs(array).max(initial=0) > largest[name]:
            raise ValueError(f"{name} holds numbers that no text leads to")


def _whole(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    if type(value) is not int:  # True is an int to isinstance
        raise ValueError(f"{name} is {str(value)[:40]}, no whole number")
    return value


def _is_nats(value: Any, sampled: int) -> bool:
    if type(value) not in (int, float):
        return False
    return math.isfinite(value) and value >= -_NATS_ROUNDING * sampled


def _digest(lane: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(lane.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
