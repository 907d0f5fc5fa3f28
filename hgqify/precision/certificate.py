"""The float32 certificate: where Keras in float32 is proved equal to the integers.

A float32 holds every integer up to 2**24 in magnitude, times a power of two. If all terms of a sum are
multiples of one LSB and every partial sum, in whatever order, stays within 2**24 LSBs, then no rounding
happens on any backend that sums the products directly (full float32: no TF32, no Winograd). A partial sum
holds any subset of the terms, so its bounds are the sums of the terms' negative and of their positive
reaches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.precision import ops
from hgqify.precision.forward_linear import dot_bounds, dot_steps, product_of
from hgqify.precision.info import NO_STEP, constant_step, live_step
from hgqify.precision.kernels import pad_space, windows
from hgqify.precision.program import Node, Program, TensorInfo

MANTISSA_BITS = 24
# Exponents of normal float32 numbers: smaller ones may be flushed to zero.
_MIN_EXPONENT = -126
_MAX_EXPONENT = 127


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Verdict on one operation.

    Attributes:
        name: of the node.
        layer: path of its Keras layer.
        proved: float32 gives exactly the integers' result.
        missing_bits: by how many bits the worst element exceeds the 24 of float32; 0 where proved.
    """

    name: str
    layer: str
    proved: bool
    missing_bits: int


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Verdicts on all operations of a program, in its order."""

    entries: tuple[Entry, ...]

    @property
    def proved(self) -> bool:
        """Whether Keras in float32 is proved equal to the integers, for every input."""
        return all(entry.proved for entry in self.entries)

    @property
    def open(self) -> tuple[Entry, ...]:
        """The operations without proof."""
        return tuple(entry for entry in self.entries if not entry.proved)


def certify(program: Program) -> Certificate:
    """The float32 certificate of an annotated program.

    Raises:
        PrecisionError: the program is not annotated.
    """
    entries = []
    for node in program.nodes:
        if isinstance(node.op, ops.Input):
            continue
        if node.info is None:
            raise PrecisionError(
                "the program has no bounds yet",
                where=node.layer,
                remedy="call precision.annotate(program) first",
            )
        infos = [info for name in node.inputs if (info := program.by_name[name].info) is not None]
        bits = max(_bits(node, infos), _significant_bits(node.info))
        if isinstance(node.op, ops.Add):
            bits = max(bits, _sum_bits(program, node))
        in_range = _exponents_fit(node.info)
        proved = bits <= MANTISSA_BITS and in_range
        missing = max(0, bits - MANTISSA_BITS) if in_range else max(1, bits - MANTISSA_BITS)
        entries.append(
            Entry(name=node.name, layer=node.layer, proved=proved, missing_bits=0 if proved else missing)
        )
    return Certificate(entries=tuple(entries))


def _bits(node: Node, infos: list[TensorInfo]) -> int:
    rule = _RULES.get(type(node.op))
    return 0 if rule is None else rule(node.op, infos)


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


def _sum_bits(program: Program, node: Node) -> int:
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
    return _log2_ceil(np.maximum(down, up))


def _log2_ceil(reach: np.ndarray) -> int:
    """Bits b with max(reach) <= 2**b; an integer of magnitude 2**24 still fits float32."""
    largest = float(np.max(reach, initial=0.0))
    return int(np.ceil(np.log2(largest))) if largest > 1 else 0


def _reach(low: np.ndarray, high: np.ndarray, frac: int, step: np.ndarray) -> np.ndarray:
    """Magnitude in units of each element's LSB 2**-step."""
    units = np.where(step > NO_STEP, frac - step, 0)
    magnitude = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    return np.where(step > NO_STEP, np.ldexp(magnitude, -units), 0.0)


def _significant_bits(info: TensorInfo) -> int:
    return _log2_ceil(_reach(info.low, info.high, info.frac, live_step(info)))


def _exponents_fit(info: TensorInfo) -> bool:
    step = live_step(info)
    alive = step > NO_STEP
    if not alive.any():
        return True
    largest = float(np.max(np.maximum(np.abs(info.low), np.abs(info.high))))
    return int(step.max()) <= -_MIN_EXPONENT and bool(np.log2(largest) - info.frac < _MAX_EXPONENT)


def _linear(op: ops.Dense | ops.Conv, infos: list[TensorInfo]) -> int:
    (x,) = infos
    product, kernel = product_of(op), np.asarray(op.kernel.codes, dtype=np.int64)
    step = dot_steps(product, live_step(x), constant_step(op.kernel))
    # With zero in every term's interval, the bounds of the sum are those of all partial sums.
    low, high = dot_bounds(product, np.minimum(x.low, 0), np.maximum(x.high, 0), kernel, None)
    frac = x.frac + op.kernel.frac
    bits = _log2_ceil(_reach(low, high, frac, step))
    if op.bias is None:
        return bits
    bias_step = constant_step(op.bias)
    total = np.maximum(step, bias_step)
    # Sum and bias in one pool of terms: also a backend that starts from the bias is covered.
    parts = _reach(low, high, frac, total)
    codes = np.broadcast_to(op.bias.codes, total.shape)
    offset = _reach(codes, codes, op.bias.frac, total)
    return max(bits, _log2_ceil(parts + offset))


def _sum_pool(op: ops.SumPool, infos: list[TensorInfo]) -> int:
    (x,) = infos
    axes = tuple(range(-len(op.window), 0))

    def view(a: np.ndarray, fill: int) -> np.ndarray:
        return windows(pad_space(a[None], op.padding, fill), op.window, op.strides, (1,) * len(op.window))[0]

    low, high = view(np.minimum(x.low, 0), 0).sum(axis=axes), view(np.maximum(x.high, 0), 0).sum(axis=axes)
    return _log2_ceil(_reach(low, high, x.frac, view(live_step(x), NO_STEP).max(axis=axes)))


def _scale_shift(op: ops.ScaleShift, infos: list[TensorInfo]) -> int:
    (x,) = infos
    step = np.maximum(live_step(x) + constant_step(op.scale), NO_STEP)
    frac = x.frac + op.scale.frac
    scale = np.abs(op.scale.codes.astype(np.float64))
    magnitude = np.maximum(np.abs(x.low), np.abs(x.high)) * scale
    bits = _log2_ceil(_reach(magnitude, magnitude, frac, step))
    if op.shift is None:
        return bits
    total = np.maximum(step, constant_step(op.shift))
    units = np.where(total > NO_STEP, total, 0)
    both = np.ldexp(magnitude, units - frac) + np.ldexp(np.abs(op.shift.codes * 1.0), units - op.shift.frac)
    return max(bits, _log2_ceil(np.where(total > NO_STEP, both, 0.0)))


# Elsewhere one rounding at most could happen, that of the result: its own width decides.
_RULES: dict[type[ops.Op], Callable[[Any, list[TensorInfo]], int]] = {
    ops.Dense: _linear,
    ops.Conv: _linear,
    ops.SumPool: _sum_pool,
    ops.ScaleShift: _scale_shift,
}
