"""hls4ml layers that work element by element: quantizers, activations, tables, merges."""

from __future__ import annotations

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.context import Context, renamed
from hgqify.export.operands import missing_bits
from hgqify.export.quantizer_types import QuantizerType
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType, constant_type
from hgqify.fixed import requantize
from hgqify.precision import ops
from hgqify.precision.ops import Constant
from hgqify.precision.program import Node

MAX_TABLE_WIDTH = 16


def quantize(node: Node, context: Context) -> list[LayerSpec]:
    """One format for the tensor: an assignment. One per element: a mask function, io_parallel only."""
    op = node.op
    if not isinstance(op, ops.Quantize):
        raise TypeError(type(op))
    found = context.plan.quantizers[node.name]
    if not context.plan.needs_mask(node):
        return _wide_enough(node, found, context, context.cast(node))
    zero = bool(np.all(op.k + op.i + op.f <= 0))
    if context.plan.streams and op.is_uniform and not zero:
        raise ExportError(
            "hls4ml has no type that wraps as WRAP_SM does, and io_stream takes types only",
            where=node.layer,
            remedy="use WRAP or SAT, or export with io_parallel",
        )
    if context.plan.streams:
        raise ExportError(
            "io_stream needs one format for the whole tensor, and here formats differ between elements",
            where=node.layer,
            received="an always-zero tensor" if zero else f"{op.f.size} formats",
            remedy="calibrate with activation granularity 'tensor', or export with io_parallel",
        )
    shape = (1, *node.shape)
    bits, alive = found.bits, found.bits.alive
    integer = bits.k + bits.i
    parts = (np.where(alive, a, 0).reshape(shape) for a in (bits.k, integer + bits.f, integer))
    mask = context.spec(
        node,
        "FixedPointQuantizer",
        attributes={
            "mask_kbi": tuple(a.astype(np.int16) for a in parts),
            "RND": found.rounding.value,
            "SAT": found.overflow.value,
            "fusible": False,
            "overrides": {},
        },
    )
    return _wide_enough(node, found, context, mask)


def _wide_enough(node: Node, found: QuantizerType, context: Context, spec: LayerSpec) -> list[LayerSpec]:
    """``ap_fixed`` aborts on rounding off more bits than its operand has: then widen the operand first."""
    held = context.type_of(node.inputs[0])
    missing = missing_bits(held, found.rounding, found.coarsest)
    if missing <= 0:
        return [spec]
    wider = HlsType(k=held.k, i=held.i + missing, f=held.f)
    widened = renamed(
        context.cast(node),
        name=context.apart(f"{spec.name}_wide"),
        types={**spec.types, "result": wider},
        node=None,
    )
    return [widened, renamed(spec, inputs=(widened.name,))]


def merge(node: Node, context: Context) -> list[LayerSpec]:
    """Addition, subtraction, multiplication, maximum, minimum of two tensors of one shape."""
    shapes = {context.shape_of(name) for name in node.inputs}
    if len(shapes) > 1:
        raise ExportError(
            "hls4ml merges tensors of one shape only",
            where=node.layer,
            received=" and ".join(str(s) for s in sorted(shapes)),
            remedy="repeat the smaller tensor to the larger one's shape in the model",
        )
    kind = type(node.op).__name__
    return [context.spec(node, "Merge", attributes={"op": kind.lower()})]


def clip(node: Node, context: Context) -> list[LayerSpec]:
    """relu as hls4ml prints it; any other pair of bounds through our own kernel."""
    op = node.op
    if not isinstance(op, ops.Clip):
        raise TypeError(type(op))
    n_in = int(np.prod(node.shape))
    low = None if op.low is None else float(op.low.values)
    high = None if op.high is None else float(op.high.values)
    if low == 0 and high is None:
        return [context.spec(node, "Activation", attributes={"activation": "relu", "n_in": n_in})]
    bounds = {name: c for name, c in (("low", op.low), ("high", op.high)) if c is not None}
    types = {name: constant_type(c) for name, c in bounds.items()}
    zero = HlsType(k=0, i=1, f=0)
    return [
        context.spec(
            node,
            "HgqifyClip",
            attributes={
                "n_in": n_in,
                "has_low": int(low is not None),
                "has_high": int(high is not None),
                "low": low or 0.0,
                "high": high or 0.0,
                "low_type": types.get("low", zero).cpp(ac_types=context.backend.ac_types),
                "high_type": types.get("high", zero).cpp(ac_types=context.backend.ac_types),
            },
        )
    ]


def leaky_relu(node: Node, context: Context) -> list[LayerSpec]:
    """``x`` or ``x * slope``; the product is exact before it is stored."""
    op = node.op
    if not isinstance(op, ops.LeakyRelu):
        raise TypeError(type(op))
    return [
        context.spec(
            node,
            "LeakyReLU",
            types={"param": constant_type(op.slope)},
            attributes={
                "activation": "leakyrelu",
                "activ_param": float(op.slope.values),
                "n_in": int(np.prod(node.shape)),
            },
        )
    ]


def table(node: Node, context: Context) -> list[LayerSpec]:
    """A table addressed by the raw bits of its input: non-negative codes first, then negative ones.

    The layout follows the type that really reaches the table, so narrowing that type cannot shift it; entries
    are those bits of the result that are kept.
    """
    op = node.op
    if not isinstance(op, ops.Table):
        raise TypeError(type(op))
    in_type = context.type_of(node.inputs[0])
    if in_type.f > op.in_frac or in_type.width > MAX_TABLE_WIDTH:
        raise ExportError(
            "a lookup table cannot be addressed by its input",
            where=node.layer,
            received=f"input type {in_type}, table over {op.in_frac} fractional bits",
            remedy=f"put a quantizer of at most {MAX_TABLE_WIDTH} bits directly before the activation",
        )
    codes = np.arange(2**in_type.width)
    if in_type.k:
        codes = np.where(codes >= 2 ** (in_type.width - 1), codes - 2**in_type.width, codes)
    index = (codes << (op.in_frac - in_type.f)) - op.first
    reachable = (index >= 0) & (index < op.entries.codes.size)
    held = context.type_of(node.name)
    entries = np.zeros(codes.shape, np.int64)
    entries[reachable] = requantize(
        op.entries.codes[index[reachable]], op.entries.frac, held.k, held.i, held.f
    )
    found = Constant(codes=entries, frac=held.f)
    entry_type = constant_type(found)
    return [
        context.spec(
            node,
            "HgqifyTable" if context.backend.ac_types else "UnaryLUT",
            types={"table": entry_type},
            attributes={
                "activation": "unary_lut",
                "table_data": found.values,
                "table_type": str(entry_type),
                "n_in": int(np.prod(node.shape)),
            },
        )
    ]
