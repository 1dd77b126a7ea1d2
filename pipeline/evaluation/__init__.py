"""How good a model is against simple compressors of the same text.

A model's own loss is model/scoring.py's.
"""
