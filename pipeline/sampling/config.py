"""What to sample: the `sample` section of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """One sampling job: a model, how many files, how long, and how bold."""

    model: str
    """models:/NAME@ALIAS, models:/NAME/VERSION, or the URL of a checkpoint folder"""
    num_files: int = 1
    """files to write"""
    num_chars: int = 100_000
    """characters to sample into each file (bytes, for a byte model)"""
    temperature: float = 1.0
    """divides the logits: below 1 safer, above 1 bolder; 0 takes the likeliest character"""
    top_k: int = 0
    """sample among the k likeliest characters; 0: among all"""
    prime: str = ""
    """text to start from, written first; with none, files start as the corpus's documents do"""
    seed: int = 1
    """seed: the same seed gives the same files"""
    num_workers: int = 1
    """actors, one CPU each"""
    output: str = ""
    """folder for the files; default: <root>/samples/<model>"""
    overwrite: bool = False
    """replace what is in the output folder, if it was sampled with other settings"""

    def __post_init__(self) -> None:
        for option, low in (("num_files", 1), ("num_chars", 1), ("num_workers", 1), ("top_k", 0)):
            if getattr(self, option) < low:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least {low}.")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed is {self.seed}; it must be at least 0 and below 2**63.")
        try:
            self.prime.encode()
        except UnicodeEncodeError:
            raise InputError("prime is not text: the command line gave bytes that are no UTF-8.") from None
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature is {self.temperature}; it must be a finite number of at least 0.")
