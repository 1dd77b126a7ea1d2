"""Training speed: our job against a bare PyTorch loop, side by side, and what a step and a
checkpoint cost besides.

    python benchmarks/train.py [--rounds 3] [--seconds 15]

The baseline is one process with all cores: torch.nn.LSTM over one-hot characters, a linear head,
clip_grad_norm_, Adam, state carried from step to step. Ours is the training job itself on a local
Ray, with one worker that has all cores and with a worker for each core; its speed is taken from the
journal's clock, without start-up and evaluation. Baseline and jobs take turns in every round,
ratios are taken within a round, and their median is reported. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES = {
    "2x512, 100 lanes x 100": {
        "num_layers": 2,
        "hidden_size": 512,
        "global_batch_size": 100,
        "seq_len": 100,
    },
    "1x256, 32 lanes x 64": {
        "num_layers": 1,
        "hidden_size": 256,
        "global_batch_size": 32,
        "seq_len": 64,
    },
}
CORES = os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--shape", default="", help="only the shapes whose name begins so")
    parser.add_argument("--bare", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare(json.loads(arguments.bare), arguments.seconds))
        return
    with tempfile.TemporaryDirectory() as root:
        print(json.dumps(compare(root, arguments.rounds, arguments.seconds, arguments.shape)))


def compare(root: str, rounds: int, seconds: float, only: str) -> dict[str, Any]:
    from cluster.connect import ray_session
    from pipeline.corpora.build import build_corpus
    from pipeline.corpora.config import CorpusConfig
    from pipeline.corpora.manifest import open_corpus
    from pipeline.recipes import load_recipe

    build_corpus(
        CorpusConfig(
            **{**load_recipe("pystdlib")["corpus"], "split": "tail", "val": 20_000, "test": 0}
        ),
        root,
    )
    vocab_size = len(open_corpus(root, "pystdlib").vocab)
    result: dict[str, Any] = {"cores": CORES, "load_before": os.getloadavg()[0]}
    with ray_session():
        for name, shape in (
            (name, shape) for name, shape in SHAPES.items() if name.startswith(only)
        ):
            found: dict[str, list[float]] = {"bare": [], "one worker": [], f"{CORES} workers": []}
            for number in range(rounds):
                found["bare"].append(in_a_process({**shape, "vocab_size": vocab_size}, seconds))
                found["one worker"].append(
                    job(root, f"one-{number}-{shape['hidden_size']}", shape, seconds, 1, CORES)
                )
                found[f"{CORES} workers"].append(
                    job(root, f"all-{number}-{shape['hidden_size']}", shape, seconds, CORES, 1)
                )
                say(
                    f"{name}, round {number + 1}: "
                    + ", ".join(f"{k} {v[-1]:,.0f} chars/s" for k, v in found.items())
                )
            ratios = {
                key: round(
                    statistics.median(
                        ours / theirs for ours, theirs in zip(values, found["bare"], strict=True)
                    ),
                    3,
                )
                for key, values in found.items()
                if key != "bare"
            }
            result[name] = {
                "chars_per_sec": {
                    key: round(statistics.median(values)) for key, values in found.items()
                },
                "ratio_to_bare": ratios,
                "outside": outside(root, shape, seconds),
                "checkpoint": checkpoint_cost(root, f"save-{shape['hidden_size']}", shape, seconds),
            }
            say(f"{name}: {json.dumps(result[name])}")
    return result


def in_a_process(shape: dict[str, int], seconds: float) -> float:
    """The baseline in a process of its own, with all cores."""
    command = [sys.executable, __file__, "--bare", json.dumps(shape), "--seconds", str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def bare(shape: dict[str, int], seconds: float) -> float:
    """Characters a second of a plain loop with torch.nn.LSTM."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    lanes, time_steps, vocab = shape["global_batch_size"], shape["seq_len"], shape["vocab_size"]
    rnn, head = (
        nn.LSTM(vocab, shape["hidden_size"], shape["num_layers"]),
        nn.Linear(shape["hidden_size"], vocab),
    )
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, foreach=True)
    state = None
    steps, began = -3, 0.0  # three steps to warm up
    while steps < 1 or time.perf_counter() - began < seconds:
        if steps == 0:
            began = time.perf_counter()
        text = torch.randint(0, vocab, (time_steps + 1, lanes))
        outputs, state = rnn(functional.one_hot(text[:-1], vocab).float(), state)
        state = tuple(part.detach() for part in state)
        loss = functional.cross_entropy(head(outputs).flatten(0, 1), text[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        steps += 1
    return steps * lanes * time_steps / (time.perf_counter() - began)


def settings(shape: dict[str, int], **changes: Any) -> Any:
    from pipeline.training.config import TrainConfig

    return TrainConfig(
        corpus="pystdlib",
        optimizer="adam",
        learning_rate=1e-3,
        max_epochs=0,
        eval_every=10**9,
        **{**shape, **changes},
    )


def job(
    root: str,
    run: str,
    shape: dict[str, int],
    seconds: float,
    workers: int,
    cpus: int,
    **changes: Any,
) -> float:
    """Characters a second of the training job, from its journal: the first fifth of the rows is
    left out.
    """
    from pipeline.corpora.manifest import open_corpus
    from pipeline.training.on_ray import run_training

    config = settings(
        shape, num_workers=workers, cpus_per_worker=cpus, max_minutes=seconds / 60, **changes
    )
    run_training(config, root, run, run, open_corpus(root, "pystdlib"))
    times = [
        json.loads(line)["time"]
        for line in Path(root, "runs", run, "metrics.jsonl").read_text().splitlines()
    ]
    times = times[max(1, len(times) // 5) : -1]  # the last step waits for the evaluation
    return (len(times) - 1) * shape["global_batch_size"] * shape["seq_len"] / (times[-1] - times[0])


def outside(root: str, shape: dict[str, int], seconds: float) -> dict[str, float]:
    """Shares of a step, in one process: what is neither forward, backward nor optimiser. With its
    parts.
    """
    import torch

    from pipeline.corpora.manifest import open_corpus
    from pipeline.training.lanes import LanePlan
    from pipeline.training.optim import FlatGradient
    from pipeline.training.trainer import Trainer

    torch.set_num_threads(CORES)
    trainer = Trainer(
        settings(shape, max_steps=10**6), open_corpus(root, "pystdlib"), torch.device("cpu")
    )
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = real(*arguments, **options)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
            return result

        setattr(owner, name, wrapper)

    for owner, name in (
        (LanePlan, "batch"),
        (FlatGradient, "zero"),
        (FlatGradient, "reduce"),
        (FlatGradient, "clip"),
    ):
        timed(owner, name)
    timed(trainer, "_accumulate")
    timed(trainer.optimizer, "step")
    for _ in range(3):
        trainer.train_step()
    spent.clear()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        row, _ = trainer.train_step()
        trainer.journal.append(row)
        steps += 1
    total = time.perf_counter() - began
    work = spent["_accumulate"] - spent["batch"] + spent["step"]
    shares = {key: round(spent[key] / total, 5) for key in ("batch", "zero", "reduce", "clip")}
    return {
        "share": round(1 - work / total, 4),
        "seconds_a_step": round(total / steps, 5),
        **shares,
    }


def checkpoint_cost(root: str, run: str, shape: dict[str, int], seconds: float) -> dict[str, float]:
    """What checkpoints cost training while they are written beside it, as a share of a minute with
    one.
    """
    every = max(2, round(0.3 * job_steps(shape, seconds)))
    job(root, run, shape, 2 * seconds, CORES, 1, checkpoint_every=every)
    rows = [
        json.loads(line)
        for line in Path(root, "runs", run, "metrics.jsonl").read_text().splitlines()
    ]
    rows = rows[max(1, len(rows) // 10) : -1]
    gaps = [
        (after["time"] - before["time"], before["step"])
        for before, after in itertools.pairwise(rows)
    ]
    plain = statistics.median(gap for gap, step in gaps if step % every)
    # The step after a save begins late, and some steps run beside the write: count all that is
    # above the median.
    window = max(1, round(1.0 / plain))
    extra, saves = 0.0, 0
    for at, (_, step) in enumerate(gaps):
        if step % every == 0:
            saves += 1
            extra += sum(gap - plain for gap, _ in gaps[at : at + window])
    return {
        "seconds": round(extra / max(1, saves), 4),
        "share_of_a_minute": round(extra / max(1, saves) / 60, 5),
        "saves": saves,
    }


def job_steps(shape: dict[str, int], seconds: float) -> int:
    """Roughly how many steps the job makes in some seconds."""
    flops = (
        20.0
        * shape["num_layers"]
        * 8
        * shape["hidden_size"] ** 2
        * shape["global_batch_size"]
        * shape["seq_len"]
        / 6
    )
    return max(8, int(seconds / (flops / 1.5e11)))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
