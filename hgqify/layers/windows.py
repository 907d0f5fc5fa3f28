"""Where a sliding window lies: explicit zeros for 'same', 'causal' and 'valid', and exact window sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def window_padding(
    spatial: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str,
) -> tuple[tuple[int, int], ...]:
    """Zeros (before, after) per spatial axis, as Keras places them.

    'same' gives ceil(n / stride) outputs with the odd zero behind; 'causal' puts all zeros in front.
    """
    pads = []
    for n, w, s, d in zip(spatial, window, strides, dilation, strict=True):
        reach = d * (w - 1) + 1
        if padding == "same":
            total = max((-(-n // s) - 1) * s + reach - n, 0)
            pads.append((total // 2, total - total // 2))
        elif padding == "causal":
            pads.append((reach - 1, 0))
        else:
            pads.append((0, 0))
    return tuple(pads)


def window_sum(
    x: Any,
    axes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> Any:
    """Sum over windows along the given axes: additions only, hence exact while 24 bits hold every sum.

    A box filter is separable, so each axis is summed alone. ``pads``: (before, after) zeros per axis.
    """
    for axis, w, s, pad in zip(axes, window, strides, pads, strict=True):
        if any(pad):
            x = ops.pad(x, [pad if a == axis else (0, 0) for a in range(len(x.shape))])
        last = x.shape[axis] - w + 1
        index = [slice(None)] * len(x.shape)
        total = None
        for offset in range(w):
            index[axis] = slice(offset, last + offset, s)
            part = x[tuple(index)]
            total = part if total is None else total + part
        x = total
    return x


def window_counts(
    spatial: Sequence[int], window: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Number of real (not padded) elements in each window; int64 of the output's spatial shape."""
    counts = np.ones((1,) * len(spatial), np.int64)
    for axis, (n, w, s, (before, after)) in enumerate(zip(spatial, window, strides, pads, strict=True)):
        starts = np.arange(0, n + before + after - w + 1, s) - before
        real = np.minimum(starts + w, n) - np.maximum(starts, 0)
        counts = counts * real.reshape([-1 if a == axis else 1 for a in range(len(spatial))])
    return counts
