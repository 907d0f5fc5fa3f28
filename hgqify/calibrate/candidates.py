"""The formats that the allocation may give a quantizer, and what they do to a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.widths import float_kernel, live_frac
from hgqify.fixed import span
from hgqify.layers import QLinear
from hgqify.quantizers import Quantizer

CLIPS = 3
"""How many integer bits are tried where overflow saturates: the observed range's, and one and two less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataCandidates:
    """Formats of a quantizer on data; candidate c is format ``(k, i[c], f[c])`` of ``bits[c]`` bits.

    Attributes:
        k: sign, shape S of the quantizer's widths (no batch axis).
        i, f: integer and fractional bits, (C, *S).
        bits: i + f, (C, *S); the width an EBOP counts.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    bits: np.ndarray


def data_candidates(quantizer: Quantizer, *, margin: int) -> DataCandidates:
    """All widths from one bit to the calibrated one, which is the limit rules and settings gave.

    The calibrated integer bits hold what was seen. Where overflow saturates, fewer are tried too: they
    clip the largest values and halve the LSB of all others. Where it wraps without a margin, one more is
    taken, because a coarser LSB may round the largest value up to the next power of two.

    Args:
        quantizer: a calibrated quantizer on data.
        margin: integer bits it was given beyond the observed range.
    """
    state = quantizer.state()
    live = state.k + state.i + state.f > 0
    saturates = state.overflow.saturates
    top = state.i + (0 if saturates or margin > 0 else 1)
    widest = np.where(live, np.maximum(state.i + state.f, 0), 0)
    chosen_i, chosen_f = [], []
    for clip in range(CLIPS if saturates else 1):
        for bits in range(int(widest.max(initial=0)) + 1):
            i = top - clip
            # No finer than calibrated: data on a coarser grid, or a limit, ends there.
            f = np.minimum(bits - i, state.f)
            chosen_i.append(np.where(live, i, 0))
            chosen_f.append(np.where(live, f, 0))
    i, f = np.stack(chosen_i), np.stack(chosen_f)
    return DataCandidates(k=np.where(live, state.k, 0), i=i, f=f, bits=np.maximum(i + f, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightCandidates:
    """Kernels a layer may get: candidate c quantizes every weight with its finest f less c bits.

    Attributes:
        weight: the float kernel, float64.
        finest: fractional bits of candidate 0, of the kernel's shape.
        i: integer bits; magnitudes stay below 2**i.
        error: squared error of every weight, float32, (C, *kernel).
        spans: bits from the most to the least significant non-zero one, uint8, (C, *kernel).
        shared: axes along which one format is shared; () for one per weight.
    """

    weight: np.ndarray
    finest: np.ndarray
    i: np.ndarray
    error: np.ndarray
    spans: np.ndarray
    shared: tuple[int, ...]

    def codes(self, chosen: np.ndarray) -> np.ndarray:
        """Every weight in units of its LSB, with the candidate chosen for it; int64."""
        f = self.finest - chosen
        return nearest_codes(self.weight, f, largest_code(self.i, f))


def nearest_codes(weights: np.ndarray, f: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Weights in units of 2**-f, rounded to nearest (ties up), at most ``top`` in magnitude; int64."""
    return np.clip(np.floor(np.ldexp(weights, f) + 0.5), -top, top).astype(np.int64)


def largest_code(i: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Largest magnitude of a symmetric format, in LSBs; float64."""
    return np.ldexp(1.0, np.maximum(i + f, 0)) - 1


def coarsest_best(cost: np.ndarray) -> np.ndarray:
    """Which candidate (first axis, finest first) costs least; of equals the coarsest."""
    return len(cost) - 1 - np.argmin(cost[::-1], axis=0)


def weight_candidates(layer: QLinear, width: int) -> WeightCandidates:
    """All widths from the one the layer was made with down to none, where every weight is zero.

    Args:
        layer: a calibrated layer with a fixed-point kernel quantizer.
        width: most bits of a weight, sign included.
    """
    weight = float_kernel(layer).astype(np.float64)
    shape = layer.kq.width_shape
    shared = tuple(n for n, (a, b) in enumerate(zip(shape, weight.shape, strict=True)) if a != b)
    if shared or weight.ndim < 2:
        state = layer.kq.state(weight)
        live = state.k + state.i + state.f > 0
        finest, i = np.where(live, state.f, 0), np.broadcast_to(state.i, weight.shape)
    else:
        # Single weights: the finest LSB is that of their output channel, integer bits follow from the code;
        # nothing is finer than what settling left of the channel, so that float32 stays exact.
        axes = tuple(range(weight.ndim - 1))
        largest = np.max(np.abs(weight), axis=axes, keepdims=True)
        i = np.broadcast_to(ceil_log2(largest), weight.shape)
        settled = np.max(live_frac(layer.kq.state(weight)), axis=axes, keepdims=True)
        finest = np.minimum(width - 1 - ceil_log2(largest), settled)
    return _candidates(weight, np.broadcast_to(finest, weight.shape), i, width + 1, shared)


def capped(found: WeightCandidates, finest: np.ndarray) -> WeightCandidates:
    """As many candidates, none of them finer than ``finest`` fractional bits."""
    finest = np.minimum(found.finest, finest)
    return _candidates(found.weight, finest, found.i, len(found.error), found.shared)


def _candidates(
    weight: np.ndarray, finest: np.ndarray, i: np.ndarray, count: int, shared: tuple[int, ...]
) -> WeightCandidates:
    error = np.empty((count, *weight.shape), np.float32)
    spans = np.empty((count, *weight.shape), np.uint8)
    for lost in range(count):
        f = finest - lost
        codes = nearest_codes(weight, f, largest_code(i, f))
        error[lost] = (np.ldexp(codes, -f) - weight) ** 2
        spans[lost] = span(codes)
    return WeightCandidates(weight=weight, finest=finest, i=i, error=error, spans=spans, shared=shared)
