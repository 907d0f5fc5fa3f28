"""Converters of what softmax and normalizations are lowered to: reductions, tables, constant masks."""

from __future__ import annotations

import math
from typing import Any

import keras

import hgqify.layers as q
from hgqify.convert.elementwise import reciprocal_bits
from hgqify.convert.lower_softmax import constant_mask
from hgqify.convert.parts import (
    BELOW,
    BY_POWER,
    DIVIDED,
    FACTOR_BITS,
    LARGEST,
    MASK,
    MEAN,
    SCALED,
    SUM,
    TABLE,
)
from hgqify.convert.registry import Converter
from hgqify.convert.settings import WIDTH_LIMIT
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.fixed import Rounding
from hgqify.graph import Node
from hgqify.layers.qactivation import MAX_TABLE_BITS

_OCTAVES = 2
"""Bits that the index of a reciprocal root has beyond those of other tables."""
_BELOW_BITS = 16
"""Of what a softmax subtracts from its maximum: logits far below it take the integer bits, those near it tell
their differences in the others. Adders count no EBOPs."""


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return {
        BELOW: _below_maximum,
        MASK: _mask,
        SUM: _sum,
        MEAN: _mean,
        TABLE: _table,
        SCALED: _scaled,
        DIVIDED: _divided,
        BY_POWER: _by_power,
        LARGEST: _largest,
        "Softmax": _refuse_softmax,
    }


def _below_maximum(node: Node, slots: Slots) -> keras.layers.Layer:
    return q.QBelowMaximum(
        axis=node.config["axis"],
        mask=node.config["mask"],
        **slots.common,
        iq_conf=slots.addend(0, bits=max(slots.target.merge_bits, _BELOW_BITS)),
        oq_conf=slots.output(),
    )


def _sum(node: Node, slots: Slots) -> keras.layers.Layer:
    return q.QSum(axis=node.config["axis"], **slots.common, iq_conf=slots.addend(0), oq_conf=slots.output())


def _mean(node: Node, slots: Slots) -> keras.layers.Layer:
    width = slots.target.input_bits if slots.from_input[0] else slots.target.merge_bits
    count = math.prod(slots.input_shape) // math.prod(node.shape)
    if count & (count - 1) == 0:
        # Squares of small rows are tiny beside those of large ones, and all bits of a shift cost nothing.
        width = max(width, WIDTH_LIMIT - (count - 1).bit_length())
    return q.QMean(
        axis=node.config["axis"],
        **slots.common,
        iq_conf=slots.addend(0, bits=width),
        oq_conf=slots.output(),
        reciprocal_bits=reciprocal_bits(slots, width, count),
    )


def _table(node: Node, slots: Slots) -> keras.layers.Layer:
    function = q.get_activation(node.config["activation"], node.config["activation_params"], where=node.name)
    index, entry = slots.target.table_in_bits, None
    if slots.share is not None:
        entry = min(slots.share, slots.target.table_out_bits)
    if function.function in (q.power_scale, q.scaled_epsilon):
        return _table_of_powers(function, slots)
    if function.function is q.inverse_sqrt:
        # Powers span twice the octaves that their roots do.
        index = max(index, min(index + _OCTAVES, MAX_TABLE_BITS))
        entry = max(slots.target.table_out_bits, FACTOR_BITS)
    return q.QActivation(
        function,
        **slots.common,
        iq_conf=slots.table_index(index),
        oq_conf=slots.table_entry(entry),
        max_table_bits=max(MAX_TABLE_BITS, slots.target.table_in_bits),
    )


def _table_of_powers(function: q.Activation, slots: Slots) -> keras.layers.Layer:
    """One bit an octave, and nothing is rounded up to the next one."""
    octaves = int(function.params["highest"]) - int(function.params["lowest"]) + 1
    entry = octaves if function.function is q.power_scale else FACTOR_BITS
    return q.QActivation(
        function,
        **slots.common,
        iq_conf=slots.table_index(octaves).replace(round_mode=Rounding.TRN),
        oq_conf=slots.table_entry(entry),
        max_table_bits=max(octaves + 1, 2),
    )


def _by_power(node: Node, slots: Slots) -> keras.layers.Layer:
    lowest, highest = node.config["lowest"], node.config["highest"]
    octaves = highest - lowest + 1
    # The smallest rows keep as many bits as the largest.
    bits = min(max(slots.target.activation_bits, FACTOR_BITS) + octaves - 1, WIDTH_LIMIT)
    confs: Any = [slots.row_operand(bits), slots.table_index(octaves)]
    return q.QMultiplyPow2(
        lowest=lowest, highest=highest, **slots.common, iq_conf=confs, oq_conf=slots.output()
    )


def _largest(node: Node, slots: Slots) -> keras.layers.Layer:
    # A maximum needs no rounding.
    return q.QLargest(axis=node.config["axis"], **slots.common, iq_conf=False, oq_conf=slots.output())


def _scaled(node: Node, slots: Slots) -> keras.layers.Layer:
    bits = max(slots.target.activation_bits, FACTOR_BITS)
    confs: Any = [slots.row_operand(bits)] * 2
    return q.QMultiply(**slots.common, iq_conf=confs, oq_conf=slots.output())


def _divided(node: Node, slots: Slots) -> keras.layers.Layer:
    # Rows of one sum may still differ in size, reciprocals do not.
    reciprocal = min(slots.target.table_out_bits, WIDTH_LIMIT - FACTOR_BITS)
    confs: Any = [slots.row_operand(bits) for bits in (WIDTH_LIMIT - reciprocal, reciprocal)]
    return q.QMultiply(**slots.common, iq_conf=confs, oq_conf=slots.output())


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
