"""A recipe from source to report.

stages (corpus, training, registered model, samples, figures beside xz's: one after another,
each skipped when its output exists) -> report (what came out, for people)
"""
