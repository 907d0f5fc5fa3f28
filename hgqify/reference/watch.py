"""Watching what reaches quantizers while the reference runs: extremes and overflows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import MAX_BITS, Overflow, overflows, requantize, to_codes
from hgqify.precision.ops import Input, Quantize
from hgqify.precision.program import Program
from hgqify.reference.run import Interpreter

# Elements of all tensors that are watched, per batch.
_ELEMENTS = 1 << 22


class Watch:
    """What one quantizer has seen so far.

    Args:
        program: annotated.
        name: of a `Quantize` node in it.

    Raises:
        PrecisionError: the node is no quantizer.
    """

    def __init__(self, program: Program, name: str) -> None:
        node = program.by_name[name]
        if not isinstance(node.op, Quantize):
            raise PrecisionError(
                "only quantizers overflow", where=node.layer, received=type(node.op).__name__
            )
        self.source = node.inputs[0]
        info = program.by_name[self.source].info
        self._frac = 0 if info is None else info.frac
        self._op = node.op
        parts = (node.op.k, node.op.i, node.op.f)
        self._k, i, self._f = (np.broadcast_to(np.asarray(a, np.int64), node.shape) for a in parts)
        # A format without bits is the constant 0, however negative its i.
        self._bits = np.where(self._k + i + self._f > 0, i + self._f, 0)
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self.values = 0
        self.overflowing = 0

    def see(self, x: np.ndarray) -> None:
        """One batch of codes, or of real numbers at a model input."""
        if not len(x):
            return
        self.values += x.size
        low, high = x.min(axis=0), x.max(axis=0)
        # Rounding is monotone: where the extremes stay inside, all do.
        if self._beyond(np.stack([low, high])).any():
            self.overflowing += int(np.count_nonzero(self._beyond(x)))
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def margins(self) -> np.ndarray:
        """log2(range / magnitude) of the worst value of each element, after rounding; 0 before any."""
        if self._low is None or self._high is None:
            return np.zeros(self._bits.shape)
        low, high = self._rounded(self._low), self._rounded(self._high)
        span = np.ldexp(1.0, self._bits.astype(np.int32))
        # Codes run from -span to span - 1; an unsigned format is left at once below zero.
        down = np.where(low < 0, -low + np.where(self._k > 0, 0.0, span), 1.0)
        return np.log2(span / np.maximum(down, np.maximum(high, 0) + 1.0))

    def _beyond(self, x: np.ndarray) -> np.ndarray:
        op = self._op
        return overflows(x, op.k, op.i, op.f, op.rounding, op.overflow, op.digits, frac=self._frac)

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        """Codes on the quantizer's own LSB, as float64."""
        f, rounding = self._f, self._op.rounding
        wide = MAX_BITS - 1 - f
        if x.dtype.kind != "f":
            return requantize(x, self._frac, 1, wide, f, rounding, Overflow.SAT).astype(np.float64)
        scaled = np.ldexp(x.astype(np.float64), f.astype(np.int32))
        # Above 2**53 there is no fraction left to round.
        small = np.abs(scaled) < 2.0**53
        codes = to_codes(np.where(small, x, 0.0), 1, wide, f, rounding, Overflow.SAT)
        return np.where(small, codes.astype(np.float64), scaled)


def look(program: Program, watches: Sequence[Watch], batches: Iterable[Sequence[np.ndarray]]) -> int:
    """Run the reference and show every watch what reaches its quantizer.

    Args:
        program: annotated.
        watches: of quantizers of the program.
        batches: real inputs, an array per model input.

    Returns:
        The number of samples.

    Raises:
        DataError: inputs that do not fit the program.
    """
    sources = dict.fromkeys(watch.source for watch in watches)
    keep = [name for name in sources if not isinstance(program.by_name[name].op, Input)]
    interpreter = Interpreter(program, keep)
    held = sum(int(np.prod(program.by_name[name].shape, dtype=np.int64)) for name in keep)
    size = int(np.clip(_ELEMENTS // max(held, 1), 1, interpreter.batch_size))
    samples = 0
    for inputs in batches:
        arrays = [np.asarray(x) for x in inputs]
        for start in range(0, len(arrays[0]), size):
            part = [x[start : start + size].astype(np.float32, copy=False) for x in arrays]
            tensors = {name: codes.codes for name, codes in interpreter(part).kept.items()}
            tensors |= dict(zip(program.inputs, part, strict=True))
            for watch in watches:
                watch.see(tensors[watch.source])
            samples += len(part[0])
    return samples
