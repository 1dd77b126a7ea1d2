"""Which documents do not belong: bits per byte beside those of documents of about the same length.

A short document costs more bits a byte, since the model knows nothing at its beginning, and its
figure is noisier. So each is held against its NEIGHBOURS nearest ones in length: how far it stands
above their median, in their own spread. Median and MAD (the median distance from the median), as
means and deviations would be pulled along by what is looked for. A tenth of foreign documents moves
neither by much.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 101  # odd, so that a median is one of the figures; all documents, where fewer
_TO_DEVIATION = 1.4826  # MAD to standard deviation, for normal figures
# The least spread, as a share of the median: among documents that are all alike, the smallest
# difference would be many deviations.
_LEAST_SPREAD = 0.01
_AT_ONCE = 1 << 14  # windows: 13 MB


def surprise(sizes: np.ndarray, bits_per_byte: np.ndarray) -> np.ndarray:
    """Deviations above the median of documents of the same length; nan where a figure is nan."""
    found = np.full(len(sizes), np.nan)
    known = np.flatnonzero(~np.isnan(bits_per_byte))
    if not len(known):
        return found
    # Of equal length by figure: which one stands first in the table must not matter.
    order = known[np.lexsort((bits_per_byte[known], sizes[known]))]
    figures = bits_per_byte[order]
    count = min(NEIGHBOURS, len(order))
    windows = np.lib.stride_tricks.sliding_window_view(figures, count)
    medians = np.empty(len(windows))
    spreads = np.empty(len(windows))
    for start in range(0, len(windows), _AT_ONCE):
        own = windows[start : start + _AT_ONCE]
        middle = np.median(own, axis=1)
        medians[start : start + len(own)] = middle
        distances = np.abs(own - middle[:, None])
        spreads[start : start + len(own)] = np.median(distances, axis=1)
    # The shortest and the longest documents share the first and the last window.
    nearest = np.clip(np.arange(len(order)) - count // 2, 0, len(windows) - 1)
    median = medians[nearest]
    spread = np.maximum(_TO_DEVIATION * spreads[nearest], _LEAST_SPREAD * median)
    difference = figures - median
    found[order] = np.divide(
        difference, spread, out=np.zeros_like(difference), where=difference != 0
    )
    return found


def ranked(sizes: np.ndarray, bits_per_byte: np.ndarray) -> np.ndarray:
    """Indices of all documents with a figure, the most surprising first; of equals the first."""
    scores = surprise(sizes, bits_per_byte)
    order = np.argsort(-scores, kind="stable")  # nan comes last
    return order[: int((~np.isnan(scores)).sum())]
