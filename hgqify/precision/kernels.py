"""Exact integer linear algebra on NumPy arrays, shared by the transfer rules and the reference.

Integers are multiplied by BLAS where that is provably exact: a sum of products whose absolute values
add up to less than 2**24 (2**53) is exact in float32 (float64) in any order of summation, because every
partial sum is an integer below that bound. Larger sums are split into pieces that keep to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hgqify.fixed import MAX_BITS

# Working memory for unfolded convolution windows, in elements.
_UNFOLD_ELEMENTS = 1 << 22


def rescale(codes: np.ndarray, frac: int, to: int) -> np.ndarray:
    """Codes on 2**-frac as codes on 2**-to; the caller knows that the dropped bits are zero."""
    if to >= frac:
        return codes << (to - frac) if to > frac else codes
    return codes >> min(frac - to, 63)


def rescale_each(codes: np.ndarray, frac: int, to: np.ndarray) -> np.ndarray:
    """As `rescale`, to LSBs that differ between elements; ``to`` broadcasts."""
    drop = frac - np.asarray(to, np.int64)
    return (codes >> np.clip(drop, 0, 63)) << np.clip(-drop, 0, 63)


def peak(codes: np.ndarray) -> int:
    """Largest absolute value, 0 for an empty array."""
    return int(np.max(np.abs(codes))) if codes.size else 0


Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def exact_product(
    product: Product, x: np.ndarray, kernel: np.ndarray, x_peak: int, weight_sum: int
) -> np.ndarray:
    """A bilinear product of int64 arrays, computed in the cheapest arithmetic that is exact.

    Args:
        product: the bilinear map, e.g. a matrix product; works on any dtype.
        x: int64 operand with ``abs(x) <= x_peak``.
        kernel: int64 constants.
        x_peak: bound of ``abs(x)``.
        weight_sum: bound of the sum of ``abs(kernel)`` that meets in one output. The true result must
            fit int64; this product of bounds need not (int64 wraps on the way and comes back).
    """
    bound = x_peak * weight_sum
    if bound < 1 << 24:
        return product(x.astype(np.float32), kernel.astype(np.float32)).astype(np.int64)
    if bound < 1 << 53:
        return product(x.astype(np.float64), kernel.astype(np.float64)).astype(np.int64)
    piece = 53 - weight_sum.bit_length()
    if piece < 12:
        return product(x, kernel)
    # x = sum of pieces * 2**(piece * n): all but the last piece are non-negative and below 2**piece.
    weights = kernel.astype(np.float64)
    result: np.ndarray | None = None
    shift = 0
    while True:
        last = x_peak.bit_length() - shift < piece
        part = x >> shift if last else (x >> shift) & ((1 << piece) - 1)
        term = product(part.astype(np.float64), weights).astype(np.int64) << shift
        result = term if result is None else result + term
        if last:
            return result
        shift += piece


def weight_sum(kernel: np.ndarray) -> int:
    """Largest sum of absolute weights that meet in one output (last axis: outputs), as Python int."""
    if not kernel.size:
        return 0
    flat = np.abs(kernel.reshape(-1, kernel.shape[-1]))
    estimate = float(flat.astype(np.float64).sum(axis=0).max())
    if estimate < 2.0**MAX_BITS:
        return int(flat.sum(axis=0).max())
    return int(estimate * 1.0001)


def matmul(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``x[..., c] @ kernel[c, o]`` as one matrix product."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def batched_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a[..., m, c]`` and ``b[..., n, c]`` to ``[..., m, n]``."""
    return np.matmul(a, np.swapaxes(b, -1, -2))


def pad_space(x: np.ndarray, padding: tuple[tuple[int, int], ...], value: int = 0) -> np.ndarray:
    """Pads the spatial axes of ``x`` (batch, *space, channels)."""
    if not any(before or after for before, after in padding):
        return x
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def windows(
    x: np.ndarray, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> np.ndarray:
    """View (batch, *out, channels, *window) of the windows over the spatial axes of ``x``."""
    rank = len(window)
    axes = tuple(range(1, rank + 1))
    extent = tuple((w - 1) * d + 1 for w, d in zip(window, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=axes)  # type: ignore[call-overload]
    steps = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), *steps, slice(None), *taps)]


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    groups: int,
) -> np.ndarray:
    """Convolution of (batch, *space, channels) with (*window, channels // groups, filters), any dtype."""
    window = kernel.shape[:-2]
    per_group, filters = kernel.shape[-2:]
    x = pad_space(x, padding)
    if per_group == 1 and groups > 1:
        return _depthwise(x, kernel, strides, dilation, groups)
    outputs = []
    for g in range(groups):
        part = x[..., g * per_group : (g + 1) * per_group]
        weights = kernel[..., g * (filters // groups) : (g + 1) * (filters // groups)]
        view = windows(part, window, strides, dilation)
        # (batch, *out, channels, *window) -> kernel order (*window, channels)
        rank = len(window)
        view = np.moveaxis(view, rank + 1, -1)
        flat = weights.reshape(-1, weights.shape[-1])
        outputs.append(_unfolded_product(view, flat, rank))
    return outputs[0] if groups == 1 else np.concatenate(outputs, axis=-1)


def _unfolded_product(view: np.ndarray, flat: np.ndarray, rank: int) -> np.ndarray:
    """Windows (batch, *out, *window, channels) times (window * channels, filters), some samples at a time."""
    batch, out = view.shape[0], view.shape[1 : rank + 1]
    places = int(np.prod(out, dtype=np.int64))
    result = np.empty((batch, *out, flat.shape[1]), dtype=view.dtype)
    rows = max(1, _UNFOLD_ELEMENTS // max(1, places * flat.shape[0]))
    for start in range(0, batch, rows):
        part = view[start : start + rows]
        unfolded = part.reshape(part.shape[0] * places, flat.shape[0])
        result[start : start + rows] = (unfolded @ flat).reshape(part.shape[0], *out, flat.shape[1])
    return result


def _depthwise(
    x: np.ndarray, kernel: np.ndarray, strides: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> np.ndarray:
    """One input channel per group: tap by tap, without unfolding."""
    window = kernel.shape[:-2]
    multiplier = kernel.shape[-1] // groups
    out = tuple(
        (size - (w - 1) * d - 1) // s + 1
        for size, w, d, s in zip(x.shape[1:-1], window, dilation, strides, strict=True)
    )
    result = np.zeros((x.shape[0], *out, groups, multiplier), dtype=x.dtype)
    for tap in np.ndindex(*window):
        place = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, dilation, out, strides, strict=True)
        )
        weights = kernel[tap].reshape(groups, multiplier)
        result += x[(slice(None), *place)][..., None] * weights
    return result.reshape(x.shape[0], *out, groups * multiplier)
