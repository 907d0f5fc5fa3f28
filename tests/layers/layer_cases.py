"""Cases of the layers without weights, and all families."""

from __future__ import annotations

import math

import keras
import numpy as np
from autodiff import numpy
from contract import Case, quantized
from layer_oracles import mean_by_reciprocal, pool
from linear_cases import KIF, LINEAR, NORMALIZATION, OUT, PER_CHANNEL, SHARED, channels_first, relu
from reduction_cases import REDUCTIONS
from table_cases import TABLES

from hgqify import layers as L
from hgqify.layers import reciprocal


def tabulated(function):
    """The function in float64, rounded to the table's output format."""

    def oracle(layer, x):
        return quantized(layer.oq, function(x), layer.stored.value)

    return oracle


def affine(function):
    """The same of a scale and shift."""

    def oracle(layer, x):
        scale, shift = (float(numpy(w)[0]) for w in (layer.scale, layer.shift))
        return tabulated(function)(layer, scale * x + shift)

    return oracle


def rows(layer, x):
    table = numpy(layer.embeddings).astype(np.float64)
    return table[np.clip(np.floor(x), 0, len(table) - 1).astype(int)]


ACTIVATIONS = [
    Case(name="quantize", make=lambda: L.Quantize(), shapes=[(4, 3)], oracle=lambda layer, x: x),
    Case(
        name="quantize-saturating",
        trains=False,
        make=lambda: L.Quantize(iq_conf={"overflow_mode": "SAT"}),
        shapes=[(4,)],
        oracle=lambda layer, x: x,
    ),
    Case(
        name="activation-relu",
        make=lambda: L.QActivation("relu"),
        shapes=[(4, 3)],
        oracle=lambda layer, x: relu(x),
    ),
    Case(
        name="activation-relu-no-iq",
        trains=False,
        make=lambda: L.QActivation("relu", iq_conf=False, oq_conf=OUT),
        shapes=[(4, 3)],
        oracle=lambda layer, x: relu(x),
    ),
    Case(
        name="activation-hard-tanh",
        trains=False,
        make=lambda: L.QActivation("hard_tanh"),
        shapes=[(4,)],
        oracle=lambda layer, x: np.clip(x, -1, 1),
    ),
    Case(
        name="activation-bounded-leaky",
        trains=False,
        make=lambda: L.QActivation("relu", activation_params={"negative_slope": 0.25, "max_value": 1.5}),
        shapes=[(4,)],
        oracle=lambda layer, x: np.minimum(np.where(x < 0, x / 4, x), 1.5),
    ),
    Case(
        name="activation-tanh", make=lambda: L.QActivation("tanh"), shapes=[(4, 3)], oracle=tabulated(np.tanh)
    ),
    Case(
        name="activation-sigmoid-kif",
        trains=False,
        make=lambda: L.QActivation(
            "sigmoid", iq_conf={"overflow_mode": "SAT"}, oq_conf=KIF, max_table_bits=8
        ),
        shapes=[(5,)],
        oracle=tabulated(lambda x: 1 / (1 + np.exp(-x))),
    ),
    Case(
        name="activation-elu",
        trains=False,
        make=lambda: L.QActivation("elu", activation_params={"alpha": 0.7}),
        shapes=[(4,)],
        oracle=tabulated(lambda x: np.where(x < 0, 0.7 * np.expm1(x), x)),
    ),
    Case(
        name="activation-gelu",
        make=lambda: L.QActivation("gelu"),
        shapes=[(4,)],
        oracle=tabulated(lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))),
    ),
    Case(
        name="embedding",
        make=lambda: L.QEmbedding(
            6, 3, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=0)
        ),
        shapes=[(4,)],
        oracle=rows,
    ),
    Case(
        name="activation-leaky-table",
        trains=False,
        make=lambda: L.QActivation("leaky_relu", activation_params={"negative_slope": 0.3}),
        shapes=[(4,)],
        oracle=tabulated(lambda x: np.where(x < 0, 0.3 * x, x)),
    ),
    Case(
        name="affine-activation-tanh",
        make=lambda: L.QAffineActivation("tanh"),
        shapes=[(4, 3)],
        oracle=affine(np.tanh),
    ),
    Case(
        name="affine-activation-relu-kif",
        make=lambda: L.QAffineActivation(
            "relu", iq_conf={"overflow_mode": "SAT"}, oq_conf=KIF, max_table_bits=8
        ),
        shapes=[(5,)],
        oracle=affine(relu),
    ),
]


def average(layer, *xs):
    code, frac = reciprocal(len(xs), layer.reciprocal_bits)
    return sum(xs) * (code / 2.0**frac)


def average_ebops(layer, *bits, **_):
    code, _ = reciprocal(len(bits), layer.reciprocal_bits)
    growth = math.ceil(math.log2(len(bits)))
    return int(np.sum(np.max(bits, axis=0) + growth)) * len(bin(code)[2:].strip("0"))


MERGES = [
    Case(name="add-three", make=lambda: L.QAdd(), shapes=[(4, 3)] * 3, oracle=lambda layer, *x: sum(x)),
    Case(
        name="add-broadcast",
        trains=False,
        make=lambda: L.QAdd(oq_conf=OUT),
        shapes=[(4, 3), (1, 3)],
        oracle=lambda layer, a, b: a + b,
    ),
    Case(
        name="subtract-two-configs",
        make=lambda: L.QSubtract(iq_conf=[SHARED, {"overflow_mode": "SAT"}]),
        shapes=[(4,)] * 2,
        oracle=lambda layer, a, b: a - b,
    ),
    Case(
        name="multiply",
        make=lambda: L.QMultiply(),
        shapes=[(4,)] * 2,
        oracle=lambda layer, a, b: a * b,
        ebops=lambda layer, a, b: int(np.sum(a * b)),
    ),
    Case(
        name="multiply-pow2",
        make=lambda: L.QMultiplyPow2(lowest=-2, highest=3),
        shapes=[(2, 4), (2, 1)],
        oracle=lambda layer, a, b: a * b,
        ebops=lambda layer, a, b: int(np.sum(a * b)),
    ),
    Case(
        name="multiply-three",
        trains=False,
        make=lambda: L.QMultiply(),
        shapes=[(2, 4), (2, 4), (1, 4)],
        oracle=lambda layer, a, b, c: a * b * c,
        ebops=lambda layer, a, b, c: int(np.sum(a * b) + np.sum((a + b) * c)),
    ),
    Case(
        name="einsum-scores",
        make=lambda: L.QEinsum("thc,shc->hts"),
        shapes=[(3, 2, 4), (5, 2, 4)],
        oracle=lambda layer, a, b: np.einsum("bthc,bshc->bhts", a, b),
        ebops=lambda layer, a, b: int(np.einsum("thc,shc->hts", a, b).sum()),
    ),
    Case(
        name="einsum-with-batch",
        trains=False,
        make=lambda: L.QEinsum("bij,bjk->bki", iq_conf=[SHARED, {"overflow_mode": "SAT"}], oq_conf=OUT),
        shapes=[(3, 4), (4, 2)],
        oracle=lambda layer, a, b: np.einsum("bij,bjk->bki", a, b),
        ebops=lambda layer, a, b: int(np.einsum("ij,jk->ik", a, b).sum()),
    ),
    Case(
        name="einsum-outer",
        trains=False,
        make=lambda: L.QEinsum("i,j->ij"),
        shapes=[(3,), (2,)],
        oracle=lambda layer, a, b: a[:, :, None] * b[:, None, :],
        ebops=lambda layer, a, b: int(np.sum(a) * np.sum(b)),
    ),
    Case(
        name="maximum",
        make=lambda: L.QMaximum(),
        shapes=[(4,)] * 3,
        oracle=lambda layer, *x: np.max(x, axis=0),
    ),
    Case(
        name="minimum",
        make=lambda: L.QMinimum(),
        shapes=[(4,)] * 2,
        oracle=lambda layer, *x: np.min(x, axis=0),
    ),
    Case(name="average-two", trains=False, make=lambda: L.QAverage(), shapes=[(4,)] * 2, oracle=average),
    Case(
        name="average-pow2-of-three",
        trains=False,
        make=lambda: L.QAveragePow2(oq_conf=OUT),
        shapes=[(4,)] * 3,
        oracle=lambda layer, *xs: sum(xs) / 4,
    ),
    Case(
        name="average-three",
        make=lambda: L.QAverage(reciprocal_bits=10),
        shapes=[(4,)] * 3,
        oracle=average,
        ebops=average_ebops,
    ),
]

MEAN = mean_by_reciprocal(12)


def maximum(values):
    return values.max(axis=1)


def everywhere(reduce):
    """Global pooling of channels-last data."""
    return lambda layer, x: reduce(x.reshape(x.shape[0], -1, x.shape[-1]))


def windows(reduce):
    return lambda layer, x: pool(layer, x, reduce)


def pool_ebops(layer, bits, **_):
    counts = pool(layer, np.ones((1, *bits.shape)), lambda v: np.full(v[:, 0].shape, v.shape[1]))
    spatial = counts[0, ..., 0].astype(int).ravel()
    widest = bits.reshape(-1, bits.shape[-1]).max(axis=0) + math.ceil(math.log2(spatial.max()))
    codes = [reciprocal(int(n), layer.reciprocal_bits)[0] for n in spatial]
    return int(widest.sum()) * sum(len(bin(c)) - 2 for c in codes if c != 1)


def global_ebops(layer, bits, **_):
    count = bits.size // bits.shape[-1]
    widest = bits.reshape(-1, bits.shape[-1]).max(axis=0) + math.ceil(math.log2(count))
    return int(widest.sum()) * (len(bin(reciprocal(count, layer.reciprocal_bits)[0])) - 2)


POOLING = [
    Case(
        name="maxpool1d-same",
        make=lambda: L.QMaxPooling1D(3, padding="same"),
        shapes=[(5, 2)],
        oracle=windows(maximum),
        trains=False,
    ),
    Case(
        name="maxpool2d-quantized",
        make=lambda: L.QMaxPooling2D(2, iq_conf=OUT),
        shapes=[(4, 5, 2)],
        oracle=windows(maximum),
    ),
    Case(
        name="maxpool3d",
        make=lambda: L.QMaxPooling3D(2),
        shapes=[(2, 4, 3, 2)],
        oracle=windows(maximum),
        trains=False,
    ),
    Case(
        name="globalmax1d",
        make=lambda: L.QGlobalMaxPooling1D(oq_conf=OUT),
        shapes=[(5, 2)],
        oracle=everywhere(maximum),
    ),
    Case(
        name="globalmax2d",
        make=lambda: L.QGlobalMaxPooling2D(),
        shapes=[(3, 4, 2)],
        oracle=everywhere(maximum),
        trains=False,
    ),
    Case(
        name="globalmax3d",
        make=lambda: L.QGlobalMaxPooling3D(),
        shapes=[(2, 3, 2, 2)],
        oracle=everywhere(maximum),
        trains=False,
    ),
    Case(
        name="avgpool1d-overlapping",
        make=lambda: L.QAveragePooling1D(3, strides=2),
        shapes=[(8, 2)],
        oracle=windows(MEAN),
        ebops=pool_ebops,
    ),
    Case(
        name="avgpool2d-shift",
        trains=False,
        make=lambda: L.QAveragePooling2D((2, 4), oq_conf=OUT),
        shapes=[(4, 8, 2)],
        oracle=windows(MEAN),
    ),
    Case(
        name="avgpool2d-same",
        make=lambda: L.QAveragePooling2D(3, strides=2, padding="same", reciprocal_bits=9),
        shapes=[(5, 6, 2)],
        oracle=windows(mean_by_reciprocal(9)),
        ebops=pool_ebops,
    ),
    Case(
        name="avgpool2d-channels-first",
        trains=False,
        make=lambda: L.QAveragePooling2D((3, 1), data_format="channels_first"),
        shapes=[(2, 6, 4)],
        oracle=channels_first(windows(MEAN)),
        ebops=lambda layer, bits, **_: pool_ebops(layer, np.moveaxis(bits, 0, -1)),
    ),
    Case(
        name="avgpool3d",
        make=lambda: L.QAveragePooling3D((1, 2, 3)),
        shapes=[(2, 4, 6, 2)],
        oracle=windows(MEAN),
        ebops=pool_ebops,
    ),
    Case(
        name="globalavg1d-shift",
        make=lambda: L.QGlobalAveragePooling1D(),
        shapes=[(8, 3)],
        oracle=everywhere(MEAN),
    ),
    Case(
        name="globalavg2d",
        make=lambda: L.QGlobalAveragePooling2D(iq_conf=PER_CHANNEL),
        shapes=[(5, 5, 3)],
        oracle=everywhere(MEAN),
        ebops=global_ebops,
    ),
    Case(
        name="globalavg3d-keepdims",
        make=lambda: L.QGlobalAveragePooling3D(keepdims=True),
        shapes=[(2, 3, 2, 2)],
        oracle=lambda layer, x: everywhere(MEAN)(layer, x)[:, None, None, None],
        ebops=global_ebops,
    ),
]

FAMILIES = {
    "linear": [*LINEAR, *NORMALIZATION],
    "activations": [*ACTIVATIONS, *TABLES],
    "merges": MERGES,
    "pooling": POOLING,
    "reductions": REDUCTIONS,
}
CASES = [case for family in FAMILIES.values() for case in family]
