"""Layers written out in NumPy float64 with explicit loops: slow, plain, and sharing no code with hgqify."""

from __future__ import annotations

import itertools
import math

import numpy as np


def pads(n: int, window: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Zeros before and after, as TensorFlow documents 'same'."""
    reach = (window - 1) * dilation + 1
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    over = reach - stride if n % stride == 0 else reach - n % stride
    over = max(over, 0)
    return over // 2, over - over // 2


def conv(layer, x, kernel, *, depthwise=False):
    """Convolution, channels last; kernel (*window, in // groups, filters), or (*window, in, m)."""
    window = kernel.shape[:-2]
    rank = len(window)
    strides, dilation = layer.strides, layer.dilation_rate
    amounts = [pads(x.shape[1 + a], window[a], strides[a], dilation[a], layer.padding) for a in range(rank)]
    x = np.pad(x, [(0, 0), *amounts, (0, 0)])
    channels = x.shape[-1]
    sizes = [(x.shape[1 + a] - (window[a] - 1) * dilation[a] - 1) // strides[a] + 1 for a in range(rank)]
    filters = channels * kernel.shape[-1] if depthwise else kernel.shape[-1]
    y = np.zeros((x.shape[0], *sizes, filters), x.dtype)
    for place in itertools.product(*map(range, sizes)):
        for offset in itertools.product(*map(range, window)):
            at = tuple(p * s + o * d for p, s, o, d in zip(place, strides, offset, dilation, strict=True))
            seen = x[(slice(None), *at)]
            for n in range(filters):
                if depthwise:
                    c, m = divmod(n, kernel.shape[-1])
                    y[(slice(None), *place, n)] += seen[:, c] * kernel[(*offset, c, m)]
                else:
                    per = kernel.shape[-2]
                    group = n // (filters // (channels // per))
                    part = seen[:, group * per : (group + 1) * per]
                    y[(slice(None), *place, n)] += part @ kernel[(*offset, slice(None), n)]
    return y


def pool(layer, x, reduce):
    """``reduce(values of a window without padding (batch, count, channels))`` for every window."""
    window, strides = layer.pool_size, layer.strides
    rank = len(window)
    before = [pads(x.shape[1 + a], window[a], strides[a], 1, layer.padding)[0] for a in range(rank)]
    if layer.padding == "same":
        sizes = [math.ceil(x.shape[1 + a] / strides[a]) for a in range(rank)]
    else:
        sizes = [(x.shape[1 + a] - window[a]) // strides[a] + 1 for a in range(rank)]
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    for place in itertools.product(*map(range, sizes)):
        slices = []
        for a, p in enumerate(place):
            start = p * strides[a] - before[a]
            slices.append(slice(max(start, 0), min(start + window[a], x.shape[1 + a])))
        seen = x[(slice(None), *slices)]
        y[(slice(None), *place)] = reduce(seen.reshape(x.shape[0], -1, x.shape[-1]))
    return y


def mean_by_reciprocal(bits: int):
    """Sum times 1/count rounded to ``bits`` significant bits, in plain float64."""

    def reduce(values):
        count = values.shape[1]
        scale = 2.0 ** (bits - 1 + math.ceil(math.log2(count)))
        return values.sum(axis=1) * (math.floor(scale / count + 0.5) / scale)

    return reduce
