"""Kinds that passes lower wherever they can: what is left of them is refused, and the reason is said."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.remedies import REMEDIES
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node
from hgqify.graph.passes import lower_einsum_dense


def converters() -> dict[str, Converter]:
    """Converters by kind; each one refuses."""
    return {"EinsumDense": _einsum_dense}


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
