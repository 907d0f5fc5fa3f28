"""Converters of activations, merges and averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

import hgqify.layers as q
from hgqify.convert.linear import channel_axis
from hgqify.convert.registry import Converter
from hgqify.convert.settings import WIDTH_LIMIT
from hgqify.convert.slots import Slots
from hgqify.graph import Node
from hgqify.layers.qactivation import MAX_TABLE_BITS

_RECIPROCAL_BITS = 12


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    table: dict[str, Converter] = dict.fromkeys(("Activation", "ReLU", "LeakyReLU", "ELU"), _activation)
    for kind in ("Add", "Subtract", "Maximum", "Minimum"):
        table[kind] = _merge(getattr(q, f"Q{kind}"))
    table["Multiply"] = _product
    table["Einsum"] = _einsum
    table["Average"] = _average
    for rank in ("1D", "2D", "3D"):
        for kind in (f"AveragePooling{rank}", f"GlobalAveragePooling{rank}"):
            table[kind] = _average_pooling(getattr(q, f"Q{kind}"))
        for kind in (f"MaxPooling{rank}", f"GlobalMaxPooling{rank}"):
            table[kind] = _max_pooling(getattr(q, f"Q{kind}"))
    return table


def _activation(node: Node, slots: Slots) -> keras.layers.Layer:
    origin = getattr(keras.layers, node.kind).from_config(dict(node.config))
    activation = q.get_activation(origin, where=node.name)
    if activation.kind is q.ActivationKind.EXACT:
        # Exact on any grid: a quantizer in front could only lose accuracy.
        return q.QActivation(activation, **slots.common, iq_conf=False, oq_conf=slots.output())
    return q.QActivation(
        activation,
        **slots.common,
        iq_conf=slots.table_index(),
        oq_conf=slots.table_entry(),
        max_table_bits=max(MAX_TABLE_BITS, slots.target.table_in_bits),
    )


def _merge(cls: Callable[..., keras.layers.Layer]) -> Converter:
    def convert(node: Node, slots: Slots) -> keras.layers.Layer:
        confs: Any = [slots.addend(index) for index in range(len(node.inputs))]
        return cls(**slots.common, iq_conf=confs, oq_conf=slots.output())

    return convert


def _product(node: Node, slots: Slots) -> keras.layers.Layer:
    confs: Any = [slots.operand(index) for index in range(len(node.inputs))]
    return q.QMultiply(**slots.common, iq_conf=confs, oq_conf=slots.output())


def _einsum(node: Node, slots: Slots) -> keras.layers.Layer:
    confs: Any = [slots.operand(index) for index in range(len(node.inputs))]
    if slots.share is not None:
        confs[0] = slots.row_operand(min(slots.share, slots.target.activation_bits))
    return q.QEinsum(node.config["equation"], **slots.common, iq_conf=confs, oq_conf=slots.output())


def _average(node: Node, slots: Slots) -> keras.layers.Layer:
    confs: Any = [slots.addend(index) for index in range(len(node.inputs))]
    width = slots.target.merge_bits if not any(slots.from_input) else slots.target.input_bits
    return q.QAverage(
        **slots.common,
        iq_conf=confs,
        oq_conf=slots.output(),
        reciprocal_bits=reciprocal_bits(slots, width, len(node.inputs)),
    )


def _average_pooling(cls: Callable[..., keras.layers.Layer]) -> Converter:
    def convert(node: Node, slots: Slots) -> keras.layers.Layer:
        conf = slots.operand(channel_axis=channel_axis(node))
        width = slots.target.input_bits if slots.from_input[0] else slots.target.activation_bits
        return cls(
            **node.config,
            **slots.common,
            iq_conf=conf,
            oq_conf=slots.output(),
            reciprocal_bits=reciprocal_bits(slots, width, _window_size(node, slots)),
        )

    return convert


def _window_size(node: Node, slots: Slots) -> int:
    """Elements averaged into one output, at most."""
    if "pool_size" in node.config:
        sizes = node.config["pool_size"]
        return _product_of(sizes if isinstance(sizes, list | tuple) else (sizes,))
    # A global pooling node does not know its input's shape; slots carry it.
    shape = slots.input_shape
    return _product_of(shape[1:] if node.config.get("data_format") == "channels_first" else shape[:-1])


def reciprocal_bits(slots: Slots, width: int, count: int) -> int:
    """Bits of 1/count such that sum times reciprocal stays within a float32 significand; all of them in a
    layer that is to equal its float origin."""
    if not slots.quantize:
        return WIDTH_LIMIT
    return max(1, min(_RECIPROCAL_BITS, WIDTH_LIMIT - width - (count - 1).bit_length()))


def _max_pooling(cls: Callable[..., keras.layers.Layer]) -> Converter:
    def convert(node: Node, slots: Slots) -> keras.layers.Layer:
        return cls(**node.config, **slots.common, iq_conf=False, oq_conf=slots.output())

    return convert


def _product_of(sizes: Any) -> int:
    result = 1
    for size in sizes:
        result *= int(size)
    return result
