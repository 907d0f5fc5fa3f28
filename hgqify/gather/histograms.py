"""Widths and values as counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

BINS = 41
"""Bins of a histogram of values: an odd number, so that zeros have one of their own."""


def width_counts(widths: Iterable[np.ndarray]) -> tuple[tuple[int, int], ...]:
    """How many elements have how many bits.

    Args:
        widths: arrays of k + i + f, one value per element.

    Returns:
        Pairs (bits, number of elements), fewest bits first.
    """
    flat = [np.maximum(np.ravel(w), 0).astype(np.int64) for w in widths]
    counts = np.bincount(np.concatenate(flat)) if flat else np.zeros(0, np.int64)
    return tuple((bits, int(count)) for bits, count in enumerate(counts) if count)


def mean_width(counts: Iterable[tuple[int, int]]) -> float | None:
    """Mean of what `width_counts` gives; None of nothing."""
    pairs = list(counts)
    total = sum(count for _, count in pairs)
    return sum(bits * count for bits, count in pairs) / total if total else None


def weight_histogram(quantized: np.ndarray, floats: np.ndarray | None) -> Mapping[str, Any] | None:
    """Histograms of weights before and after quantization, in the same bins.

    Args:
        quantized: weights as deployed.
        floats: those of the float model; None, or of another shape, where there are none to compare with.

    Returns:
        ``high``: the bins divide [-high, high] evenly; ``counts`` and ``float_counts``, the latter None
        without float weights. None where all weights are zero.
    """
    if floats is not None and floats.shape != quantized.shape:
        floats = None
    arrays = [quantized] if floats is None else [quantized, floats]
    high = max(float(np.max(np.abs(a), initial=0.0)) for a in arrays)
    if not (np.isfinite(high) and high > 0):
        return None
    counts = [np.histogram(a, bins=BINS, range=(-high, high))[0].tolist() for a in arrays]
    return {"high": high, "counts": counts[0], "float_counts": None if floats is None else counts[1]}
