"""Sources in, token shards out.

    sources (list) -> staging (open, decode, normalise, spill to blobs) -> gather (documents, skips)
    -> vocab (count) -> layout (order, splits, shard plan) -> encode (write shards)
    -> description (documents.arrow, manifest) -> manifest (publish last)

`build.py` runs the steps, here or through the runner that it is given; all else is plain Python.
`manifest.open_corpus` is how every later stage reads a corpus; `trace` leads a token back to its
source, `verify` checks a version, `retention` removes old ones, `history` knows what a build saw.
"""
