"""Kinds that passes lower wherever they can: what is left of them is refused, and the reason is said."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.remedies import REMEDIES
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node
from hgqify.graph.passes import lower_einsum_dense, open_attention


def converters() -> dict[str, Converter]:
    """Converters by kind; each one refuses."""
    attention = ("MultiHeadAttention", "GroupQueryAttention", "Attention", "custom.GroupedQueryAttention")
    return {"EinsumDense": _einsum_dense, "Dot": _dot, **dict.fromkeys(attention, _attention)}


def _attention(node: Node, slots: Slots) -> keras.layers.Layer:
    reason = open_attention.why_not(node) or "query, value and key have other shapes than it takes"
    raise UnsupportedLayerError(
        f"this attention has no fixed-point form: {reason}",
        where=node.name,
        received=node.kind,
        remedy=REMEDIES["Attention"],
    )


def _dot(node: Node, slots: Slots) -> keras.layers.Layer:
    raise UnsupportedLayerError(
        "a product of two tensors that normalizes them has no fixed-point form",
        where=node.name,
        received="Dot(normalize=True)",
        remedy=REMEDIES["Dot"],
    )


def _einsum_dense(node: Node, slots: Slots) -> keras.layers.Layer:
    reason = (
        lower_einsum_dense.why_not(node, slots.input_shape) or "it is called in another way than layer(x)"
    )
    raise UnsupportedLayerError(
        f"this equation is no dense layer: {reason}",
        where=node.name,
        received=node.config["equation"],
        remedy=REMEDIES["EinsumDense"],
    )
