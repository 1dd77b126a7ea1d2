"""Compiled code is kept on disk, and used again only while all that it is made of is the same."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from pipeline.engine import compiling, tiles
from pipeline.engine.compiling import compiled, sources_digest, target_features

HOUSE = Path(__file__).parent.parent.parent

# Multiplies by the smallest compiled function that a tile is built into; prints the first outputs,
# and how often its code came from the disk.
MULTIPLY = """
import numpy as np
from pipeline.engine import step

out = np.zeros((1, 64), np.float32)
x = np.array([[2.0, 3.0]], np.float32)
panel = np.arange(128, dtype=np.float32)
step._multiply_floats(out.ctypes.data, out.strides[0], x, panel.ctypes.data, 1)
hits = sum(step._multiply_floats.stats.cache_hits.values())
print(*out[0, :3].tolist(), hits)
"""


def multiplied(house: Path, cache: Path | None = None, **more: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", MULTIPLY],
        capture_output=True,
        text=True,
        cwd=house,
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache or house / "cache"),
            "PYTHONPATH": str(house),
            **more,
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(word) for word in done.stdout.split()]


def test_an_edit_of_any_source_compiles_anew(tmp_path: Path) -> None:
    shutil.copytree(
        HOUSE / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    # Input k adds x[k] * panel[k, column]: 2 * column + 3 * (64 + column).
    assert multiplied(tmp_path) == [192.0, 197.0, 202.0, 0]
    assert multiplied(tmp_path) == [192.0, 197.0, 202.0, 1]
    # step.py, in which the function stands, is left as it is.
    path = tmp_path / "pipeline" / "engine" / "tiles.py"
    code = path.read_text()
    edited = code.replace(
        "builder.call(fma, [value, weight, total])", "builder.call(fma, [value, value, total])"
    )
    assert edited != code
    path.write_text(edited)
    assert multiplied(tmp_path) == [13.0, 13.0, 13.0, 0]  # 2 * 2 + 3 * 3


def test_the_digest_covers_all_that_compiled_code_is_made_of() -> None:
    names = {str(path.relative_to(HOUSE / "pipeline")) for path in compiling._SOURCES}
    own = {f"engine/{name}.py" for name in ("kernels", "step", "arithmetic", "tiles", "compiling")}
    assert own <= names
    # Modules whose functions and constants are built into the code: what these import.
    for module in ("kernels", "step", "arithmetic", "tiles"):
        tree = ast.parse((HOUSE / "pipeline" / "engine" / f"{module}.py").read_text())
        imported = {
            node.module.removeprefix("pipeline.").replace(".", "/") + ".py"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline.")
        }
        assert imported
        assert imported <= names
    assert len(names) == len(compiling._SOURCES)


def test_the_digest_changes_with_a_byte_of_any_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    of_this_process = sources_digest()
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("x = 1\n")
    monkeypatch.setattr(compiling, "_SOURCES", tuple(files))
    digests = {sources_digest.__wrapped__()}
    for file in files:
        file.write_text("x = 2\n")
        digests.add(sources_digest.__wrapped__())
    assert len(digests) == 3
    # Made once a process: files that change under a running one must not mix old and new code.
    assert sources_digest() == of_this_process
    assert sources_digest() not in digests


def test_a_compiled_function_is_kept_by_the_digest() -> None:
    made = compiled(test_a_compiled_function_is_kept_by_the_digest)
    assert made._cache._cache_file._source_stamp == sources_digest()
    assert made._cache._enabled
    assert made.targetoptions["nogil"] is True
    assert made.targetoptions["error_model"] == "numpy"
    assert not made.targetoptions.get("fastmath")  # arithmetic as written


def test_the_target_decides_on_the_dot_product() -> None:
    features = target_features()
    assert ("avx512vnni" in features) == tiles._VNNI
    assert not any(feature.startswith(("+", "-")) for feature in features)
    if not numba.config.CPU_NAME:
        import llvmlite.binding

        host = llvmlite.binding.get_host_cpu_features()
        assert features <= {name for name, has in host.items() if has}


# What is on disk.


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("step._multiply_floats-*.nbc"))


def test_a_truncated_or_damaged_file_is_compiled_again_and_healed(tmp_path: Path) -> None:
    assert multiplied(HOUSE, tmp_path) == [192.0, 197.0, 202.0, 0]
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (
        b"",
        whole[:20],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    ):
        path.write_bytes(damaged)
        assert multiplied(HOUSE, tmp_path) == [192.0, 197.0, 202.0, 0]
        assert kept(tmp_path) == [path]
        assert multiplied(HOUSE, tmp_path) == [192.0, 197.0, 202.0, 1]
    # numba's own index names data before they are there; here there is none.
    assert not list(tmp_path.rglob("*.nbi"))


def test_hosts_with_other_processors_share_a_folder(tmp_path: Path) -> None:
    """Whose code is found does not depend on who wrote last: a file's name has the processor."""
    processors = ({}, {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""})
    for processor in processors:
        assert multiplied(HOUSE, tmp_path, **processor)[3] == 0
    assert len(kept(tmp_path)) == 2
    for processor in processors:
        assert multiplied(HOUSE, tmp_path, **processor) == [192.0, 197.0, 202.0, 1]


def test_without_a_folder_to_write_one_line_is_said(tmp_path: Path) -> None:
    """A read-only install, and no home."""
    script = (
        "import os\n"
        "from numba.core import caching\n"
        "def refuse(self):\n"
        "    raise PermissionError('read-only')\n"
        "caching._CacheLocator.ensure_cache_path = refuse\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script + MULTIPLY],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), "HOME": str(tmp_path / "none")},
        check=True,
    )
    assert done.stdout == "192.0 197.0 202.0 0\n"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("compiled code cannot be kept on disk, so every process compiles")
    assert list(tmp_path.iterdir()) == []
