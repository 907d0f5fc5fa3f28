"""Converters of the parts of a softmax: reductions over any axes, and constant masks."""

from __future__ import annotations

import keras

import hgqify.layers as q
from hgqify.convert.lower_softmax import BELOW, MASK, SUM, constant_mask
from hgqify.convert.registry import Converter
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return {BELOW: _below_maximum, MASK: _mask, SUM: _sum, "Softmax": _refuse_softmax}


def _below_maximum(node: Node, slots: Slots) -> keras.layers.Layer:
    return q.QBelowMaximum(
        axis=node.config["axis"],
        mask=node.config["mask"],
        **slots.common,
        iq_conf=slots.addend(0),
        oq_conf=slots.output(),
    )


def _sum(node: Node, slots: Slots) -> keras.layers.Layer:
    return q.QSum(axis=node.config["axis"], **slots.common, iq_conf=slots.addend(0), oq_conf=slots.output())


def _mask(node: Node, slots: Slots) -> keras.layers.Layer:
    return q.QMask(mask=node.config["mask"], **slots.common, iq_conf=False, oq_conf=slots.output())


def _refuse_softmax(node: Node, slots: Slots) -> keras.layers.Layer:
    if not constant_mask(node)[0]:
        raise UnsupportedLayerError(
            "the mask of a softmax must be the same for every sample",
            where=node.name,
            received=node.kind,
            remedy="give a constant mask, or add a large negative number to what is masked yourself",
        )
    raise UnsupportedLayerError(
        "the settings refuse a softmax at the end of the model",
        where=node.name,
        received=node.kind,
        remedy="use softmax='logits' to leave it to the host, or softmax='convert'",
    )
