"""Cases of reductions over any axes and of constant masks."""

from __future__ import annotations

import math

import numpy as np
from contract import Case
from linear_cases import OUT

from hgqify import layers as L
from hgqify.layers import reciprocal

CAUSAL = np.tril(np.ones((3, 4), bool))
HOLES = np.array([[True, False, True, True], [False] * 4, [True, True, False, False]])


def total(*axes):
    return lambda layer, x: x.sum(axis=axes, keepdims=True)


def mean(*axes):
    def oracle(layer, x):
        count = math.prod(x.shape[a] for a in axes)
        code, frac = reciprocal(count, layer.reciprocal_bits)
        return x.sum(axis=axes, keepdims=True) * (code / 2.0**frac)

    return oracle


def mean_ebops(*axes):
    def count(layer, bits, **_):
        size = math.prod(bits.shape[a] for a in axes)
        code, _ = reciprocal(size, layer.reciprocal_bits)
        return int(np.sum(bits.max(axis=axes) + math.ceil(math.log2(size)))) * (len(bin(code)) - 2)

    return count


def below(*axes, mask=None):
    def oracle(layer, x):
        if mask is None:
            return x.max(axis=axes, keepdims=True) - x
        y = np.zeros(x.shape)
        for n in np.ndindex(x.shape[:-1]):
            keep = np.broadcast_to(mask, x.shape[1:])[n[1:]]
            if keep.any():
                y[n][keep] = x[n][keep].max() - x[n][keep]
        return y

    return oracle


REDUCTIONS = [
    Case(name="sum-last", make=lambda: L.QSum(), shapes=[(3, 4)], oracle=total(2)),
    Case(
        name="sum-two-axes",
        trains=False,
        make=lambda: L.QSum(axis=[1, -1], oq_conf=OUT),
        shapes=[(3, 2, 4)],
        oracle=total(1, 3),
    ),
    Case(name="mean-shift", make=lambda: L.QMean(), shapes=[(3, 4)], oracle=mean(2)),
    Case(
        name="mean-of-six",
        make=lambda: L.QMean(axis=(2, 1), reciprocal_bits=9),
        shapes=[(3, 2, 4)],
        oracle=mean(1, 2),
        ebops=mean_ebops(0, 1),
    ),
    Case(
        name="mean-pow2-of-six",
        make=lambda: L.QMeanPow2(axis=(1, 2), oq_conf=OUT),
        shapes=[(3, 2, 4)],
        oracle=lambda layer, x: x.sum(axis=(1, 2), keepdims=True) / 8,
    ),
    Case(name="below-maximum", make=lambda: L.QBelowMaximum(), shapes=[(3, 4)], oracle=below(2)),
    Case(
        name="below-maximum-first-axis",
        trains=False,
        make=lambda: L.QBelowMaximum(axis=1, oq_conf=OUT),
        shapes=[(3, 4)],
        oracle=below(1),
    ),
    Case(
        name="below-maximum-causal",
        make=lambda: L.QBelowMaximum(mask=CAUSAL),
        shapes=[(3, 4)],
        oracle=below(2, mask=CAUSAL),
    ),
    Case(
        name="below-maximum-empty-row",
        trains=False,
        make=lambda: L.QBelowMaximum(mask=HOLES),
        shapes=[(2, 3, 4)],
        oracle=below(3, mask=HOLES),
    ),
    Case(
        name="largest",
        make=lambda: L.QLargest(axis=[1, -1]),
        shapes=[(3, 2, 4)],
        oracle=lambda layer, x: np.abs(x).max(axis=(1, 3), keepdims=True),
    ),
    Case(
        name="mask",
        trains=False,
        make=lambda: L.QMask(mask=HOLES),
        shapes=[(2, 3, 4)],
        oracle=lambda layer, x: x * HOLES,
    ),
    Case(
        name="mask-quantized",
        make=lambda: L.QMask(mask=[[True], [False], [True]], iq_conf=OUT),
        shapes=[(3, 4)],
        oracle=lambda layer, x: x * np.array([[1], [0], [1]]),
    ),
]
