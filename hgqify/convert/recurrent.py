"""Why a recurrent layer was not unrolled: one that was has become other layers before conversion."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node, why_not_unrolled

_KINDS = ("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return dict.fromkeys(_KINDS, _refuse)


def _refuse(node: Node, slots: Slots) -> keras.layers.Layer:
    what, remedy = why_not_unrolled(node, slots.input_shape) or (
        "the layer was not unrolled",
        "canonicalize the graph with the pass 'unroll-recurrent'",
    )
    raise UnsupportedLayerError(what, where=node.name, received=node.kind, remedy=remedy)
