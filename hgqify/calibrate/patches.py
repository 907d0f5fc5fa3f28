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
    sizes = np.array(x.shape[1:-1])
    pads = np.array(window_padding(x.shape[1:-1], *geometry, layer.padding))
    window, strides, dilation = (np.array(part) for part in geometry)
    positions = (sizes + pads.sum(axis=1) - dilation * (window - 1) - 1) // strides + 1
    sample, *places = np.unravel_index(
        _chosen(len(x) * int(np.prod(positions)), rows, seed), (len(x), *positions)
    )
    corner = np.stack(places) * strides[:, None] - pads[:, :1]
    flat = x.reshape(-1, x.shape[-1])
    stacked = np.empty((len(sample), int(np.prod(window)), x.shape[-1]), x.dtype)  # (rows, window, channels)
    for n, offset in enumerate(np.ndindex(*layer.kernel_size)):
        at = corner + (np.array(offset) * dilation)[:, None]
        inside = np.all((at >= 0) & (at < sizes[:, None]), axis=0)
        index = np.ravel_multi_index((sample, *at), x.shape[:-1], mode="clip")
        stacked[:, n] = flat[index]
        stacked[~inside, n] = 0
    split = stacked.reshape(*stacked.shape[:2], groups_of(layer), -1)
    return np.moveaxis(split, 2, 0).reshape(split.shape[2], len(stacked), -1)


def _chosen(count: int, rows: int, seed: int) -> np.ndarray:
    """Which rows are taken: all, or a random choice."""
    if count <= rows:
        return np.arange(count)
    return np.random.default_rng(seed).choice(count, rows, replace=False, shuffle=False)
