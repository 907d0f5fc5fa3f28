"""Layers of HGQ2 with a kernel, and its batch normalization.

QBatchNormDense and QEinsumDenseBatchnorm hold a normalization in their kernel: of it the constants of
inference are taken, so that ours is a plain layer. (HGQ2's normalizes the *input* of the dense layer, and
takes neither the scale into the shift nor the layer's own epsilon; neither is ours.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.hgq2 import formats, peer
from hgqify.hgq2.placed import Placed, Source, given, require_equal, tensor, wanted
from hgqify.layers.activations import get_activation, require_exact
from hgqify.quantizers import Place


def dense(source: Source) -> Placed:
    """`QDense`."""
    return _linear(source, q.QDense, {"units": source.layer.units})


def batchnorm_dense(source: Source) -> Placed:
    """`QBatchNormDense`, its normalization in the constants."""
    return _linear(source, q.QDense, {"units": source.layer.units}, folded=True)


def einsum_dense(source: Source) -> Placed:
    """`QEinsumDense`."""
    return _linear(source, q.QEinsumDense, _einsum_arguments(source.layer))


def einsum_dense_batchnorm(source: Source) -> Placed:
    """`QEinsumDenseBatchnorm`, its normalization in the constants."""
    return _linear(source, q.QEinsumDense, _einsum_arguments(source.layer), folded=True)


def conv(rank: int) -> Callable[[Source], Placed]:
    """`QConv1D` and so on."""
    cls = {1: q.QConv1D, 2: q.QConv2D, 3: q.QConv3D}[rank]
    names = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups")

    def convert(source: Source) -> Placed:
        return _linear(source, cls, {name: getattr(source.layer, name) for name in names})

    return convert


def _einsum_arguments(layer: Any) -> dict[str, Any]:
    return {
        "equation": layer.equation,
        "output_shape": tuple(layer.partial_output_shape),
        "bias_axes": layer.bias_axes,
    }


def _linear(source: Source, cls: Any, arguments: Mapping[str, Any], *, folded: bool = False) -> Placed:
    layer, path = source.layer, source.path
    activation = require_exact(get_activation(layer.activation, where=path), path)
    deployed = {"kernel": peer.numpy(layer.qkernel)}
    latent = deployed["kernel"] if folded else peer.numpy(layer.kernel)
    kq = formats.of_constant(layer.kq, latent, Place.WEIGHT, f"{path} (kq)")
    bias, bq = None, None
    if layer.bias is not None:
        deployed["bias"] = peer.numpy(layer.qbias)
        bias = deployed["bias"] if folded else peer.numpy(layer.bias)
        bq = formats.of_constant(layer.bq, bias, Place.BIAS, f"{path} (bq)")
    if cls is not q.QEinsumDense:
        arguments = {**arguments, "use_bias": bias is not None}
    iq, oq = source.input(), source.output()

    def settle(ours: Any) -> None:
        ours.kernel.assign(latent)
        kq.assign(ours.kq)
        if bq is not None:
            ours.bias.assign(bias)
            bq.assign(ours.bq)
        constants = ours.quantized_weights()
        for name, quantizer, weight in (("kernel", ours.kq, ours.kernel), ("bias", ours.bq, bias)):
            if quantizer is not None and not quantizer.is_dummy:
                f = quantizer.state(weight).f
                require_equal(constants[name], deployed[name], f, path, name)

    made = cls(
        **arguments,
        activation=activation,
        iq_conf=given(iq),
        kq_conf=kq.config,
        bq_conf=wanted(bq),
        oq_conf=wanted(oq),
        name=source.name,
        **source.counting(),
    )
    return Placed(made, inputs=[iq], output=oq, settle=settle)


def batch_normalization(source: Source) -> Placed:
    """`QBatchNormalization`; without a beta HGQ2's shift has 1 in its place."""
    layer, path = source.layer, source.path
    mean, variance = peer.numpy(layer.moving_mean), peer.numpy(layer.moving_variance)
    gamma = peer.numpy(layer.bn_gamma) if layer.scale else np.ones_like(mean)
    beta = peer.numpy(layer.bn_beta) if layer.center else np.ones_like(mean)
    # As HGQ2 computes them, in float32 and in this order.
    scale = peer.numpy(tensor(gamma) / keras.ops.sqrt(tensor(variance) + layer.epsilon))
    shift = peer.numpy(tensor(beta) - tensor(mean) * tensor(scale))
    quantized = map(peer.numpy, layer.qscaler_and_qoffset)
    deployed: dict[str, np.ndarray] = dict(zip(("scale", "shift"), quantized, strict=True))
    kq = formats.of_constant(layer.kq, scale, Place.WEIGHT, f"{path} (kq)")
    bq = formats.of_constant(layer.bq, shift, Place.BIAS, f"{path} (bq)")
    iq, oq = source.input(), source.output()

    def settle(ours: Any) -> None:
        for name, value in (
            ("gamma", gamma),
            ("beta", beta),
            ("moving_mean", mean),
            ("moving_variance", variance),
        ):
            getattr(ours, name).assign(value)
        kq.assign(ours.kq)
        bq.assign(ours.bq)
        ours.refresh()
        # The last bit of a float32 division may round to another code than that of our float64 one.
        ours.stored.store(np.stack([scale, shift]), ours.stored.source)
        constants: dict[str, np.ndarray] = ours.quantized_weights()
        for name, quantizer, value in (("scale", ours.kq, scale), ("shift", ours.bq, shift)):
            if not quantizer.is_dummy:
                require_equal(constants[name], deployed[name], quantizer.state(value).f, path, name)

    made = q.QBatchNormalization(
        axis=layer.axis,
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        iq_conf=given(iq),
        kq_conf=kq.config,
        bq_conf=bq.config,
        oq_conf=wanted(oq),
        name=source.name,
        **source.counting(),
    )
    return Placed(made, inputs=[iq], output=oq, settle=settle)
