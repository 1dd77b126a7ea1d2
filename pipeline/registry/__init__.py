"""All that is MLflow: runs and metrics, registered models, and what a model carries with it.

    tracking (a server: runs, metrics) -> models (versions, aliases) -> fetch (by any reference)
    publication (a checkpoint made ready), card -> champion (which version is best)
    catalogue (list, compare, lineage), archive (a model as one file), pyfunc (what MLflow runs)

Only drivers talk to a tracking server. Nothing here knows how a model is trained or what a job
samples: callers give params, tags and files.
"""
