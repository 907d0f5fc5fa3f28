"""Which tensors hold powers of two only: a float multiplies by those without any rounding."""

from __future__ import annotations

import numpy as np

from hgqify.fixed import quantize
from hgqify.precision import ops
from hgqify.precision.program import Program

_MOVES = (ops.Reshape, ops.Transpose, ops.Repeat, ops.Crop, ops.Pad)
"""They add zeros at most."""


def holds_powers_only(program: Program, name: str) -> bool:
    """Whether every value that a tensor can take is 0 or, up to its sign, a power of two.

    Known of what comes from a lookup table, through quantizers and moves.
    """
    values = _values(program, name)
    if values is None:
        return False
    mantissa, _ = np.frexp(values[values != 0])
    return bool(np.all(np.abs(mantissa) == 0.5))


def _values(program: Program, name: str) -> np.ndarray | None:
    """All values a tensor can take, zeros perhaps left out; None where they are not so few."""
    node = program.by_name[name]
    op = node.op
    if isinstance(op, ops.Table):
        return np.unique(op.entries.values)
    if isinstance(op, _MOVES):
        return _values(program, node.inputs[0])
    if isinstance(op, ops.Quantize) and op.is_uniform:
        given = _values(program, node.inputs[0])
        k, i, f = (int(np.ravel(part)[0]) for part in (op.k, op.i, op.f))
        return None if given is None else quantize(given, k, i, f, op.rounding, op.overflow)
    return None
