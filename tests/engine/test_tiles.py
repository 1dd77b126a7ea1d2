"""The tiles' products against plain arithmetic, to the last bit, and int8 on other processors."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine import tiles
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import Writable
from pipeline.engine.request import Request
from pipeline.engine.weights import Weights
from pipeline.model.config import ModelConfig

HOUSE = Path(__file__).parent.parent.parent


def float_product(rows: int, inputs: int) -> None:
    """Run a tile of `rows` lanes into wider arrays, and compare it bit for bit."""
    tile = tiles.float_tile(rows)

    @numba.njit
    def run(out: Any, x: Any, panel: Any) -> None:
        tile(
            out.ctypes.data,
            out.strides[0],
            x.ctypes.data,
            x.strides[0],
            panel.ctypes.data,
            len(panel),
        )

    generator = np.random.default_rng(rows)
    out = generator.normal(size=(rows, 70)).astype(np.float32)
    x = generator.normal(size=(rows, inputs + 3)).astype(np.float32)
    panel = generator.normal(size=(inputs, 64)).astype(np.float32)
    before = out.copy()
    run(out, x, panel)
    np.testing.assert_array_equal(out[:, 64:], before[:, 64:])
    for row in range(rows):
        for column in (0, 1, 15, 16, 31, 47, 63):
            total = before[row, column]
            for k in range(inputs):
                # Fused: the product is not rounded before it is added.
                product = Fraction(float(x[row, k])) * Fraction(float(panel[k, column]))
                total = np.float32(float(product + Fraction(float(total))))
            assert out[row, column] == total


@pytest.mark.parametrize(("rows", "inputs"), [(4, 9), (1, 1), (2, 0)])
def test_float_sums_are_fused_and_in_order(rows: int, inputs: int) -> None:
    float_product(rows, inputs)


def int_product(tile: Any) -> np.ndarray:
    """What a tile of two lanes adds to zeros; compared with whole numbers."""

    @numba.njit
    def run(out: Any, x: Any, panel: Any, start: Any, scale: Any) -> None:
        tile(
            out.ctypes.data,
            out.strides[0],
            x.ctypes.data,
            x.strides[0],
            panel.ctypes.data,
            len(panel),
            start.ctypes.data,
            scale.ctypes.data,
        )

    generator = np.random.default_rng(1)
    out = np.zeros((2, 64), np.float32)
    x = generator.integers(0, 256, (2, 40), np.uint8)
    panel = generator.integers(-127, 128, (10, 64, 4), np.int8)
    run(out, x, panel, np.zeros(64, np.int32), np.ones(64, np.float32))
    whole = panel.transpose(0, 2, 1).reshape(40, 64).astype(np.int64)
    np.testing.assert_array_equal(out, x.astype(np.int64) @ whole)
    # And with a start and a scale for each output, added to what is there.
    before = generator.normal(size=(2, 64)).astype(np.float32)
    start = generator.integers(-9999, 9999, 64, np.int32)
    scale = generator.normal(size=64).astype(np.float32)
    again = before.copy()
    run(again, x, panel, start, scale)
    sums = (x.astype(np.int64) @ whole + start).astype(np.float32)
    np.testing.assert_array_equal(again, before + sums * scale)
    return out


def test_without_the_processors_dot_product_the_sums_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = int_product(tiles.int_tile(2))
    monkeypatch.setattr(tiles, "_VNNI", False)
    np.testing.assert_array_equal(int_product(tiles.int_tile(2)), here)


def sample() -> bytes:
    """What a small random model samples in int8."""
    config = ModelConfig(vocab_size=5, num_layers=2, hidden_size=9)
    generator = np.random.default_rng(1)
    weights = {
        name: generator.normal(size=shape).astype(np.float32)
        for name, shape in config.shapes().items()
    }
    vocab = Vocab("byte", [10, 97, 98, 99, 100])
    engine = Engine(Weights(config, weights, "int8"), Writable.of(vocab, ()))
    return b"".join(engine.sample([Request(number, 200) for number in range(9)]))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("name", ["generic", "x86-64-v3"])
def test_int8_is_sampled_for_a_processor_that_is_named(name: str, tmp_path: Path) -> None:
    """numba may be told to compile for another processor than the host, which has no int8 dot
    product where the host has one.
    """
    code = "from tests.engine.test_tiles import sample, tiles; print(tiles._VNNI, sample().hex())"
    named = {
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        env={**os.environ, **named},
        check=False,
    )
    # An instruction that the target lacks ends the process with a signal: minus its number here.
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    (used, there) = done.stdout.split()
    assert used == "False"
    here = sample()
    assert len(here) == 9 * 200
    assert bytes.fromhex(there) == here
