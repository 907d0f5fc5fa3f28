"""Lowering of dense layers made of tables: every input goes to its edges, each looks up, and they add up."""

from __future__ import annotations

import math

import numpy as np

from hgqify import layers
from hgqify.precision.constants import exact_constant
from hgqify.precision.lower_linear import finish
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Concatenate, EdgeTables, Quantize, Repeat, Reshape, SumPool
from hgqify.quantizers import QuantizerState


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QDenseT)(dense_of_tables)


def dense_of_tables(call: LayerLowering) -> str:
    """``QDenseT``: all positions in one axis, if there are several."""
    layer = call.layer
    state, tables = layer.edge_state(), layer.tables()
    address, output = layer.edge_bits()
    edges: tuple[int, int] = layer.edges
    positions = math.prod(call.shape[:-1])
    shape = edges if positions == 1 else (positions, *edges)
    name = _edges(call, state, shape)
    live = state.k + state.i + state.f > 0
    # A format of no bits gives code 0 only, whose entry stands where it would with i + f = 0.
    bits = np.maximum(state.i + state.f, 0)
    op = EdgeTables(
        in_frac=np.where(live, state.f, 0),
        first=-(state.k << bits),
        width=bits + state.k,
        entries=exact_constant(tables[..., : int(np.max((state.k + 1) << bits))]),
        address_bits=address,
        output_bits=output,
    )
    name = call.add(op, name, shape=shape)
    window = (edges[0],) if positions == 1 else (1, edges[0])
    pool = SumPool(window=window, strides=(1,) * len(window), padding=((0, 0),) * len(window))
    name = call.add(pool, name, shape=(*shape[:-2], 1, edges[1]), role="sum")
    if call.shape_of(name) != call.shape:
        name = call.add(Reshape(), name, shape=call.shape, role="kept")
    return finish(call, name, layer.activation.piecewise)


def _edges(call: LayerLowering, state: QuantizerState, shape: tuple[int, ...]) -> str:
    """The quantized inputs of all edges, of ``shape``.

    Formats that are the same for all outputs quantize an input once. Others stand behind the copies, but only
    a quantizer reads real numbers: there each output has one of its own.
    """
    (source,) = call.inputs
    columns = np.stack([state.k, state.i, state.f])
    if np.all(columns == columns[..., :1]):
        name = call.add(_column(state, 0), source, shape=call.shape_of(source), role="iq")
        return _copied(call, name, shape)
    if not call.is_real(source):
        name = _copied(call, source, shape)
        op = Quantize(k=state.k, i=state.i, f=state.f, rounding=state.rounding, overflow=state.overflow)
        return call.add(op, name, shape=shape, role="iq")
    parts = []
    for output in range(shape[-1]):
        name = call.add(_column(state, output), source, shape=call.shape_of(source), role=f"iq{output}")
        parts.append(call.add(Reshape(), name, shape=(*shape[:-1], 1), role=f"edges{output}"))
    return call.add(Concatenate(axis=len(shape) - 1), *parts, shape=shape, role="edges")


def _column(state: QuantizerState, output: int) -> Quantize:
    """The quantizer of all inputs for one output."""
    k, i, f = (part[:, output] for part in (state.k, state.i, state.f))
    return Quantize(k=k, i=i, f=f, rounding=state.rounding, overflow=state.overflow)


def _copied(call: LayerLowering, name: str, shape: tuple[int, ...]) -> str:
    """Every input once for each output: neighbours in a row-major order."""
    count, n_out = math.prod(shape[:-1]), shape[-1]
    name = call.add(Reshape(), name, shape=(count, 1), role="column")
    name = call.add(Repeat(repeats=(n_out, 1)), name, shape=(count * n_out, 1), role="copies")
    return call.add(Reshape(), name, shape=shape, role="edges")
