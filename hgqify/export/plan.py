"""Which type every tensor of the firmware has, and which quantizers vanish into a type.

A quantizer with one format for the whole tensor is what ``ap_fixed`` does on assignment, so it costs no
layer of its own where its producer writes through a cast: the producer's result type takes the format
and the modes. Every other quantizer becomes a layer. All other types hold what is produced *and* seen.
Nothing here is left to hls4ml's own inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.expand import expand
from hgqify.export.hoist import hoist_quantizers
from hgqify.export.operands import missing_bits, operands
from hgqify.export.quantizer_types import QuantizerType, quantize_of, quantizer_type
from hgqify.export.types import HlsType
from hgqify.fixed import Format, Overflow, Rounding
from hgqify.precision import ops
from hgqify.precision.backward import requests
from hgqify.precision.minimal import formats
from hgqify.precision.program import Node, Program
from hgqify.precision.trim import trim

# Operations whose kernel ends in one assignment to the result type.
_CASTING = (
    ops.Input,
    ops.Dense,
    ops.Conv,
    ops.ScaleShift,
    ops.Add,
    ops.Subtract,
    ops.Multiply,
    ops.Matmul,
    ops.Maximum,
    ops.Minimum,
    ops.Clip,
    ops.LeakyRelu,
    ops.SumPool,
)
# Operations that hand values on in hls4ml: their result has the type of their input.
_HANDING_ON = (ops.Reshape, ops.Transpose, ops.Pad, ops.Crop, ops.Repeat)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Types of a program's tensors for one interface.

    Attributes:
        program: what the types are for.
        result: type each node's tensor is stored in.
        accumulator: type in which sums of products are formed, by node; partial sums may wrap in it.
        quantizers: the narrowest types of every quantizer.
        absorbed: quantizer name -> name of the node whose result type does its work.
        io_type: 'io_parallel' or 'io_stream'.
    """

    program: Program
    result: Mapping[str, HlsType]
    accumulator: Mapping[str, HlsType]
    quantizers: Mapping[str, QuantizerType]
    absorbed: Mapping[str, str]
    io_type: str

    @property
    def streams(self) -> bool:
        """Whether tensors are streamed pixel by pixel."""
        return self.io_type == "io_stream"

    def needs_mask(self, node: Node) -> bool:
        """Whether a quantizer is no type: formats per element, the constant 0, WRAP_SM that wraps."""
        return needs_mask(node, self.quantizers[node.name])


def prepare(program: Program) -> Program:
    """The same function as it is printed: in hls4ml's operations, quantizers early, no idle constants.

    Args:
        program: annotated fixed program.

    Raises:
        ExportError: layers of the model stay in float, or read minifloats.
    """
    if program.minifloats:
        raise ExportError(
            "hls4ml has no type for minifloats, only fixed point",
            where=program.name,
            received=f"minifloat data in {', '.join(program.minifloats)}",
            remedy="convert with q_type='kif', or keep minifloats to the weights (place='weight'), which are "
            "constants; model.keras, program.npz, the integer reference and check --no-csim need no project",
        )
    if program.kept:
        raise ExportError(
            "layers that stay in float cannot be written as firmware",
            where=program.name,
            received=", ".join(map(str, program.kept)),
            remedy="write the largest part between them: extent='largest' (--export-part largest)",
        )
    return trim(hoist_quantizers(expand(program)))


def needs_mask(node: Node, found: QuantizerType) -> bool:
    """As `Plan.needs_mask`."""
    op = quantize_of(node)
    return not op.is_uniform or bool(np.all(op.k + op.i + op.f <= 0)) or found.overflow is Overflow.WRAP_SM


def hls_type(found: Format) -> HlsType:
    """A format as a type, with the default (cheapest) modes."""
    return HlsType(k=found.k, i=found.i, f=found.f)


def make_plan(program: Program, io_type: str) -> Plan:
    """Choose every tensor's type.

    Args:
        program: annotated fixed program.
        io_type: 'io_parallel' or 'io_stream'.

    Raises:
        ExportError: a quantizer cannot be expressed for this interface.
    """
    seen = requests(program)
    minimal = formats(program, seen)
    quantizers = {
        node.name: quantizer_type(node, program.by_name[node.inputs[0]], seen[node.name])
        for node in program.nodes
        if isinstance(node.op, ops.Quantize)
    }
    sums = {
        name: hls_type(found.accumulator) for name, found in minimal.items() if found.accumulator is not None
    }
    absorbed: dict[str, str] = {}
    result: dict[str, HlsType] = {}
    for node in program.nodes:
        reader = _only_reader(node, program)
        if node.name in absorbed:
            result[node.name] = result[absorbed[node.name]]
        elif reader is not None and _absorbs(node, reader, quantizers.get(reader.name), result, sums):
            absorbed[reader.name] = node.name
            result[node.name] = quantizers[reader.name].uniform()
        elif isinstance(node.op, ops.Input):
            result[node.name] = _input_type(node, program, quantizers)
        elif isinstance(node.op, _HANDING_ON):
            result[node.name] = result[node.inputs[0]]
        elif node.name in quantizers and not needs_mask(node, quantizers[node.name]):
            result[node.name] = quantizers[node.name].uniform()
        else:
            result[node.name] = hls_type(minimal[node.name].result)
    return Plan(
        program=program,
        result=result,
        accumulator=sums,
        quantizers=quantizers,
        absorbed=absorbed,
        io_type=io_type,
    )


def _only_reader(node: Node, program: Program) -> Node | None:
    """The node that alone reads another one, None if there are others or the model's output is one."""
    readers = program.consumers[node.name]
    return readers[0] if len(readers) == 1 and node.name not in program.outputs else None


def keeps_order(op: ops.Transpose, shape: tuple[int, ...]) -> bool:
    """Whether the elements of a tensor of ``shape`` stay in order: axes of one element do not count."""
    order = [axis for axis in op.perm if shape[axis] > 1]
    return order == sorted(order)


def _absorbs(
    producer: Node,
    reader: Node,
    found: QuantizerType | None,
    result: Mapping[str, HlsType],
    sums: Mapping[str, HlsType],
) -> bool:
    """Whether the assignment at the end of a kernel can do what its reader, if a quantizer, does."""
    if found is None or needs_mask(reader, found) or not isinstance(producer.op, _CASTING):
        return False
    frac = found.uniform().f
    return all(missing_bits(held, found.rounding, frac) <= 0 for held in operands(producer, result, sums))


def _input_type(node: Node, program: Program, types: Mapping[str, QuantizerType]) -> HlsType:
    """A type wide enough that rounding and overflow in the quantizers behind it see what they need.

    One extra fractional bit, truncated, is all that rounding to nearest with ties up can see
    (floor(floor(2y) / 2 + 1/2) = floor(y + 1/2)). Saturation sees no more than saturation to the widest of
    the ranges, wrapping no more than its own integer bits, WRAP_SM one more.
    """
    readers = [c for c in program.consumers[node.name] if isinstance(c.op, ops.Quantize)]
    if not readers:
        raise ExportError("the model input is not used", where=node.layer, remedy="remove the input")
    declared = [quantize_of(reader) for reader in readers]
    if not any(np.any(op.k + op.i + op.f > 0) for op in declared):
        raise ExportError("the quantizers zero the model input", where=node.layer, remedy="give them bits")
    overflows = {op.overflow for op in declared}
    roundings = {op.rounding for op in declared}
    wrapping = overflows & {Overflow.WRAP, Overflow.WRAP_SM}
    # Of a number that rounds up to the end of a period, WRAP_SM makes another code than of 0.
    folds = Overflow.WRAP_SM in overflows and roundings != {Rounding.TRN}
    if folds or not roundings <= {Rounding.RND, Rounding.TRN} or (wrapping and wrapping != overflows):
        raise ExportError(
            "no one input type serves the quantizers on this model input: their modes cannot be combined",
            where=node.layer,
            received=", ".join(f"{op.rounding}/{op.overflow}" for op in declared),
            remedy="use one format for the whole input, or rounding TRN or RND and one overflow mode",
        )
    signs, ints, fracs = [0], [], []
    for reader in readers:
        found = types[reader.name]
        if not found.bits.alive.any():
            continue
        k, i, f = (part[found.bits.alive] for part in (found.bits.k, found.bits.i, found.bits.f))
        signs.append(int(k.max()))
        fracs.append(int(f.max()) + (found.rounding is Rounding.RND))
        ints.append(int((k + i).max() if wrapping else i.max()) + (found.overflow is Overflow.WRAP_SM))
    if not fracs:
        return HlsType(k=0, i=1, f=0)
    k = max(signs)
    return HlsType(
        k=k,
        i=max(ints) - k if wrapping else max(ints),
        f=max(fracs),
        overflow=Overflow.WRAP if wrapping else Overflow.SAT,
    )
