"""What the outputs of a linear layer are products of: rows of input patches, the kernel as a matrix."""

from __future__ import annotations

import numpy as np

from hgqify.layers import QLinear
from hgqify.layers.windows import window_padding


def groups_of(layer: QLinear) -> int:
    """How many groups of channels a layer treats apart; 1 for dense layers, channels for depthwise ones."""
    if hasattr(layer, "depth_multiplier"):
        return int(layer.kernel.shape[-2])
    return int(getattr(layer, "groups", 1))


def kernel_matrices(layer: QLinear, kernel: np.ndarray) -> np.ndarray:
    """The kernel (or anything of its shape), as (groups, terms, outputs of a group).

    Terms run over window and channels of a group, in the order of `patch_rows`.
    """
    groups = groups_of(layer)
    if hasattr(layer, "depth_multiplier"):
        return np.moveaxis(kernel.reshape(-1, groups, kernel.shape[-1]), 0, 1)
    flat = kernel.reshape(-1, kernel.shape[-1])
    return np.moveaxis(flat.reshape(flat.shape[0], groups, -1), 1, 0)


def from_matrices(layer: QLinear, matrices: np.ndarray) -> np.ndarray:
    """Inverse of `kernel_matrices`."""
    # (terms, groups, outputs of a group), which is the kernel's own order, flat.
    return np.moveaxis(matrices, 0, 1).reshape(tuple(layer.kernel.shape))


def patch_rows(layer: QLinear, x: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
    """Input patches, (groups, rows, terms), of up to ``rows`` of all samples and positions.

    The same seed chooses the same rows of another input of the same shape.

    Args:
        layer: dense or convolution layer.
        x: its input, batch first.
        rows: how many at most; drawn without replacement.
    """
    if not hasattr(layer, "kernel_size"):
        flat = x.reshape(-1, x.shape[-1])
        return flat[_chosen(len(flat), rows, seed)][None]
    if layer.data_format == "channels_first":
        x = np.moveaxis(x, 1, -1)
    geometry = (layer.kernel_size, layer.strides, layer.dilation_rate)
    pads = window_padding(x.shape[1:-1], *geometry, layer.padding)
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    reach = [d * (w - 1) + 1 for w, _, d in zip(*geometry, strict=True)]
    positions = [(n - r) // s + 1 for n, r, s in zip(padded.shape[1:-1], reach, layer.strides, strict=True)]
    places = (len(x), *positions)
    sample, *starts = np.unravel_index(_chosen(int(np.prod(places)), rows, seed), places)
    starts = [start * s for start, s in zip(starts, layer.strides, strict=True)]
    parts = []
    for offset in np.ndindex(*layer.kernel_size):
        shifts = (o * d for o, d in zip(offset, layer.dilation_rate, strict=True))
        parts.append(padded[(sample, *(a + b for a, b in zip(starts, shifts, strict=True)))])
    stacked = np.stack(parts, axis=1)  # (rows, window, channels)
    split = stacked.reshape(*stacked.shape[:2], groups_of(layer), -1)
    return np.moveaxis(split, 2, 0).reshape(split.shape[2], len(stacked), -1)


def _chosen(count: int, rows: int, seed: int) -> np.ndarray:
    """Which rows are taken: all, or a random choice."""
    if count <= rows:
        return np.arange(count)
    return np.random.default_rng(seed).choice(count, rows, replace=False, shuffle=False)
