"""Observed ranges: a streaming pass of data through a float model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calling import predict
from hgqify.data import Source, check_against
from hgqify.errors import CalibrationError

_MANTISSA = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Range:
    """What was seen at one tensor.

    Attributes:
        low, high: smallest and largest value of each element, float32 arrays of the tensor's shape
            (without the batch axis).
        frac: the finest LSB exponent of the data, where it lies on a grid worth knowing: every value
            seen is a multiple of 2**-frac. None for tensors that are computed.
    """

    low: np.ndarray
    high: np.ndarray
    frac: int | None = None

    def union(self, other: Range) -> Range:
        """The range that covers both; shapes may differ only if one is reduced to a scalar before."""
        frac = None if self.frac is None or other.frac is None else max(self.frac, other.frac)
        return Range(low=np.minimum(self.low, other.low), high=np.maximum(self.high, other.high), frac=frac)

    def reduce(self, shape: Sequence[int]) -> Range:
        """Share the range along every axis where ``shape`` has length 1, the widths' own shape.

        Args:
            shape: same rank as the tensor, or () for one range of all.
        """
        shape = tuple(shape)
        if shape == ():
            return Range(low=self.low.min(), high=self.high.max(), frac=self.frac)
        axes = tuple(n for n, size in enumerate(shape) if size == 1)
        return Range(
            low=self.low.min(axes, keepdims=True), high=self.high.max(axes, keepdims=True), frac=self.frac
        )


def grid_frac(x: np.ndarray) -> int | None:
    """Smallest f such that every value is a multiple of 2**-f; None if all are zero.

    ``x = m 2^e`` with a 24-bit integer m: f is the largest ``-e`` after removing m's trailing zeros.
    """
    values = np.abs(x[x != 0]).astype(np.float64)
    if not values.size:
        return None
    mantissa, exponent = np.frexp(values)
    codes = (mantissa * 2.0**_MANTISSA).astype(np.int64)
    trailing = np.log2((codes & -codes).astype(np.float64)).astype(np.int64)  # exact: powers of two
    return int(np.max(_MANTISSA - exponent - trailing))


def collect_ranges(
    probe: keras.Model,
    source: Source,
    *,
    batch_size: int = 256,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Range, ...]:
    """Ranges of all outputs of a model over a data source, in the order of the flat outputs.

    The last batch is padded with copies of its first sample (which change no extremum), so that the
    model is compiled for one batch size only. Memory is bounded by one batch.

    Args:
        probe: float model; its outputs are the tensors to observe. An output that is also an input
            gets `Range.frac`.
        source: data for the model's inputs.
        batch_size: samples per step.
        limit: stop after this many samples.
        progress: called with the number of samples seen after each batch.

    Raises:
        DataError: data that does not fit the model, is empty or not finite.
        CalibrationError: the float model itself gives NaN or infinity.
    """
    check_against(source, [tensor.shape[1:] for tensor in probe.inputs], [t.name for t in probe.inputs])
    if source.samples is not None:
        batch_size = max(1, min(batch_size, source.samples))
    names = [tensor.name for tensor in probe.inputs]
    extremes = _extremes_model(probe)
    positions = [_input_position(tensor, probe) for tensor in probe.outputs]
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []
    fracs: list[int | None] = [None] * len(names)
    seen = 0
    for batch in source.batches(batch_size, limit=limit):
        count = len(batch)
        inputs = [pad(x, batch_size) for x in batch.inputs]
        fracs = [_finer(frac, x) for frac, x in zip(fracs, batch.inputs, strict=True)]
        flat = predict(extremes, inputs)
        lows, highs = flat[0::2], flat[1::2]
        low = [np.minimum(a, b) for a, b in zip(low, lows, strict=True)] if low else lows
        high = [np.maximum(a, b) for a, b in zip(high, highs, strict=True)] if high else highs
        seen += count
        if progress is not None:
            progress(seen)
    for tensor, lows, highs in zip(probe.outputs, low, high, strict=True):
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            raise CalibrationError(
                "the float model gives NaN or infinity on the calibration data",
                where=tensor.name,
                remedy="check that the data is prepared as it was for training",
            )
    return tuple(
        Range(low=a, high=b, frac=None if position is None else fracs[position])
        for a, b, position in zip(low, high, positions, strict=True)
    )


def _extremes_model(probe: keras.Model) -> keras.Model:
    """The probe with minimum and maximum over the batch in place of each output.

    Reduced inside the model, only one sample's worth of numbers leaves it per tensor.
    """
    outputs = []
    for tensor in probe.outputs:
        if not keras.backend.is_float_dtype(tensor.dtype):  # of a layer that stays in float
            tensor = keras.ops.cast(tensor, "float32")
        outputs += [keras.ops.min(tensor, axis=0), keras.ops.max(tensor, axis=0)]
    return keras.Model(probe.inputs, outputs)


def _input_position(tensor: keras.KerasTensor, probe: keras.Model) -> int | None:
    return next((n for n, candidate in enumerate(probe.inputs) if candidate is tensor), None)


def _finer(frac: int | None, x: np.ndarray) -> int | None:
    """The finest LSB exponent so far, with more values; most batches only confirm it, cheap to see."""
    if frac is not None:
        codes = np.multiply(x, 2.0**frac, dtype=np.float64)
        if np.array_equal(codes, np.rint(codes)):
            return frac
    found = grid_frac(x)
    return found if frac is None else frac if found is None else max(frac, found)


def pad(x: np.ndarray, count: int) -> np.ndarray:
    """A batch filled up to ``count`` samples with copies of its first."""
    missing = count - x.shape[0]
    return x if missing == 0 else np.concatenate([x, np.repeat(x[:1], missing, axis=0)])
