"""Sources in, token shards out.

sources (list, open) -> staging (decode, normalise, spill to blobs) -> vocab (count) -> layout (order, splits, shard
plan) -> shards (encode, write) -> manifest (publish last). `build.py` runs the steps on Ray Data; all else is plain
Python. `manifest.open_corpus` is how every later stage reads a corpus.
"""
