"""Old names, for models that were registered while the engine was in this room.

MLflow runs such a model's own file. In a process that has imported this package already, that file
finds its `pipeline.sampling.engine` here. Nothing of ours imports this module, and without it those
models would load in fresh processes only.
"""

from __future__ import annotations

from pipeline.engine.opening import open_engine
from pipeline.sampling.plan import request_of

__all__ = ["open_engine", "request_of"]
