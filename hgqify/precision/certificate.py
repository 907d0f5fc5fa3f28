"""The float certificate: where Keras in float32 (or float64) is proved equal to the integers.

A float32 holds every integer up to 2**24 in magnitude, times a power of two; a float64 up to 2**53. If all
terms of a sum are multiples of one LSB and every partial sum, in whatever order, stays within so many LSBs,
then no rounding happens on any backend that sums the products directly (full float32: no TF32, no
Winograd). A partial sum holds any subset of the terms, so its bounds are the sums of the terms' negative and
of their positive reaches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import span
from hgqify.precision import ops
from hgqify.precision.forward_linear import dot_bounds, dot_steps, product_of
from hgqify.precision.forward_matmul import product_bounds, product_steps
from hgqify.precision.info import NO_STEP, constant_step, live_step
from hgqify.precision.kernels import pad_space, windows
from hgqify.precision.powers import holds_powers_only
from hgqify.precision.program import Node, Program, TensorInfo
from hgqify.precision.remedies import remedy

FLOAT32_BITS = 24
FLOAT64_BITS = 53
# Exponents of normal numbers by significand: smaller ones may be flushed to zero.
_EXPONENTS = {FLOAT32_BITS: (-126, 127), FLOAT64_BITS: (-1022, 1023)}
# Reaches are computed in float64. From here on they are taken for a little larger than they are.
_CERTAIN = 2.0**52


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Verdict on one operation.

    Attributes:
        name: of the node.
        layer: path of its Keras layer.
        operation: what it computes, e.g. 'Dense'.
        bits: bits of significand that its worst element needs.
        proved: floats give exactly the integers' result.
        missing_bits: by how many bits the worst element exceeds the float's significand; 0 where proved.
        remedy: what would give the proof; empty where proved.
    """

    name: str
    layer: str
    operation: str
    bits: int
    proved: bool
    missing_bits: int
    remedy: str = ""

    def __str__(self) -> str:
        if self.proved:
            return f"{self.layer}: {self.operation} proved ({self.bits} bits)"
        return f"{self.layer}: {self.operation} needs {self.missing_bits} bits too many; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Verdicts on all operations of a program, in its order.

    Attributes:
        entries: one per operation.
        significand: bits of the float's significand: 24 (float32) or 53 (float64).
    """

    entries: tuple[Entry, ...]
    significand: int = FLOAT32_BITS

    @property
    def proved(self) -> bool:
        """Whether Keras in these floats is proved equal to the integers, for every input."""
        return all(entry.proved for entry in self.entries)

    @property
    def open(self) -> tuple[Entry, ...]:
        """The operations without proof."""
        return tuple(entry for entry in self.entries if not entry.proved)

    @property
    def layers(self) -> dict[str, Entry]:
        """The worst open operation of every layer that has one, in the program's order."""
        worst: dict[str, Entry] = {}
        for entry in self.open:
            if entry.layer not in worst or entry.missing_bits > worst[entry.layer].missing_bits:
                worst[entry.layer] = entry
        return worst

    def __str__(self) -> str:
        name = "float32" if self.significand == FLOAT32_BITS else "float64"
        if self.proved:
            return f"{name}: Keras is proved equal to the integers for every input"
        return "\n".join((f"{name}: no proof that Keras equals the integers in", *map(str, self.open)))


class _Work(NamedTuple):
    """What an operation needs of a float.

    bits: of significand, for the result and for every intermediate.
    step: finest LSB 2**-step of all of them; `NO_STEP` if everything is zero.
    top: all of them are at most 2**top.
    """

    bits: int
    step: int
    top: int

    def or_more(self, other: _Work) -> _Work:
        return _Work(*(max(pair) for pair in zip(self, other, strict=True)))


_NOTHING = _Work(0, NO_STEP, NO_STEP)


def certify(program: Program, significand: int = FLOAT32_BITS) -> Certificate:
    """The certificate of an annotated program.

    Args:
        program: annotated.
        significand: 24 for float32, 53 for float64.

    Raises:
        PrecisionError: the program is not annotated, or another significand.
    """
    if significand not in _EXPONENTS:
        raise PrecisionError(
            "there is no such float", received=f"significand={significand}", remedy="use 24 or 53"
        )
    digits = _digits_of(program)
    entries = tuple(
        _verdict(program, node, significand, digits[node.name])
        for node in program.nodes
        if not _is_real(node)
    )
    return Certificate(entries=entries, significand=significand)


def _is_real(node: Node) -> bool:
    return isinstance(node.op, ops.Input)


def _verdict(program: Program, node: Node, significand: int, digits: int | None) -> Entry:
    if node.info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    infos = [info for name in node.inputs if (info := program.by_name[name].info) is not None]
    rule = _RULES.get(type(node.op))
    work = _of_tensor(node.info)
    if digits is not None:
        # Each number is one float; nothing is added up, so how far apart they lie does not matter.
        work = work._replace(bits=min(work.bits, digits))
    if rule is not None:
        work = work.or_more(rule(node.op, infos))
    if isinstance(node.op, ops.Multiply):
        work = _product(program, node, work)
    if isinstance(node.op, ops.Add):
        work = work.or_more(_sum_of_terms(program, node))
    least, most = _EXPONENTS[significand]
    # The largest magnitude may be 2**top itself.
    in_range = work.step <= -least and work.top <= most
    missing = max(work.bits - significand, 0 if in_range else 1)
    return Entry(
        name=node.name,
        layer=node.layer,
        operation=type(node.op).__name__,
        bits=work.bits,
        proved=missing <= 0,
        missing_bits=max(missing, 0),
        remedy="" if missing <= 0 else remedy(program, node, missing, in_range=in_range),
    )


def _product(program: Program, node: Node, work: _Work) -> _Work:
    """A power of two moves the other factor, whose bits are all that the float needs."""
    bits = work.bits
    for name, other in (node.inputs, node.inputs[::-1]):
        info = program.by_name[name].info
        if info is not None and holds_powers_only(program, other):
            bits = min(bits, _of_tensor(info).bits)
    return work._replace(bits=bits)


def _digits_of(program: Program) -> dict[str, int | None]:
    """Significant bits of every number of each tensor, where minifloats bound them; else None."""
    found: dict[str, int | None] = {}
    for node in program.nodes:
        known = [digits for name in node.inputs if (digits := found[name]) is not None]
        bounded = len(known) == len(node.inputs)
        result: int | None = None
        if isinstance(node.op, ops.Quantize):
            result = None if node.op.digits is None else max(int(np.max(node.op.digits, initial=0)), 0)
        elif isinstance(node.op, ops.Multiply) and bounded:
            result = sum(known)
        elif isinstance(node.op, _MOVES) and bounded:
            ends = (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else ()
            result = max([*known, *(int(span(end.codes).max(initial=0)) for end in ends if end is not None)])
        found[node.name] = result
    return found


def _terms(program: Program, node: Node) -> list[TensorInfo]:
    """What a layer adds up: its tree of additions may sum in another order than Keras does."""
    found: list[TensorInfo] = []
    for name in node.inputs:
        source = program.by_name[name]
        if isinstance(source.op, ops.Add) and source.layer == node.layer:
            found += _terms(program, source)
        elif source.info is not None:
            found.append(source.info)
    return found


def _sum_of_terms(program: Program, node: Node) -> _Work:
    terms = _terms(program, node)
    step = functools.reduce(np.maximum, (live_step(info) for info in terms))

    def reach(end: Callable[[TensorInfo], np.ndarray]) -> np.ndarray:
        """Sum of one end of all terms, in units of the finest LSB."""
        parts = [
            _reach(end(info), end(info), info.frac, np.where(live_step(info) > NO_STEP, step, NO_STEP))
            for info in terms
        ]
        return functools.reduce(np.add, parts)

    down, up = reach(lambda info: np.minimum(info.low, 0)), reach(lambda info: np.maximum(info.high, 0))
    return _work(np.maximum(down, up), step)


def _work(reach: np.ndarray, step: np.ndarray) -> _Work:
    """Of magnitudes up to ``reach`` in units of each element's LSB 2**-step."""
    alive = (step > NO_STEP) & (reach > 0)
    if not alive.any():
        return _NOTHING
    reach, step = np.broadcast_arrays(reach, step)
    bits = _ceil_log2(reach[alive])
    return _Work(max(int(bits.max()), 0), int(step[alive].max()), int((bits - step[alive]).max()))


def _ceil_log2(reach: np.ndarray) -> np.ndarray:
    """Bits b with reach <= 2**b; an integer of magnitude 2**24 still fits float32."""
    safe = np.where(reach >= _CERTAIN, reach * (1 + 2.0**-20), reach)
    mantissa, exponent = np.frexp(safe)
    return exponent - (mantissa == 0.5)


def _reach(low: np.ndarray, high: np.ndarray, frac: int, step: np.ndarray) -> np.ndarray:
    """Magnitude in units of each element's LSB 2**-step."""
    units = np.where(step > NO_STEP, frac - step, 0)
    magnitude = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    return np.where(step > NO_STEP, np.ldexp(magnitude, -units), 0.0)


def _of_tensor(info: TensorInfo) -> _Work:
    step = live_step(info)
    return _work(_reach(info.low, info.high, info.frac, step), step)


def _linear(op: ops.Dense | ops.Conv, infos: list[TensorInfo]) -> _Work:
    (x,) = infos
    product, kernel = product_of(op), np.asarray(op.kernel.codes, dtype=np.int64)
    step = dot_steps(product, live_step(x), constant_step(op.kernel))
    # With zero in every term's interval, the bounds of the sum are those of all partial sums.
    low, high = dot_bounds(product, np.minimum(x.low, 0), np.maximum(x.high, 0), kernel, None)
    frac = x.frac + op.kernel.frac
    work = _work(_reach(low, high, frac, step), step)
    if op.bias is None:
        return work
    total = np.maximum(step, constant_step(op.bias))
    # Sum and bias in one pool of terms: also a backend that starts from the bias is covered.
    codes = np.broadcast_to(op.bias.codes, total.shape)
    both = _reach(low, high, frac, total) + _reach(codes, codes, op.bias.frac, total)
    return work.or_more(_work(both, total))


def _sum_pool(op: ops.SumPool, infos: list[TensorInfo]) -> _Work:
    (x,) = infos
    axes = tuple(range(-len(op.window), 0))

    def view(a: np.ndarray, fill: int) -> np.ndarray:
        return windows(pad_space(a[None], op.padding, fill), op.window, op.strides, (1,) * len(op.window))[0]

    low, high = view(np.minimum(x.low, 0), 0).sum(axis=axes), view(np.maximum(x.high, 0), 0).sum(axis=axes)
    step = view(live_step(x), NO_STEP).max(axis=axes)
    return _work(_reach(low, high, x.frac, step), step)


def _scale_shift(op: ops.ScaleShift, infos: list[TensorInfo]) -> _Work:
    (x,) = infos
    step = np.maximum(live_step(x) + constant_step(op.scale), NO_STEP)
    frac = x.frac + op.scale.frac
    scale = np.abs(op.scale.codes.astype(np.float64))
    magnitude = np.maximum(np.abs(x.low), np.abs(x.high)) * scale
    work = _work(_reach(magnitude, magnitude, frac, step), step)
    if op.shift is None:
        return work
    total = np.maximum(step, constant_step(op.shift))
    units = np.where(total > NO_STEP, total, 0)
    both = np.ldexp(magnitude, units - frac) + np.ldexp(np.abs(op.shift.codes * 1.0), units - op.shift.frac)
    return work.or_more(_work(both, total))


def _matmul(op: ops.Matmul, infos: list[TensorInfo]) -> _Work:
    a, b = infos
    step = product_steps(live_step(a), live_step(b))
    # With zero in every product's interval, the bounds of the sum are those of all partial sums.
    low, high = product_bounds(a, b, None, partial=True)
    return _work(_reach(low, high, a.frac + b.frac, step), step)


# Operations whose results are numbers that they read, constants, or 0.
_MOVES = (
    ops.Reshape,
    ops.Transpose,
    ops.Concatenate,
    ops.Pad,
    ops.Crop,
    ops.Repeat,
    ops.MaxPool,
    ops.Clip,
    ops.Maximum,
    ops.Minimum,
)

# Elsewhere one rounding at most could happen, that of the result: its own width decides.
_RULES: dict[type[ops.Op], Callable[[Any, list[TensorInfo]], _Work]] = {
    ops.Dense: _linear,
    ops.Conv: _linear,
    ops.SumPool: _sum_pool,
    ops.ScaleShift: _scale_shift,
    ops.Matmul: _matmul,
}
