"""Chosen formats, given to the quantizers of a layer."""

from __future__ import annotations

import numpy as np

from hgqify.calibrate.candidates import DataCandidates
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.widths import apply_bias
from hgqify.layers import QLinear


def assign_data(layer: QLinear, candidates: DataCandidates, chosen: np.ndarray) -> None:
    """Give the quantizer of a layer's input the chosen candidates; without bits, it gives zeros."""
    i, f, bits = (taken(part, chosen) for part in (candidates.i, candidates.f, candidates.bits))
    live = bits > 0
    parts = (np.where(live, part, 0) for part in (candidates.k, i, f))
    layer.iqs[0].set_state(*(part.reshape(layer.iqs[0].width_shape) for part in parts))


def assign_weights(layer: QLinear, f: np.ndarray, codes: np.ndarray, shared: tuple[int, ...]) -> None:
    """Give the kernel quantizer the formats of the weights; the bias follows the LSB of the products.

    Args:
        layer: its input's formats are final.
        f, codes: fractional bits and value in LSBs of every weight. Integer bits are what the largest
            code of each group needs.
        shared: axes along which one format is shared.
    """
    largest = np.max(np.abs(codes), axis=shared, keepdims=True)
    f = np.max(f, axis=shared, keepdims=True)
    live = largest > 0
    parts = (np.ones_like(f), ceil_log2(largest + 1.0) - f, f)
    layer.kq.set_state(*(np.where(live, part, 0).reshape(layer.kq.width_shape) for part in parts))
    apply_bias(layer)


def taken(parts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``parts[chosen[n], n]`` for every element n."""
    return np.take_along_axis(parts, np.asarray(chosen)[None], axis=0)[0]
