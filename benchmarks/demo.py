"""Time per stage of the demo and how much of it is engine start-up, from a real run in a fresh
root.

    python benchmarks/demo.py [--recipe NAME]

Start-up is measured, not guessed: the moment before each stage's engine call and the first line of
real work in the stage's own output are both on one clock. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOUSE = Path(__file__).parent.parent

# (stage, what its first line begins with, what its first line of real work contains)
STAGES = (
    ("corpus", "starting a local Ray", "read pystdlib"),
    ("train", "run ", "parameters,"),
    # Sampled in the training's process: what is left of start-up is opening the model.
    ("sample", "sample models:", "sample pystdlib:"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="pystdlib")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        began = time.monotonic()
        command = [
            sys.executable,
            "-u",
            "jobs/reproduce.py",
            "--recipe",
            arguments.recipe,
            "--root",
            root,
        ]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        seen: list[tuple[float, str]] = []
        with subprocess.Popen(
            command,
            cwd=HOUSE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as job:
            assert job.stderr is not None
            assert job.stdout is not None
            for line in job.stderr:
                seen.append((time.monotonic() - began, line.rstrip()))
                print(f"{seen[-1][0]:7.1f}s  {line.rstrip()}", file=sys.stderr)
            result = json.loads(job.stdout.read().splitlines()[-1])
        total = time.monotonic() - began
    figures = {
        "total_s": round(total, 1),
        "stages_s": result["seconds"],
        "startup_s": startup(seen),
        "cores": os.cpu_count(),
    }
    figures["startup_share"] = round(sum(figures["startup_s"].values()) / total, 3)
    figures["val_bits_per_byte"] = result["val_bits_per_byte"]
    print(json.dumps(figures))


def startup(seen: list[tuple[float, str]]) -> dict[str, float]:
    """Seconds from a stage's first line to its first line of real work."""
    found = {}
    for stage, first, work in STAGES:
        start = next((at for at, line in seen if line.startswith(first)), None)
        if start is not None:
            found[stage] = round(
                next(at for at, line in seen if at >= start and work in line) - start, 1
            )
    return found


if __name__ == "__main__":
    main()
