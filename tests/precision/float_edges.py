"""One-layer Keras models whose exact results are as wide as asked, and inputs that go to their ends."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.layers import QLayer, quantized_layers, refresh
from hgqify.quantizers import QuantizerConfig

KINDS: dict[str, Callable[[int], keras.Model]] = {}


def data(bits: int, f: int = 0, overflow: str = "SAT", **options: Any) -> QuantizerConfig:
    """A quantizer of signed ``bits``-bit numbers with ``f`` fractional bits."""
    return QuantizerConfig("kif", "datalane", k0=1, i0=bits - 1 - f, f0=f, overflow_mode=overflow, **options)


def weights(bits: int, i: int = 0, place: str = "weight") -> QuantizerConfig:
    return QuantizerConfig("kbi", place, k0=1, i0=i, b0=bits - 1, overflow_mode="SAT_SYM")


def kind(function: Callable[[int], keras.Model]) -> Callable[[int], keras.Model]:
    KINDS[function.__name__] = function
    return function


def _one(layer: keras.layers.Layer, *shapes: tuple[int, ...]) -> keras.Model:
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    rng = np.random.default_rng(0)
    for owner in quantized_layers(model):
        for variable in (getattr(owner, name, None) for name in ("kernel", "bias", "gamma", "beta")):
            if variable is not None:
                variable.assign(rng.uniform(-1, 1, variable.shape))
    refresh(model)
    return model


_W: dict[str, Any] = {"kq_conf": weights(7), "bq_conf": weights(7, place="bias")}


@kind
def dense(bits: int) -> keras.Model:
    return _one(q.QDense(3, iq_conf=data(bits), **_W), (20,))


@kind
def leaky(bits: int) -> keras.Model:
    layer = q.QDense(
        3, iq_conf=data(bits), activation="leaky_relu", activation_params={"negative_slope": 0.625}, **_W
    )
    return _one(layer, (9,))


@kind
def clipped(bits: int) -> keras.Model:
    return _one(q.QDense(3, iq_conf=data(bits, 2), activation="relu6", **_W), (9,))


@kind
def convolution(bits: int) -> keras.Model:
    layer = q.QConv1D(4, 3, dilation_rate=2, padding="causal", groups=2, iq_conf=data(bits), **_W)
    return _one(layer, (7, 4))


@kind
def image(bits: int) -> keras.Model:
    return _one(q.QConv2D(3, 3, padding="same", strides=2, iq_conf=data(bits), **_W), (5, 5, 2))


@kind
def depthwise(bits: int) -> keras.Model:
    return _one(q.QDepthwiseConv2D(3, depth_multiplier=2, iq_conf=data(bits), **_W), (5, 5, 2))


@kind
def normalization(bits: int) -> keras.Model:
    return _one(q.QBatchNormalization(iq_conf=data(bits), **_W), (6,))


@kind
def sum_of_five(bits: int) -> keras.Model:
    confs = [data(bits - n, n) for n in range(5)]
    return _one(q.QAdd(iq_conf=confs), (4, 3), (1, 3), (4, 1), (1, 1), (4, 3))


@kind
def difference(bits: int) -> keras.Model:
    return _one(q.QSubtract(iq_conf=[data(bits), data(bits - 3, 2)]), (4, 3), (1, 3))


@kind
def product_of_three(bits: int) -> keras.Model:
    return _one(q.QMultiply(iq_conf=data(bits)), (4, 3), (1, 3), (4, 1))


@kind
def average_of_three(bits: int) -> keras.Model:
    return _one(q.QAverage(iq_conf=data(bits), reciprocal_bits=9), (4,), (4,), (4,))


@kind
def pooled(bits: int) -> keras.Model:
    return _one(q.QAveragePooling2D(3, padding="same", iq_conf=data(bits), reciprocal_bits=9), (5, 5, 2))


@kind
def pooled_whole(bits: int) -> keras.Model:
    return _one(q.QGlobalAveragePooling2D(iq_conf=data(bits), reciprocal_bits=9), (5, 5, 2))


def extremes(model: keras.Model, count: int, seed: int = 0) -> list[np.ndarray]:
    """Codes at and near the ends of the input formats, signs at random or aligned with a weight's."""
    rng = np.random.default_rng(seed)
    (layer,) = quantized_layers(model)
    arrays = []
    for tensor, quantizer in zip(model.inputs, layer.iqs, strict=True):
        state = quantizer.state()
        top, lsb = 2.0 ** float(state.i.max()), 2.0 ** -float(state.f.max())
        shape = (count, *tensor.shape[1:])
        signs = np.sign(rng.normal(size=shape))
        aligned = _aligned(layer, shape)
        if aligned is not None:
            signs[: count // 2] = aligned[: count // 2] * np.sign(
                rng.normal(size=(count // 2,) + (1,) * (len(shape) - 1))
            )
        else:
            signs[: count // 2] = 1
        near = top - lsb * rng.integers(1, 5, shape)
        near[-count // 8 :] = rng.uniform(0, top, near[-count // 8 :].shape)
        arrays.append((signs * near).astype(np.float32))
    return arrays


def _aligned(layer: QLayer, shape: tuple[int, ...]) -> np.ndarray | None:
    """Signs that make all products of one output of a dense layer positive."""
    if not isinstance(layer, q.QDense):
        return None
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    return np.broadcast_to(np.where(kernel >= 0, 1.0, -1.0).T, (shape[0] // 2 + 1, *kernel.T.shape)).reshape(
        -1, kernel.shape[0]
    )[: shape[0]]
