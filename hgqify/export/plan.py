"""Which type every tensor of the firmware has, and which quantizers vanish into a type.

A quantizer with one format for the whole tensor is what ``ap_fixed`` does on assignment, so it costs no
layer of its own where its producer writes through a cast: the producer's result type takes the format
and the modes. Every other quantizer becomes a layer. Nothing here is left to hls4ml's own inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.types import HlsType, smallest_type
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import ops
from hgqify.precision.program import Node, Program, TensorInfo

# Operations whose kernel ends in one assignment to the result type.
_CASTING = (
    ops.Input,
    ops.Dense,
    ops.Conv,
    ops.ScaleShift,
    ops.Add,
    ops.Subtract,
    ops.Multiply,
    ops.Maximum,
    ops.Minimum,
    ops.Clip,
    ops.LeakyRelu,
    ops.SumPool,
)
# Of these, the ones that assign an operand as it is.
_CHOOSING = (ops.Maximum, ops.Minimum, ops.Clip, ops.LeakyRelu)
# Operations that hand values on: their result has the type of their first input.
_HANDING_ON = (ops.Reshape, ops.Transpose, ops.MaxPool, ops.Pad, ops.Crop, ops.Repeat)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Types of a program's tensors for one interface.

    Attributes:
        result: type each node's tensor is stored in.
        absorbed: quantizer name -> name of the node whose result type does its work.
        io_type: 'io_parallel' or 'io_stream'.
    """

    program: Program
    result: Mapping[str, HlsType]
    absorbed: Mapping[str, str]
    io_type: str

    @property
    def streams(self) -> bool:
        """Whether tensors are streamed pixel by pixel."""
        return self.io_type == "io_stream"


def info_of(node: Node) -> TensorInfo:
    """The bounds of an annotated node.

    Raises:
        ExportError: the node has none (it is a model input, or the program was not annotated).
    """
    if node.info is None:
        raise ExportError(
            "real numbers reach an operation that is not a quantizer",
            where=node.layer,
            remedy="quantize the model input first",
        )
    return node.info


def exact_type(info: TensorInfo) -> HlsType:
    """The smallest type that holds every value the tensor can take."""
    frac = int(np.max(info.step, initial=-(2**20), where=(info.low != 0) | (info.high != 0)))
    frac = info.frac if frac == -(2**20) else min(frac, info.frac)
    shift = info.frac - frac
    return smallest_type(int(info.low.min()) >> shift, int(info.high.max()) >> shift, frac)


def _uniform(array: np.ndarray) -> int:
    return int(np.ravel(array)[0])


def quantizer_type(node: Node, producer: Node) -> HlsType:
    """The type that does the work of a uniform quantizer.

    Where the producer's values all fit, overflow handling and bits that are never used are dropped;
    the rounding stays.
    """
    op = node.op
    if not isinstance(op, ops.Quantize):
        raise TypeError(type(op))
    declared = HlsType(
        k=_uniform(op.k), i=_uniform(op.i), f=_uniform(op.f), rounding=op.rounding, overflow=op.overflow
    )
    info = producer.info
    if info is None or node.info is None:
        return declared
    # One unit of slack covers every rounding direction.
    scale = 2.0 ** (declared.f - info.frac)
    low, high = np.floor(float(info.low.min()) * scale), np.ceil(float(info.high.max()) * scale)
    top = 2.0 ** (declared.width - declared.k) - 1
    bottom = -(top + 1) * declared.k
    if op.overflow is Overflow.SAT_SYM:
        bottom = min(bottom + 1, 0)
    if low < bottom or high > top:
        return declared
    shift = node.info.frac - declared.f
    fitted = smallest_type(int(node.info.low.min()) >> shift, int(node.info.high.max()) >> shift, declared.f)
    if fitted.width > declared.width:
        fitted = declared
    rounding = op.rounding if info.frac > declared.f else Rounding.TRN
    return HlsType(k=fitted.k, i=fitted.i, f=declared.f, rounding=rounding)


def needs_mask(node: Node, producer: Node) -> bool:
    """Whether a quantizer is no type of hls4ml: formats per element, the constant 0, WRAP_SM that wraps."""
    op = node.op
    if not isinstance(op, ops.Quantize):
        raise TypeError(type(op))
    return not op.is_uniform or _is_zero(op) or quantizer_type(node, producer).overflow is Overflow.WRAP_SM


def _is_zero(op: ops.Quantize) -> bool:
    return _uniform(op.k) + _uniform(op.i) + _uniform(op.f) <= 0


def make_plan(program: Program, io_type: str) -> Plan:
    """Choose every tensor's type.

    Args:
        program: annotated fixed program.
        io_type: 'io_parallel' or 'io_stream'.

    Raises:
        ExportError: a quantizer cannot be expressed for this interface.
    """
    absorbed: dict[str, str] = {}
    result: dict[str, HlsType] = {}
    for node in program.nodes:
        if isinstance(node.op, ops.Quantize):
            producer = program.by_name[node.inputs[0]]
            if needs_mask(node, producer):
                continue
            alone = len(program.consumers[producer.name]) == 1 and producer.name not in program.outputs
            if alone and isinstance(producer.op, _CASTING) and not _falls_below(program, producer, node.op):
                absorbed[node.name] = producer.name
    absorbs = {producer: quantizer for quantizer, producer in absorbed.items()}

    for node in program.nodes:
        if node.name in absorbed:
            result[node.name] = result[absorbed[node.name]]
        elif node.name in absorbs:
            result[node.name] = quantizer_type(program.by_name[absorbs[node.name]], node)
        elif isinstance(node.op, ops.Input):
            result[node.name] = _input_type(node, program)
        elif isinstance(node.op, _HANDING_ON):
            result[node.name] = result[node.inputs[0]]
        elif isinstance(node.op, ops.Quantize) and not needs_mask(node, program.by_name[node.inputs[0]]):
            result[node.name] = quantizer_type(node, program.by_name[node.inputs[0]])
        else:
            result[node.name] = exact_type(info_of(node))
    return Plan(program=program, result=result, absorbed=absorbed, io_type=io_type)


def coarsest(op: ops.Quantize) -> int:
    """Least fractional bits among the elements that are not always zero."""
    live = np.broadcast_to(op.k + op.i + op.f > 0, op.f.shape if op.f.shape else (1,))
    return int(np.min(np.broadcast_to(op.f, live.shape)[live], initial=2**20))


def keeps_order(op: ops.Transpose, shape: tuple[int, ...]) -> bool:
    """Whether the elements of a tensor of ``shape`` stay in order: axes of one element do not count."""
    order = [axis for axis in op.perm if shape[axis] > 1]
    return order == sorted(order)


def _falls_below(program: Program, producer: Node, op: ops.Quantize) -> bool:
    """Whether every value of the producer lies below half of the quantizer's least significant bit.

    Or every value of an operand that it assigns as it is. ``ap_fixed`` aborts where such a number is rounded:
    its type has fewer bits than are cut off.
    """
    if op.rounding is Rounding.TRN:
        return False
    assigned = [producer]
    if isinstance(producer.op, _CHOOSING):
        assigned += [program.by_name[name] for name in producer.inputs]
    infos = [node.info for node in assigned if node.info is not None]
    return any(-exact_type(info).integer > coarsest(op) for info in infos)


def _input_type(node: Node, program: Program) -> HlsType:
    """A type wide enough that rounding and overflow in the quantizers behind it see what they need.

    One extra fractional bit, truncated, is all that rounding to nearest with ties up can see
    (floor(floor(2y) / 2 + 1/2) = floor(y + 1/2)); one saturating extra integer bit is all that
    saturation can see; wrapping sees no more than its own integer bits, WRAP_SM one more.
    """
    quantizers = [c.op for c in program.consumers[node.name] if isinstance(c.op, ops.Quantize)]
    if not quantizers:
        raise ExportError("the model input is not used", where=node.layer, remedy="remove the input")
    overflows = {op.overflow for op in quantizers}
    roundings = {op.rounding for op in quantizers}
    wrapping = overflows & {Overflow.WRAP, Overflow.WRAP_SM}
    # Of a number that rounds up to the end of a period, WRAP_SM makes another code than of 0.
    folds = Overflow.WRAP_SM in overflows and roundings != {Rounding.TRN}
    if folds or not roundings <= {Rounding.RND, Rounding.TRN} or (wrapping and wrapping != overflows):
        raise ExportError(
            "no one input type serves the quantizers on this model input: their modes cannot be combined",
            where=node.layer,
            received=", ".join(f"{op.rounding}/{op.overflow}" for op in quantizers),
            remedy="use one format for the whole input, or rounding TRN or RND and one overflow mode",
        )
    live = [(op.k + op.i + op.f) > 0 for op in quantizers]
    if not any(np.any(mask) for mask in live):
        raise ExportError("the quantizers zero the model input", where=node.layer, remedy="give them bits")
    fracs = [
        int(np.max(op.f[mask] if op.f.shape == mask.shape else np.broadcast_to(op.f, mask.shape)[mask]))
        for op, mask in zip(quantizers, live, strict=True)
        if np.any(mask)
    ]
    ints = [
        int(np.max(np.broadcast_to(op.i, mask.shape)[mask]))
        for op, mask in zip(quantizers, live, strict=True)
        if np.any(mask)
    ]
    return HlsType(
        k=1,
        i=max(ints) + 1,
        f=max(fracs) + 1,
        rounding=Rounding.TRN,
        overflow=Overflow.WRAP if wrapping else Overflow.SAT,
    )
