"""Models into text: what to sample, which files that makes, and who writes them.

config -> plan (files, primes, settings) -> job (an output folder) -> writer (one actor),
on_ray (a pool of them) -> run (from end to end)
api: the same texts from Python, without Ray
"""
