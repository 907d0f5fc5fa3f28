"""Converters of layers with weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.slots import Slots
from hgqify.graph import Node
from hgqify.layers import (
    QBatchNormalization,
    QConv1D,
    QConv2D,
    QConv3D,
    QDense,
    QDepthwiseConv1D,
    QDepthwiseConv2D,
)


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return {
        "Dense": _linear(QDense, (-1,)),
        "Conv1D": _linear(QConv1D, (-1,)),
        "Conv2D": _linear(QConv2D, (-1,)),
        "Conv3D": _linear(QConv3D, (-1,)),
        # A depthwise kernel is (*window, channels, multiplier): each pair makes one output channel.
        "DepthwiseConv1D": _linear(QDepthwiseConv1D, (-2, -1)),
        "DepthwiseConv2D": _linear(QDepthwiseConv2D, (-2, -1)),
        "BatchNormalization": _batch_normalization,
    }


def channel_axis(node: Node) -> int:
    """The axis of the channels in a layer's input, batch included."""
    return 1 if node.config.get("data_format") == "channels_first" else -1


def _linear(cls: Callable[..., keras.layers.Layer], kernel_axes: tuple[int, ...]) -> Converter:
    def convert(node: Node, slots: Slots) -> keras.layers.Layer:
        config: dict[str, Any] = dict(node.config)
        # Keras refuses arguments that only describe how the float layer was trained or stored.
        for name in ("lora_rank", "lora_alpha", "quantization_mode"):
            config.pop(name, None)
        if config.get("activation") is not None:
            config["activation"] = keras.activations.get(config["activation"])
        return cls(
            **config,
            **slots.common,
            iq_conf=slots.multiplied(channel_axis=channel_axis(node)),
            kq_conf=slots.factor(kernel_axes),
            bq_conf=slots.bias(),
            oq_conf=slots.output(),
        )

    return convert


def _batch_normalization(node: Node, slots: Slots) -> keras.layers.Layer:
    axis = node.config.get("axis", -1)
    # Fine-tuning sees few samples: statistics gathered over the whole training are worth more.
    return QBatchNormalization(
        **node.config,
        **slots.common,
        freeze_statistics=True,
        iq_conf=slots.operand(channel_axis=axis if isinstance(axis, int) else axis[0]),
        kq_conf=slots.kernel((-1,)),
        bq_conf=slots.bias(),
        oq_conf=slots.output(),
    )
