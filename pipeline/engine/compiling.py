"""Compiled functions of the engine, kept on disk: what they are made of decides whether what is
kept may be used.

numba keeps compiled code by the content of the one file that a function stands in. The engine's
functions are built into each other over several files, so an edit to tiles.py alone would run old
code out of the cache. Here the key is the content of every file that the engine's code is made of,
and the processor that it is compiled for; pipeline/compiled_code.py keeps it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.registry import cpu_target

from pipeline.compiled_code import keep

_FOLDER = Path(__file__).parent
# Constants of counter_rng.py and model/config.py are built into the code as well.
_SOURCES = (
    *sorted(_FOLDER.glob("*.py")),
    _FOLDER.parent / "counter_rng.py",
    _FOLDER.parent / "model" / "config.py",
)


def compiled(function: Callable[..., Any]) -> Any:
    """numba.njit for the engine: no GIL, IEEE arithmetic as written, cached on disk by
    `sources_digest`.
    """
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    keep(dispatcher, function, sources_digest())
    return dispatcher


@functools.cache
def sources_digest() -> str:
    """SHA-256 over all files that the engine's code is made of."""
    digest = hashlib.sha256()
    for path in _SOURCES:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def target_features() -> set[str]:
    """What the processor that numba compiles for can do, such as "avx512vnni".

    That is the host, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name another one: an instruction
    that the target lacks ends the process in LLVM, whatever the host could do.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return {feature[1:] for feature in features.split(",") if feature.startswith("+")}
