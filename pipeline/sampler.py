"""The public door for sampling from Python, without Ray: the same texts as a job writes.

    from pipeline.sampler import load_model, sample, stream
    model = load_model("models:/linux@champion")
    print(sample(model, "static int ", num_chars=500, temperature=0.7, seed=1))
    for text in stream(model, "/*", num_chars=100_000):
        print(text, end="", flush=True)

It is the one loose file that may import rooms: README shows these names, so they stay while rooms
move.
"""

from __future__ import annotations

from pipeline.sampling.api import Model, load_model, sample, stream

__all__ = ["Model", "load_model", "sample", "stream"]
