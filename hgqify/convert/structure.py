"""Converters of layers that only move values: plain Keras layers pass exact values through."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node, float_factory
from hgqify.layers import Quantize

QUANTIZE = "Quantize"
"""Kind of the nodes that conversion itself adds at model inputs and outputs, and around what stays float."""

INPUT_ROLE, OUTPUT_ROLE, ENTRY, EXIT = "input", "output", "entry", "exit"
"""What such a node is for: a model's input or output; what comes from a float layer, or goes to one."""

STRUCTURAL = frozenset(
    {
        "Reshape",
        "Flatten",
        "Permute",
        "RepeatVector",
        "Concatenate",
        *(f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3)),
    }
)
"""Kinds that are kept as they are."""


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return {**dict.fromkeys(STRUCTURAL, _keep), QUANTIZE: _quantize}


def _keep(node: Node, slots: Slots) -> keras.layers.Layer:
    interpolation = node.config.get("interpolation", "nearest")
    if interpolation != "nearest":
        raise UnsupportedLayerError(
            "interpolation computes new values",
            where=node.name,
            received=f"interpolation={interpolation!r}",
            remedy="use interpolation='nearest', which repeats values",
        )
    return float_factory(node.with_(layer=slots.name))


def _quantize(node: Node, slots: Slots) -> keras.layers.Layer:
    leaves = node.config["role"] in (OUTPUT_ROLE, EXIT)
    conf = slots.model_output() if leaves else slots.model_input()
    return Quantize(**slots.common, iq_conf=conf)
