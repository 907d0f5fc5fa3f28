"""Lowering of embeddings: the index is quantized to an integer, and every channel is a table of its own."""

from __future__ import annotations

import keras
import numpy as np

from hgqify import layers
from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding, to_codes
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Concatenate, Constant, Quantize, Reshape, Table


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QEmbedding)(embedding)


def embedding(call: LayerLowering) -> str:
    """``QEmbedding``: codes beyond the last row hold its values, which is where the index saturates.

    Raises:
        PrecisionError: the rows' quantizer is off.
    """
    layer = call.layer
    (x,) = call.inputs
    shape = call.shape_of(x)
    bits = max(1, (layer.input_dim - 1).bit_length())
    index = Quantize(
        k=np.asarray(0),
        i=np.asarray(bits),
        f=np.asarray(0),
        rounding=Rounding.TRN,
        overflow=Overflow.SAT,
    )
    name = call.add(index, x, shape=shape, role="index")
    name = call.add(Reshape(), name, shape=(*shape, 1), role="column")
    codes, frac = _rows(call)
    codes = np.concatenate([codes, np.repeat(codes[-1:], 2**bits - len(codes), axis=0)])
    columns = [
        call.add(
            Table(in_frac=0, first=0, entries=Constant(codes=codes[:, channel], frac=frac)),
            name,
            shape=(*shape, 1),
            role=f"channel{channel}",
        )
        for channel in range(layer.output_dim)
    ]
    if len(columns) == 1:
        return columns[0]
    return call.add(Concatenate(axis=len(shape)), *columns, shape=call.shape)


def _rows(call: LayerLowering) -> tuple[np.ndarray, int]:
    """The codes of all rows, and their fractional bits."""
    quantizer = call.layer.oq
    if quantizer is None or quantizer.is_dummy:
        raise PrecisionError(
            "the rows of an embedding have no quantizer",
            where=call.path,
            remedy="give the layer an oq_conf that is on",
        )
    state = quantizer.state()
    k, i, f = (np.ravel(part)[0] for part in (state.k, state.i, state.f))
    digits = None if state.digits is None else np.ravel(state.digits)[0]
    values = np.asarray(keras.ops.convert_to_numpy(call.layer.embeddings), np.float32)
    codes = to_codes(values, k, i, f, state.rounding, state.overflow, digits)
    return np.asarray(codes, np.int64), int(f)
