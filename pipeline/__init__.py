"""What happens: corpus -> shards -> training -> registered model -> samples.

One folder a stage, in the order data passes: `corpora`, `training`, `evaluation`, `registry`, `sampling`. In each the
core is plain Python, pyarrow and torch; one named file (`build.py`, `trainer.py`, `batch.py`) is the Ray adapter, and
`registry.py` alone talks to MLflow. Later stages may import earlier ones, never the other way round.
"""
