"""Our layers with a kernel, or with a scale and a shift, as HGQ2's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import to_peer
from hgqify.hgq2.peer_placed import Ours, PeerPlaced
from hgqify.hgq2.peer_tables import function_of
from hgqify.hgq2.placed import Apply, require_equal

_CONV = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups")


def linear(ours: Ours) -> Apply:
    """Layers with a kernel; a normalization that is folded in becomes part of the constants."""
    layer = ours.layer
    h = peer.library("layers")
    arguments: dict[str, Any]
    kernel, bias = (None if value is None else peer.numpy(value) for value in layer.constants())
    if isinstance(layer, q.QDense):
        cls, arguments = h.QDense, {"units": layer.units, "use_bias": bias is not None}
    elif isinstance(layer, q.QEinsumDense):
        axes = layer.bias_axes if bias is None or layer.bias_axes else layer.equation[-1]
        cls = h.QEinsumDense
        shape = tuple(ours.node.shape)
        arguments = {"equation": layer.equation, "output_shape": shape, "bias_axes": axes}
    else:
        cls = getattr(h, type(layer).__name__)
        arguments = {name: getattr(layer, name) for name in _CONV} | {"use_bias": bias is not None}
    kq = to_peer(layer.kq, f"{ours.path} (kq)", kernel)
    bq = None if bias is None else to_peer(layer.bq, f"{ours.path} (bq)", bias)
    constants = layer.quantized_weights()

    def settle(theirs: Any) -> None:
        ours.settle_data(theirs)
        for name, value, setting, quantizer, peers in (
            ("kernel", kernel, kq, layer.kq, theirs.kq),
            ("bias", bias, bq, layer.bq, theirs.bq),
        ):
            if setting is None or value is None:
                continue
            getattr(theirs, name).assign(value)
            setting.assign(peers)
            if not quantizer.is_dummy:
                found = peer.numpy(getattr(theirs, f"q{name}"))
                require_equal(constants[name], found, quantizer.state(value).f, ours.path, name)

    made = cls(
        **arguments,
        activation=function_of(layer.activation, ours.path),
        iq_conf=ours.iq_conf,
        kq_conf=kq.config,
        bq_conf=None if bq is None else bq.config,
        **ours.common(counted=arguments.get("padding") != "causal"),
    )
    return PeerPlaced(made, settle)


def batch_normalization(ours: Ours) -> Apply:
    """`QBatchNormalization`, with our scale and shift."""
    layer = ours.layer
    scale, shift = layer.scale_shift()
    kq = to_peer(layer.kq, f"{ours.path} (kq)", scale)
    bq = to_peer(layer.bq, f"{ours.path} (bq)", shift)
    constants: dict[str, np.ndarray] = layer.quantized_weights()
    statistics = {
        "bn_gamma": np.ones_like(scale) if layer.gamma is None else peer.numpy(layer.gamma),
        "bn_beta": np.zeros_like(shift) if layer.beta is None else peer.numpy(layer.beta),
        "moving_mean": peer.numpy(layer.moving_mean),
        "moving_variance": peer.numpy(layer.moving_variance),
    }

    def differing(theirs: Any) -> bool:
        found = [peer.numpy(value) for value in theirs.qscaler_and_qoffset]
        return not all(np.array_equal(*pair) for pair in zip(constants.values(), found, strict=True))

    def settle(theirs: Any) -> None:
        ours.settle_data(theirs)
        kq.assign(theirs.kq)
        bq.assign(theirs.bq)
        _give(theirs, statistics)
        if differing(theirs):
            _give(theirs, _as_constants(scale, shift, layer.epsilon))
        found = [peer.numpy(value) for value in theirs.qscaler_and_qoffset]
        for n, (name, quantizer, value) in enumerate(
            (("scale", layer.kq, scale), ("shift", layer.bq, shift))
        ):
            if not quantizer.is_dummy:
                require_equal(constants[name], found[n], quantizer.state(value).f, ours.path, name)

    made = peer.library("layers").QBatchNormalization(
        axis=layer.axis,
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        iq_conf=ours.iq_conf,
        kq_conf=kq.config,
        bq_conf=bq.config,
        **ours.common(),
    )
    return PeerPlaced(made, settle)


def _give(theirs: Any, values: Mapping[str, np.ndarray]) -> None:
    for name, value in values.items():
        getattr(theirs, name).assign(value)


def _as_constants(scale: np.ndarray, shift: np.ndarray, epsilon: float) -> dict[str, np.ndarray]:
    """Statistics that leave a scale and a shift as they are: where the last bit of HGQ2's float32 division
    would round to another code than that of our float64 one.
    """
    near = np.float32(1 - epsilon)
    choices = (near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(0)))
    variance = next((v for v in choices if v + np.float32(epsilon) == 1), near)
    return {
        "bn_gamma": scale,
        "bn_beta": shift,
        "moving_mean": np.zeros_like(scale),
        "moving_variance": np.full_like(scale, variance),
    }


def mask(ours: Ours) -> Apply:
    """`QMask` along the last axis as a normalization with a scale of 0 and 1.

    Raises:
        UnsupportedLayerError: a mask over other axes.
    """
    values = ours.layer.mask_values()
    scale = values.reshape(-1, values.shape[-1])
    if ours.iqs or np.any(scale != scale[0]):
        raise UnsupportedLayerError(
            "HGQ2 has masks along the last axis and in a softmax only",
            where=ours.path,
            received=f"a mask over {values.shape}" + (" with an input quantizer" if ours.iqs else ""),
            remedy="mask the last axis alone, without a quantizer, or leave the mask out",
        )
    library = peer.library("config")
    whole = {"f0": 0, "i0": 1, "overflow_mode": "WRAP", "is_weight": True, "trainable": False}
    kq, bq = (library.QuantizerConfig("kif", place, **whole) for place in ("weight", "bias"))
    made = peer.library("layers").QBatchNormalization(
        epsilon=1e-3, kq_conf=kq, bq_conf=bq, trainable=False, **ours.common(counted=False)
    )

    def settle(theirs: Any) -> None:
        ours.settle_data(theirs)
        constant = np.asarray(scale[0], np.float32)
        _give(theirs, _as_constants(constant, np.zeros_like(constant), 1e-3))

    return PeerPlaced(made, settle)
