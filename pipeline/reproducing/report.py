"""What a recipe came to, for people: an excerpt, figures, where everything is, and how to go on."""

from __future__ import annotations

import json

from pipeline import storage
from pipeline.hints import command
from pipeline.reproducing.result import Reproduction

EXCERPT_LINES = 10
_EXCERPT_BYTES = 4000


def report(done: Reproduction) -> str:
    """The report of a recipe that ran to its end."""
    assert done.sampled is not None
    first_line = storage.read_bytes(done.sampled.samples).split(b"\n")[0]
    shown = storage.join(done.sampled.output, json.loads(first_line)["file"])
    table = "   ".join(f"{name} {value:.3f}" for name, value in done.bits_per_byte.items())
    model = done.trained.model
    again = (
        f"{command('sample')} --root {done.root} --model {model} "
        f"--temperature 0.5 --seed 2 --output {done.root}/samples/safer"
    )
    return f"""
an excerpt of {shown}:

{_excerpt(shown)}

bits per byte on the validation text:  {table}
{_claims(done)}
corpus   {done.built.url}
run      {done.trained.run}
model    {model}, tracked at {done.trained.tracking_uri}
samples  {done.sampled.samples}
report   {done.report}

go on:   mlflow ui --backend-store-uri {done.trained.tracking_uri}
         {again}
         {command("reproduce")} --recipe PATH   (a recipe of your own; see jobs/recipes/)"""


def _claims(done: Reproduction) -> str:
    """A line a claim, after an empty one; "" without any."""
    lines = []
    for each in done.judged:
        value = f"{each.value:.4g}" if isinstance(each.value, float) else each.value
        gate = "FAILS (gate)" if each.fails_gate else each.verdict
        lines.append(f"  {gate:12}  {each.claim.name}: {value}, {each.needed}")
    broken = [f"  BROKEN        {step.what}: {step.broken}" for step in done.steps if step.broken]
    return "".join(f"\n{line}" for line in (*lines, *broken)) + "\n" if lines or broken else ""


def _excerpt(url: str) -> str:
    """The first lines of a sample, without the very first, which may begin in the middle of one."""
    # The range may end inside a character: "replace".
    text = storage.read_range(url, 0, _EXCERPT_BYTES).decode("utf-8", "replace")
    lines = text.splitlines()[1 : EXCERPT_LINES + 1]
    return "\n".join(f"    {line}" for line in lines)
