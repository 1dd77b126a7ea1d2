"""A recipe from source to report: corpus, training, registered model, samples, and figures beside xz's.

stages (one after another, each skipped when its output exists) -> report (what came out, for people)
"""
