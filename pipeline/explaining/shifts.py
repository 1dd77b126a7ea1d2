"""What chance gives: every unit against every label, shifted round the text by every distance.

A circular shift keeps a label's own rhythm and a unit's own rhythm and breaks what ties them. The
correlations of all T shifts are one product of spectra. Units and labels are shifted together, so
the largest statistic of a shift over all of them is a draw from the null of the largest (Westfall
and Young 1993).

The shifts are a group, and the statistic is divided by its own root mean square over that group.
So without a guard a p-value is exact for a text shifted at random: no more than 5% of shifts have
a p of 5% or less. Near shifts of what a unit truly tracks are large too; a guard that leaves out g
shifts on both sides takes them away, and the level is then 5% + 2 g / T. The default takes none
away: labels are tested one after the other, the strongest first, each against those that are left
(step-down), so that one label's near shifts do not hide another.

Shapes: T symbols and shifts, S series (units), K labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ShiftTests:
    """`observed` (S, K) signed statistics; `maxima` (K, T) the largest absolute one of any series,
    by shift; shift 0 is the text as it is.
    """

    observed: np.ndarray
    maxima: np.ndarray


def shift_tests(series: np.ndarray, labels: np.ndarray) -> ShiftTests:
    """Tests of standardised series (S, T) with standardised labels (K, T), float32."""
    size = labels.shape[1]
    spectra = np.conj(np.fft.rfft(labels))
    observed = np.zeros((len(series), len(labels)), np.float32)
    maxima = np.zeros(labels.shape, np.float32)
    for index, values in enumerate(series):
        # (K, T): place s is the series read s symbols further on than the labels.
        found = np.fft.irfft(np.fft.rfft(values) * spectra, n=size).astype(np.float32)
        spread = np.sqrt((found**2).mean(axis=1, keepdims=True))
        # A unit that never moves, or a label that never changes, tracks nothing.
        found = np.divide(found, spread, out=np.zeros_like(found), where=spread > 1e-9)
        observed[index] = found[:, 0]
        np.maximum(maxima, np.abs(found), out=maxima)
    return ShiftTests(observed, maxima)


def p_values(tests: ShiftTests, guard: int = 0) -> np.ndarray:
    """Family-wise p-values (S, K) over all series and labels, step-down by label."""
    maxima = tests.maxima
    allowed = np.ones(maxima.shape[1], np.bool_)
    allowed[1 : guard + 1] = False
    allowed[len(allowed) - guard :] = False
    strongest = np.argsort(-maxima[:, 0], kind="stable")
    p = np.ones(tests.observed.shape)
    before = 0.0
    for rank, label in enumerate(strongest):
        rest = np.sort(maxima[strongest[rank:]].max(axis=0)[allowed])
        values = np.abs(tests.observed[:, label])
        # Shift 0 is one of them, so that p is never 0.
        beaten = np.searchsorted(rest, values, side="left")
        own = (len(rest) - beaten) / len(rest)
        p[:, label] = np.maximum(own, before)
        # A label that is not found hides all behind it.
        before = float(p[:, label].min())
    return p
