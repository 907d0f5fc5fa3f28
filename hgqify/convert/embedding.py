"""The converter of embeddings."""

from __future__ import annotations

import keras

from hgqify.convert.registry import Converter
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node
from hgqify.layers import QEmbedding
from hgqify.layers.embedding import MAX_ROWS

_OUTSIDE = "look the vectors up before the firmware and feed them as input"


def converters() -> dict[str, Converter]:
    """Converters by kind."""
    return {"Embedding": _embedding}


def _embedding(node: Node, slots: Slots) -> keras.layers.Layer:
    rows, length = node.weights["embeddings"].shape
    if node.config.get("mask_zero"):
        raise UnsupportedLayerError(
            "masks are not supported",
            where=node.name,
            received="mask_zero=True",
            remedy="train it with mask_zero=False: firmware works on full sequences",
        )
    if rows > MAX_ROWS:
        raise UnsupportedLayerError(
            f"a table has at most {MAX_ROWS} rows",
            where=node.name,
            received=f"input_dim={rows}",
            remedy=_OUTSIDE,
        )
    return QEmbedding(rows, length, **slots.common, oq_conf=slots.table_row())
