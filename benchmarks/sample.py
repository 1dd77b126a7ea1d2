"""Sampling speed: our engine against torch, a character at a time, side by side; and the whole job
with its start-up.

    python benchmarks/sample.py [--rounds 3] [--seconds 2] [--shape 2x512] [--no_job]

Baselines are what a person would write: a network fed one character a step, softmax and multinomial
on its output. fp32 is the best of torch.nn.LSTM and stacked LSTMCells, with oneDNN on and off and
with one and two threads; int8 is torch's dynamic quantisation of the nn.LSTM network with one and
two threads. Ours is the engine on two threads, each with half of the lanes as two actors have them;
one lane is on one thread. All take turns in every round; ratios are taken within a round, and the
median is reported. Ceilings are measured in the same run: torch's large float32 and int8 products
for many lanes, reading memory of the weights' size for one. The job writes 64 files of 100,000
characters with two actors on a local Ray. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline import runs
from pipeline.corpora.vocab import Vocab
from pipeline.engine.engine import engine_of
from pipeline.engine.request import Request
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import artifact_files
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

SHAPES = {"2x512": (2, 512), "3x512": (3, 512), "3x700": (3, 700)}
LANES = (1, 16, 64, 256)
SYMBOLS = 100
ACTORS = 2
JOB_FILES = 64
JOB_CHARS = 100_000


def main() -> None:
    warnings.filterwarnings("ignore")  # torch.ao is to be replaced, oneDNN's switches likewise
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--shape", default="", help="only this shape")
    parser.add_argument("--lanes", type=int, nargs="*", default=list(LANES))
    parser.add_argument("--no_job", action="store_true", help="leave the whole job out")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "ceilings": ceilings(),
    }
    for name in [arguments.shape] if arguments.shape else SHAPES:
        model = network(*SHAPES[name])
        result[name] = {
            lanes: compare(model, lanes, arguments.rounds, arguments.seconds)
            for lanes in arguments.lanes
        }
        for lanes, found in result[name].items():
            found["share of ceiling"] = share(model, lanes, found, result["ceilings"])
            print(f"{name}, {lanes} lanes: {json.dumps(found)}", file=sys.stderr, flush=True)
    if not arguments.no_job:
        result["job"] = [
            job(network(*SHAPES["2x512"]), precision) for precision in ("int8", "fp32")
        ]
    print(json.dumps(result))


def network(layers: int, size: int) -> CharRNN:
    model = CharRNN(ModelConfig(vocab_size=SYMBOLS, num_layers=layers, hidden_size=size))
    initialize(model, 1)
    return model.eval()


def compare(model: CharRNN, lanes: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Characters a second of every side, medians over rounds, and ratios within rounds."""
    baselines = {"fp32": _float_baselines(model, lanes), "int8": _int_baselines(model, lanes)}
    ours = {precision: _ours(model, lanes, precision) for precision in ("fp32", "int8")}  # type: ignore[arg-type]
    speeds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind, sides in baselines.items():
            best = max(
                _speed(step, lanes, seconds, threads, onednn) for step, threads, onednn in sides
            )
            speeds.setdefault(f"torch {kind}", []).append(best)
        for precision, run in ours.items():
            speeds.setdefault(f"ours {precision}", []).append(run(seconds))
    ratios = {
        f"{ours} / {theirs}": round(
            statistics.median(a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True)), 2
        )
        for ours in ("ours fp32", "ours int8")
        for theirs in ("torch fp32", "torch int8")
    }
    return {
        "chars_per_sec": {name: round(statistics.median(found)) for name, found in speeds.items()},
        "ratios": ratios,
    }


class PerCharacter(nn.Module):
    """Torch's network, fed a character a step."""

    def __init__(self, model: CharRNN, *, cells: bool) -> None:
        super().__init__()
        size, layers = model.config.hidden_size, model.config.num_layers
        self.cells = cells
        inputs = [SYMBOLS, *[size] * (layers - 1)]
        self.lstm = (
            nn.ModuleList(map(nn.LSTMCell, inputs, [size] * layers))
            if cells
            else nn.LSTM(SYMBOLS, size, layers)
        )
        self.head = nn.Linear(size, SYMBOLS)
        self.eye = nn.Buffer(torch.eye(SYMBOLS))
        self.state: Any = None

    def reset(self, lanes: int) -> None:
        size = self.head.in_features
        layers = len(self.lstm) if self.cells else self.lstm.num_layers
        zeros = torch.zeros(lanes, size)
        one = torch.zeros(layers, lanes, size)
        self.state = [(zeros, zeros)] * layers if self.cells else (one, one.clone())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.eye[tokens]
        if self.cells:
            for index, cell in enumerate(self.lstm):
                self.state[index] = cell(x, self.state[index])
                x = self.state[index][0]
        else:
            x, self.state = self.lstm(x.unsqueeze(0), self.state)
            x = x[0]
        return torch.multinomial(torch.softmax(self.head(x), 1), 1)[:, 0]


Side = tuple[PerCharacter, int, bool]  # a network, its threads, oneDNN


def _float_baselines(model: CharRNN, lanes: int) -> list[Side]:
    networks = [PerCharacter(model, cells=cells).eval() for cells in (False, True)]
    return [
        (network, threads, onednn)
        for network in networks
        for threads in (1, ACTORS)
        for onednn in (True, False)
    ]


def _int_baselines(model: CharRNN, lanes: int) -> list[Side]:
    quantised = torch.ao.quantization.quantize_dynamic(
        PerCharacter(model, cells=False).eval(), {nn.LSTM, nn.Linear}
    )
    return [(quantised, threads, True) for threads in (1, ACTORS)]


@torch.inference_mode()
def _speed(network: PerCharacter, lanes: int, seconds: float, threads: int, onednn: bool) -> float:
    torch.set_num_threads(threads)
    with torch.backends.mkldnn.flags(enabled=onednn):
        network.reset(lanes)
        if hasattr(network.head, "in_features"):
            tokens = torch.zeros(lanes, dtype=torch.int64)
        for _ in range(2):
            tokens = network(tokens)
        done, began = 0, time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds / 4:
            tokens = network(tokens)
            done += lanes
    torch.set_num_threads(1)
    return done / elapsed


def _ours(model: CharRNN, lanes: int, precision: Any) -> Callable[[float], float]:
    engine = engine_of(model, Vocab("byte", range(SYMBOLS)), ((0, 1),), precision)
    shares = [lanes] if lanes == 1 else [lanes // ACTORS] * ACTORS
    warm = engine.lanes(1)
    warm.start(0, Request(0, 10))
    warm.advance()  # compiles

    def one(width: int, seconds: float) -> float:
        running = engine.lanes(width)
        for number in range(width):
            running.start(number, Request(number, 1 << 40))
        done, began = 0, time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            done += sum(len(piece.text) for piece in running.advance())
        return done / elapsed

    def run(seconds: float) -> float:
        with ThreadPoolExecutor(len(shares)) as pool:
            return sum(pool.map(one, shares, [seconds] * len(shares)))

    return run


def ceilings() -> dict[str, float]:
    """torch's best products on all cores, operations a second, and one thread's reading, bytes a
    second, by size.
    """
    found = {"fp32 operations": 0.0, "int8 operations": 0.0}
    torch.set_num_threads(1)
    for rows, inputs, outputs in ((1024, 1024, 1024), (64, 512, 2048), (16, 512, 2048)):
        a, b = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        c, d = (
            torch.randint(-127, 127, shape, dtype=torch.int8)
            for shape in ((rows, inputs), (outputs, inputs))
        )
        e, f = b.t().contiguous(), d.t().contiguous()
        once = 2 * rows * inputs * outputs * ACTORS  # as many cores, each with products of its own
        calls = {"fp32 operations": [lambda: a @ b.t(), lambda: a @ e],  # noqa: B023
                 "int8 operations": [lambda: torch._int_mm(c, d.t()), lambda: torch._int_mm(c, f)]}  # noqa: B023  # fmt: skip
        for kind, products in calls.items():
            found[kind] = max(found[kind], *(once / _best(product) for product in products))
    for megabytes in (2, 4, 8, 16, 32):
        memory = torch.ones(megabytes << 18)
        found[f"bytes read, {megabytes} MiB"] = (megabytes << 20) / _best(
            lambda memory=memory: memory.sum()
        )  # type: ignore[misc]
    return found


def _best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def share(
    model: CharRNN, lanes: int, found: dict[str, Any], limits: dict[str, float]
) -> dict[str, float]:
    """Our speed over what the ceilings allow: products for many lanes; for one, reading every
    weight for every character.
    """
    size, layers = model.config.hidden_size, model.config.num_layers
    weights = (2 * layers - 1) * 4 * size * size + size * SYMBOLS
    shares = {}
    for precision, width in (("fp32", 4), ("int8", 1)):
        at_most = limits[f"{precision} operations"] / (2 * weights) / (ACTORS if lanes == 1 else 1)
        if lanes == 1:
            megabytes = min((2, 4, 8, 16, 32), key=lambda m: abs(m * (1 << 20) - weights * width))
            at_most = min(at_most, limits[f"bytes read, {megabytes} MiB"] / (weights * width))
        shares[precision] = round(found["chars_per_sec"][f"ours {precision}"] / at_most, 2)
    return shares


def job(model: CharRNN, precision: str) -> dict[str, Any]:
    """The whole job as a person runs it, and the engine alone just before and after it."""
    engine = _ours(model, JOB_FILES, precision)
    with tempfile.TemporaryDirectory() as root:
        vocab = Vocab("byte", range(SYMBOLS))
        about = ModelAbout(
            model=model.config,
            corpus=CorpusReference("none", "none", "none"),
            first_tokens=((0, 1),),
        )
        url = str(Path(root, "runs", "bench", runs.checkpoint_name(1)))
        runs.write_checkpoint(url, artifact_files(model, vocab, about))
        before = engine(5.0)
        command = [
            *[sys.executable, "jobs/sample.py", "--root", root, "--model", url],
            *["--num_files", str(JOB_FILES), "--num_chars", str(JOB_CHARS)],
            *["--num_workers", str(ACTORS), "--precision", precision],
        ]
        began = time.monotonic()
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        seconds = time.monotonic() - began
        after = engine(5.0)
    summary = json.loads(done.stdout.splitlines()[-1])
    steady = summary["chars_per_sec"]
    return {
        "precision": precision,
        "seconds with start-up": round(seconds, 1),
        "chars_per_sec with start-up": round(summary["chars"] / seconds),
        "chars_per_sec steady": steady,
        "engine before, after": [round(before), round(after)],
        "steady / engine": round(steady / ((before + after) / 2), 3),
    }


if __name__ == "__main__":
    main()
