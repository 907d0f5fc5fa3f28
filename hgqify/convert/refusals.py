"""Kinds that passes lower wherever they can: what is left of them is refused, and the reason is said."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.remedies import REMEDIES
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Graph, Node
from hgqify.graph.passes import drop_masks, lower_adaptive_pooling, lower_einsum_dense, open_attention
from hgqify.layers import QLayer


def converters() -> dict[str, Converter]:
    """Converters by kind; each one refuses."""
    attention = (
        "MultiHeadAttention",
        "GroupQueryAttention",
        "Attention",
        "AdditiveAttention",
        "custom.GroupedQueryAttention",
    )
    adaptive = [f"Adaptive{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)]
    return {
        "EinsumDense": _einsum_dense,
        "Dot": _dot,
        "Masking": _masking,
        "RandomCrop": _random_crop,
        "Discretization": _discretization,
        **dict.fromkeys(("Resizing", "CenterCrop"), _resizing),
        **dict.fromkeys(adaptive, _adaptive),
        **dict.fromkeys(attention, _attention),
    }


def refuse_quantized(graph: Graph) -> None:
    """Refuse a model that has been converted already, or was built of quantized layers.

    Raises:
        UnsupportedLayerError: a layer is one of ours.
    """
    ours = [node.name for node in graph if node.source is not None and issubclass(node.source, QLayer)]
    if ours:
        raise UnsupportedLayerError(
            "the model is quantized already: its layers are hgqify's own",
            where=graph.name,
            received=", ".join(ours[:3]) + (f" and {len(ours) - 3} more" if len(ours) > 3 else ""),
            remedy="convert the float model it was made from; this one can be trained with fit(), and the "
            "folder it is in compared with `hgqify check` and written again with `hgqify export`",
        )


def _masking(node: Node, slots: Slots) -> keras.layers.Layer:
    value = node.config.get("mask_value", 0)
    reason = (
        "a layer behind it reads the mask, which depends on the data"
        if drop_masks.is_zero(value)
        else "it sets steps to zero, and which ones depends on the data"
    )
    raise UnsupportedLayerError(
        f"this mask has no fixed-point form: {reason}",
        where=node.name,
        received=f"mask_value={value}",
        remedy=REMEDIES["Masking"],
    )


def _random_crop(node: Node, slots: Slots) -> keras.layers.Layer:
    raise UnsupportedLayerError(
        "at inference Keras hands on the whole image, though it announces a cropped one",
        where=node.name,
        received=f"RandomCrop of {slots.input_shape} to {node.shape}",
        remedy="crop the training data before the model, or use CenterCrop",
    )


def _resizing(node: Node, slots: Slots) -> keras.layers.Layer:
    raise UnsupportedLayerError(
        "this resizing is no matrix for each axis, rounds integers, or cuts an axis into too many pieces",
        where=node.name,
        received=f"{node.kind} of {slots.input_shape} to {node.shape}",
        remedy=REMEDIES["Resizing"],
    )


def _discretization(node: Node, slots: Slots) -> keras.layers.Layer:
    raise UnsupportedLayerError(
        "only numbers of bins have a table, no encodings of them",
        where=node.name,
        received=f"output_mode={node.config.get('output_mode')!r}",
        remedy="use output_mode='int', or encode the bins before the firmware",
    )


def _adaptive(node: Node, slots: Slots) -> keras.layers.Layer:
    raise UnsupportedLayerError(
        lower_adaptive_pooling.why_not(node, slots.input_shape)
        or "it is called in another way than layer(x)",
        where=node.name,
        received=f"{node.kind} of {slots.input_shape} to {node.shape}",
        remedy="choose an output size that divides the input's",
    )


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
