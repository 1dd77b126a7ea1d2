"""The recurrent model: its shape, its network, its files, and what it makes of a text.

    config (one row a cell) -> network, recurrence (tokens to logits) -> scoring (nats by token)
                            -> about, artifact (three files: read, check, load)

Nothing here knows ranks, registries or samples.
"""
