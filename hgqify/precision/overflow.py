"""Can a quantizer overflow? The part of the answer that needs no data.

The bounds of what reaches a quantizer are exact and safe; rounding is monotone. A quantizer whose rounded
bounds fit its format therefore never overflows, whatever the model is fed: it may wrap, and saturating it
would change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import Interval, Overflow, Rounding, minimal_bits, requantize
from hgqify.precision.ops import Quantize
from hgqify.precision.program import Node, Program, TensorInfo

_WIDE = 61  # bits of a signed format that holds every code there is


@dataclass(frozen=True, kw_only=True, eq=False)
class OverflowProof:
    """What the bounds say about one quantizer.

    Attributes:
        name, layer: of its node.
        overflow: what it does beyond its range.
        proved: nothing that can reach it lies beyond its range.
        spare: for each element, how many integer bits more than needed it has; negative where that many
            are missing. None for a quantizer on a model input: any real number can come.
    """

    name: str
    layer: str
    overflow: Overflow
    proved: bool
    spare: np.ndarray | None

    @property
    def spare_bits(self) -> int | None:
        """The least of `spare`; None where that is."""
        return None if self.spare is None else int(self.spare.min(initial=_WIDE))


def prove_overflow(program: Program) -> tuple[OverflowProof, ...]:
    """For every quantizer of an annotated program whether it can overflow, in the program's order.

    Raises:
        PrecisionError: the program is not annotated.
    """
    return tuple(_prove(program, node, node.op) for node in program.nodes if isinstance(node.op, Quantize))


def needed_bits(
    source: TensorInfo, f: np.ndarray, rounding: Rounding, digits: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest k and i, element by element, with which (k, i, f) holds all that is rounded to it.

    Args:
        source: bounds of what is to be rounded.
        f: fractional bits, broadcastable.
        rounding: a deterministic mode.
        digits: significant bits, broadcastable; None for fixed point.
    """
    f = np.broadcast_to(np.asarray(f, np.int64), source.shape)
    low, high = (
        requantize(end, source.frac, 1, _WIDE - f, f, rounding, Overflow.SAT, digits)
        for end in (source.low, source.high)
    )
    return minimal_bits(low, high, f)


def _prove(program: Program, node: Node, op: Quantize) -> OverflowProof:
    source = program.by_name[node.inputs[0]]
    if node.info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    if source.info is None:
        return OverflowProof(name=node.name, layer=node.layer, overflow=op.overflow, proved=False, spare=None)
    interval = Interval(source.info.low, source.info.high, source.info.frac)
    outside = interval.overflows(op.k, op.i, op.f, op.rounding, op.overflow, op.digits)
    return OverflowProof(
        name=node.name,
        layer=node.layer,
        overflow=op.overflow,
        proved=not outside.any(),
        spare=_spare(op, source.info),
    )


def _spare(op: Quantize, source: TensorInfo) -> np.ndarray:
    k, i, f = (np.broadcast_to(np.asarray(a, np.int64), source.shape) for a in (op.k, op.i, op.f))
    need_k, need_i = needed_bits(source, f, op.rounding, op.digits)
    # A format without bits is the constant 0, however negative its i.
    i = np.where(k + i + f > 0, i, -f)
    spare = i - need_i
    # What an unsigned format lacks for negative values is a sign, whatever else it has.
    return np.where(need_k > k, np.minimum(spare, 0) - 1, spare)
