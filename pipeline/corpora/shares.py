"""What each split was asked to hold and what it came to, and when that is too little to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.corpora.manifest_data import Manifest
from pipeline.corpora.splits import SPLITS

# A token's bits vary by about 2, and those of neighbours alike: a mean over fewer tokens is off by
# some hundredths of a bit, which is what models are told apart by.
LEAST_VAL_TOKENS = 20_000
LEAST_VAL_PART = 0.5  # of what was asked


@dataclass(frozen=True)
class SplitShare:
    """A split's tokens, and its fraction of all tokens: as the recipe asks, and as it came out."""

    tokens: int
    asked: float
    got: float

    def to_json(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "asked": round(self.asked, 6), "got": round(self.got, 6)}


def shares_of(manifest: Manifest) -> dict[str, SplitShare]:
    """What was asked for each split of a version, and what it holds."""
    tokens = {name: manifest.splits[name].tokens for name in SPLITS}
    total = max(1, sum(tokens.values()))
    asked = _asked(manifest.corpus, total)
    return {name: SplitShare(tokens[name], asked[name], tokens[name] / total) for name in SPLITS}


def shares_line(manifest: Manifest) -> str:
    """How a version is split, for people."""
    rule = manifest.split
    if manifest.block_bytes:
        rule = f"{rule} of {manifest.block_bytes >> 10:,} KiB"
    if manifest.split == "interleaved":
        rule = f"the end of each of {manifest.rule.streams:,} streams"
    parts = [
        f"{name} {share.tokens:,} tokens ({share.got:.2%}, asked {share.asked:.2%})"
        for name, share in shares_of(manifest).items()
    ]
    return f"split by {rule}: {', '.join(parts)}"


def too_little(manifest: Manifest) -> str:
    """One line that says that the val split is too small, and what to do; empty when it is not.

    A recipe that asks for no val split gets no advice.
    """
    val = shares_of(manifest)["val"]
    is_small = val.tokens < LEAST_VAL_TOKENS
    falls_short = val.got < LEAST_VAL_PART * val.asked
    if not val.asked or not (is_small or falls_short):
        return ""
    remedy = "raise --val, or give more text"
    if manifest.split == "document":
        remedy = f"use --split block, {remedy}"
    return (
        f"the val split of {manifest.name} has {val.tokens:,} tokens, {val.got:.2%} of the text "
        f"where {val.asked:.2%} were asked; figures on it are mostly chance below "
        f"{LEAST_VAL_TOKENS:,} tokens or half of what was asked: {remedy}."
    )


def _asked(settings: Mapping[str, Any], total: int) -> dict[str, float]:
    """Each split's fraction of `total` tokens, as a version's settings have it."""
    asked: dict[str, float] = {}
    for name in SPLITS:
        share = settings[name]
        if share != "rest":
            asked[name] = share if isinstance(share, float) else share / total
    rest = max(0.0, 1.0 - sum(asked.values()))
    return {name: asked.get(name, rest) for name in SPLITS}
