"""hls4ml layers that look up: a table for every edge, through our own kernel."""

from __future__ import annotations

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.context import Context
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType, constant_type
from hgqify.fixed import requantize
from hgqify.precision import ops
from hgqify.precision.ops import Constant
from hgqify.precision.program import Node


def edge_tables(node: Node, context: Context) -> list[LayerSpec]:
    """Tables addressed by the raw bits of their inputs, shifted and masked to what each edge's format keeps.

    The layout follows the type that really reaches the tables, as that of one table does: codes modulo the
    number of addresses, so the non-negative ones come first. Entries are those bits of the result that are
    kept.
    """
    op = node.op
    if not isinstance(op, ops.EdgeTables):
        raise TypeError(type(op))
    if context.plan.streams:
        raise ExportError(
            "a table for every edge needs all edges at once, and a stream brings them one after another",
            where=node.layer,
            received="io_stream",
            remedy="export with io_parallel",
        )
    in_type, held = context.type_of(node.inputs[0]), context.type_of(node.name)
    shift, bits = _addresses(op, in_type)
    size = 2 ** int(bits.max(initial=0))
    codes = _codes(op, in_type, bits, size)
    # An address counts LSBs of the type where those are coarser than the edge's own.
    places = (codes << np.maximum(op.in_frac - in_type.f, 0)[..., None]) - op.first[..., None]
    there = (places >= 0) & (places < op.entries.codes.shape[-1])
    entries = np.take_along_axis(op.entries.codes, np.where(there, places, 0), axis=-1)
    entries = requantize(np.where(there, entries, 0), op.entries.frac, held.k, held.i, held.f)
    found = Constant(codes=entries, frac=held.f)
    entry_type = constant_type(found)
    return [
        context.spec(
            node,
            "HgqifyEdgeTables",
            types={"table": entry_type},
            attributes={
                "n_in": int(np.prod(node.shape)),
                "tables": int(op.in_frac.size),
                "size": size,
                "shifts": ", ".join(str(n) for n in shift.ravel()),
                "masks": ", ".join(str((1 << int(n)) - 1) for n in bits.ravel()),
                "table_data": found.values.ravel(),
                "table_type": str(entry_type),
            },
        )
    ]


def _addresses(op: ops.EdgeTables, in_type: HlsType) -> tuple[np.ndarray, np.ndarray]:
    """For each edge, by how many bits raw numbers are shifted down and how many of them then count."""
    drop = np.maximum(in_type.f - op.in_frac, 0)
    # Numbers on a coarser LSB than the edge's own have so many bits less.
    own = np.maximum(op.width - np.maximum(op.in_frac - in_type.f, 0), 0)
    bits = np.clip(in_type.width - drop, 0, own)
    return np.minimum(drop, in_type.width - 1), bits


def _codes(op: ops.EdgeTables, in_type: HlsType, bits: np.ndarray, size: int) -> np.ndarray:
    """The code behind every address of every edge: (n_in, n_out, size)."""
    address = np.broadcast_to(np.arange(size), (*bits.shape, size))
    span = (1 << bits)[..., None]
    signed = (op.first < 0)[..., None] & bool(in_type.k)
    return np.where(signed & (2 * address >= span), address - span, address)
