"""Shards in, checkpoints out.

lanes (which tokens each lane reads) -> model -> loop (step, evaluate, save), over a group of ranks; checkpoint and
journal keep what a run is. All plain torch. `trainer.py` runs the loop on Ray Train.
"""
