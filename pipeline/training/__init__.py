"""Shards in, checkpoints out, the best model registered.

    lanes (which tokens each lane reads) -> trainer (one rank: step, evaluate, save)
      -> loop (until the run's end)
    group, shared_sum (what ranks tell each other)    checkpoint, journal, writer (what a run keeps)
    on_ray (the loop on Ray Train's workers) -> run (from start.json to the champion rule)

The core is plain torch. on_ray.py alone imports Ray.
"""
