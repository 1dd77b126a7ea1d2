"""What happens: corpus -> shards -> training -> registered model -> samples.

One room a subject, in one strict order; a room imports rooms that stand before it:

    corpora -> model -> engine -> registry -> training -> sampling -> evaluation -> reproducing

Scheduling stands beside them. The loose files import no room, but for sampler.py, the public door.
Ray is imported by tasks.py and by the on_ray.py of a room, MLflow by the registry alone.
docs/architecture.md draws all of it.
"""
