"""What would give an operation the float32 proof that it lacks: by how many bits, and where."""

from __future__ import annotations

from typing import Any

import numpy as np

from hgqify.fixed import bit_length, trailing_zeros
from hgqify.precision import ops
from hgqify.precision.info import constant_step
from hgqify.precision.program import Node, Program

LEAST_WEIGHT_BITS = 2  # one of them is the sign
LEAST_INPUT_BITS = 1


def remedy(program: Program, node: Node, missing: int, *, in_range: bool) -> str:
    """Widths with which the operation would fit, as settings of its layer.

    A sum whose terms lose ``missing`` bits at their fine end loses as many: either all weights give them
    or all inputs do.

    Args:
        program, node: the operation.
        missing: bits that do not fit.
        in_range: whether its LSBs and values lie within the float's exponents.
    """
    if not in_range:
        return "bring its least significant bits and its values closer to 1"
    if isinstance(node.op, ops.Quantize):
        return f"quantize to {missing} bits less"
    origin = _origin(program, node)
    if any(_reads_minifloats(program, name) for name in origin.inputs):
        return (
            "give the minifloats it reads fewer exponent bits, or an offset closer to their data; "
            "or use q_type='kif' here"
        )
    if _has_constants(origin.op) and _is_bias_alone(program, origin, missing):
        return f"quantize its bias with {missing} fractional bits less"
    # Of a product each factor gives its half.
    share = -(-missing // 2) if isinstance(origin.op, ops.Multiply | ops.Matmul) else missing
    inputs = max(map(_source_bits, [program] * len(origin.inputs), origin.inputs))
    options = [f"activation_bits={inputs - share}"] if inputs - share >= LEAST_INPUT_BITS else []
    if _has_constants(origin.op) and not _is_average(origin.op):
        width = _weight_bits(origin.op)
        if width - missing >= LEAST_WEIGHT_BITS:
            options.insert(0, f"weight_bits={width - missing}")
        half = missing // 2
        if half and width - half >= LEAST_WEIGHT_BITS and inputs - (missing - half) >= LEAST_INPUT_BITS:
            options.append(f"weight_bits={width - half} with activation_bits={inputs - (missing - half)}")
    if not options:
        return "no widths of its own operands would do: narrow what comes before it"
    return f"{' or '.join(options)} in Rule(path='{origin.layer}')"


def _has_constants(op: ops.Op) -> bool:
    return isinstance(op, (ops.Dense, ops.Conv, ops.ScaleShift))


def _origin(program: Program, node: Node) -> Node:
    """The operation that made the bits: others only pass them on."""
    adds = (ops.Add, ops.Subtract, ops.Multiply, ops.Matmul, ops.SumPool)
    while not (_has_constants(node.op) or isinstance(node.op, adds)):
        sources = [program.by_name[name] for name in node.inputs]
        if any(isinstance(source.op, (ops.Quantize, ops.Input)) for source in sources):
            break
        node = max(sources, key=lambda source: _info_bits(source))
    return node


def _is_average(op: ops.Op) -> bool:
    return isinstance(op, ops.ScaleShift) and op.shift is None


def _constants(op: Any) -> tuple[ops.Constant, ops.Constant | None]:
    return (op.scale, op.shift) if isinstance(op, ops.ScaleShift) else (op.kernel, op.bias)


def _weight_bits(op: ops.Op) -> int:
    """Width of the widest weight on the finest LSB of its output channel, sign included."""
    codes = np.asarray(_constants(op)[0].codes, np.int64)
    flat = codes.reshape(-1, codes.shape[-1]) if codes.ndim > 1 else codes.reshape(1, -1)
    zeros = np.where(flat == 0, 62, trailing_zeros(flat)).min(axis=0)
    bits = bit_length(flat).max(axis=0) - np.where(zeros < 62, zeros, 0)
    return int(bits.max(initial=0)) + 1


def _is_bias_alone(program: Program, node: Node, missing: int) -> bool:
    """Whether the bias is finer than all products, by as many bits as do not fit."""
    kernel, bias = _constants(node.op)
    source = program.by_name[node.inputs[0]].info
    if bias is None or source is None:
        return False
    products = int(source.step.max(initial=0)) + int(constant_step(kernel).max(initial=0))
    return int(constant_step(bias).max(initial=products)) - products >= missing


def _reads_minifloats(program: Program, name: str) -> bool:
    """Whether a tensor comes from a minifloat quantizer through operations that only move numbers."""
    node = program.by_name[name]
    if isinstance(node.op, ops.Quantize):
        return node.op.digits is not None
    moves = (ops.Reshape, ops.Transpose, ops.MaxPool, ops.Concatenate, ops.Pad, ops.Crop, ops.Repeat)
    return isinstance(node.op, moves) and any(_reads_minifloats(program, source) for source in node.inputs)


def _source_bits(program: Program, name: str) -> int:
    """Width of the widest quantizer that what enters comes from, sign included."""
    found, seen, pending = 0, set[str](), [name]
    while pending:
        node = program.by_name[pending.pop()]
        if node.name in seen:
            continue
        seen.add(node.name)
        if isinstance(node.op, ops.Quantize):
            found = max(found, int(np.max(node.op.k + node.op.i + node.op.f, initial=0)))
        else:
            pending += node.inputs
    return found


def _info_bits(node: Node) -> int:
    """Bits that a tensor's bounds need."""
    if node.info is None:
        return 0
    return int(bit_length(np.maximum(np.abs(node.info.low), np.abs(node.info.high))).max(initial=0))
