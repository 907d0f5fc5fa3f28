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
        return f"quantize to {missing} bits less, or nearer to its range"
    options = []
    if isinstance(node.op, (ops.Dense, ops.Conv, ops.ScaleShift)):
        if _is_bias_alone(program, node, missing):
            return f"quantize its bias with {missing} fractional bits less"
        name = "reciprocal_bits" if _is_average(node.op) else "weight_bits"
        width = _weight_bits(node.op) - missing
        least = 1 if _is_average(node.op) else LEAST_WEIGHT_BITS
        options += [f"{name}={width}"] if width >= least else []
    widths = [_source_bits(program, name) for name in node.inputs]
    # Of a product each factor gives its half.
    share = -(-missing // 2) if isinstance(node.op, ops.Multiply) else missing
    width = max(widths, default=0) - share
    options += [f"activation_bits={width}"] if width >= LEAST_INPUT_BITS else []
    if not options:
        return "no width of one operand alone would do: narrow weights and activations"
    return f"{' or '.join(options)} at most in Rule(path='{node.layer}')"


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
    return int(bits.max(initial=0)) + (0 if _is_average(op) else 1)


def _is_bias_alone(program: Program, node: Node, missing: int) -> bool:
    """Whether the bias is finer than all products, by as many bits as do not fit."""
    kernel, bias = _constants(node.op)
    source = program.by_name[node.inputs[0]].info
    if bias is None or source is None:
        return False
    products = int(source.step.max(initial=0)) + int(constant_step(kernel).max(initial=0))
    return int(constant_step(bias).max(initial=products)) - products >= missing


def _source_bits(program: Program, name: str) -> int:
    """Width of what enters, sign included: of the quantizer that gives it, else what its bounds need."""
    node = program.by_name[name]
    if isinstance(node.op, ops.Quantize):
        return int(np.max(node.op.k + node.op.i + node.op.f, initial=0))
    if node.info is None:
        return 0
    low, high = int(node.info.low.min(initial=0)), int(node.info.high.max(initial=0))
    return max((~low if low < 0 else 0).bit_length(), high.bit_length()) + int(low < 0)
