"""How good a model is: its score on a text, beside what else could be used on the same bytes.

config → plan (models and texts, checked) → scores, compressors, ngrams (tasks, by any number of
workers) → compare, intervals → result → report. A part of a report is a Section.
"""
