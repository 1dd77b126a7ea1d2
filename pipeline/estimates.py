"""What can be said of a job before it runs: figures with what they rest on, and checks that write
nothing.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline import storage
from pipeline.errors import InputError

# Long enough for a rate that repeats within a tenth, short enough for nobody to wait.
MEASURE_S = 0.2
# From `python jobs/x.py` to the first task of a local Ray: 8-12 s on the two cores it was measured
# on. A cluster that is there already takes 1-2 s.
RAY_START_S = 10.0


@dataclass(frozen=True)
class Estimate:
    """A figure that is not known, and what it was made from."""

    value: float
    basis: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def product_rate(rows: int, inner: int, columns: int, threads: int) -> float:
    """Floating-point operations a second of float32 products (rows, inner) @ (inner, columns).

    Measured in this process for MEASURE_S, on so many threads.
    """
    left = np.ones((rows, inner), np.float32)
    right = np.ones((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)
    # A training worker has as many threads as CPUs; numpy would take all that the machine has.
    with threadpool_limits(threads, user_api="blas"):
        np.matmul(left, right, out=out)  # the first one brings the operands into the cache
        done = 0
        began = time.perf_counter()
        while time.perf_counter() - began < MEASURE_S:
            np.matmul(left, right, out=out)
            done += 1
        seconds = time.perf_counter() - began
    return 2.0 * rows * inner * columns * done / seconds


def check_could_write(url: str, option: str = "--root") -> None:
    """Raise InputError where a local folder could not be made or written, without trying it.

    A remote store can only be asked by writing, so it is not asked.
    """
    if not storage.is_local(url):
        return
    folder = _nearest(url)
    if not os.path.isdir(folder):
        raise InputError(
            f"cannot write under {url}: {folder} is not a folder. Choose another {option}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write under {url}: nobody may write into {folder} as this user. "
            f"Choose another {option}."
        )


def free_bytes(url: str) -> int | None:
    """Bytes that are free where a local URL is, or will be; None for a remote store."""
    if not storage.is_local(url):
        return None
    return shutil.disk_usage(_nearest(url)).free


def _nearest(url: str) -> str:
    """The path itself, or the nearest one above it that exists."""
    path = str(storage.filesystem(url)[1])
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path
