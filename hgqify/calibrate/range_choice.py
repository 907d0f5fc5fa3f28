"""Integer bits below the observed range: by a percentile of the values, or by least loss.

A format holds a power of two. So the exact percentile is not needed, only how many values lie beyond each
power of two below the observed maximum: a few counters for every format, whatever the data's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import keras
import numpy as np

from hgqify.calibrate.candidates import DataCandidates
from hgqify.calibrate.fisher import Sensitivity
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.ranges import Range, pad
from hgqify.calibrate.tables import total_width
from hgqify.calling import predict
from hgqify.data import Source
from hgqify.layers import QActivation, QLayer, Quantize, quantized_layers
from hgqify.quantizers import Quantizer

ops: Any = keras.ops

LEVELS = 24
"""How many powers of two below the observed maximum are counted: what lies 24 bits below is no wider than
float32's own rounding of the maximum."""

CLIPS = 5
"""How many integer bits are priced by loss: those of the observed range, and one to four less."""


def clippable(model: keras.Model) -> Iterator[tuple[QLayer, int, Quantizer]]:
    """Quantizers whose range may be less than what was seen: layer, slot, quantizer.

    Those that wrap would turn what lies beyond into something else. Tables bound their own index. Outputs
    keep all: of large logits the largest matters.
    """
    for layer in quantized_layers(model):
        if isinstance(layer, QActivation) and layer.is_tabulated:
            continue
        if isinstance(layer, Quantize) and any(layer.output is tensor for tensor in model.outputs):
            continue
        for slot, quantizer in enumerate(layer.iqs):
            if not quantizer.is_dummy and quantizer.state().overflow.saturates:
                yield layer, slot, quantizer


def percentile_ranges(
    model: keras.Model,
    probe: keras.Model,
    tensors: Mapping[tuple[str, int | str], Sequence[int]],
    source: Source,
    ranges: Mapping[str, Mapping[int | str, Range]],
    *,
    percentile: float,
    batch_size: int = 256,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[int | str, Range]]:
    """Ranges that hold a share of the values seen, rounded up to the power of two that a format has.

    A second pass over the data counts, for every format, the values beyond each power of two. Memory is
    bounded by one batch and `LEVELS` counters a format.

    Args:
        model: quantized model; says which quantizers there are, which saturate, and what shares a format.
        probe, source, batch_size, limit: as `ranges` were collected with.
        tensors: by layer and slot, which outputs of the probe the quantizer sees.
        ranges: what was observed, by layer and slot.
        percentile: per cent of the values other than zero that must lie inside.
        progress: called with the number of samples seen after each batch.

    Returns:
        All ranges; those of quantizers that saturate no wider than the percentile asks for.
    """
    found = {layer: dict(slots) for layer, slots in ranges.items()}
    places, jobs = [], []
    for layer, slot, quantizer in clippable(model):
        if slot not in found.get(layer.name, {}):
            continue  # refused, with its name, where ranges become formats
        state = quantizer.state()
        shared = found[layer.name][slot].reduce(state.f.shape)
        top = ceil_log2(np.maximum(-shared.low, shared.high))
        places.append((layer.name, slot, top, _most_clips(shared, top, total_width(state))))
        levels = np.arange(1, LEVELS + 1).reshape(-1, *[1] * top.ndim)
        # At last 0: how many values there are.
        thresholds = np.concatenate([np.ldexp(1.0, top - levels), np.zeros((1, *top.shape))])
        jobs.append((tensors[layer.name, slot], thresholds))
    for (name, slot, top, most), counts in zip(
        places, _count(probe, source, jobs, batch_size, limit, progress), strict=True
    ):
        bound = np.ldexp(1.0, top - np.minimum(_clips(counts, percentile), most))
        observed = found[name][slot]
        found[name][slot] = Range(
            low=np.maximum(observed.low, -bound), high=np.minimum(observed.high, bound), frac=observed.frac
        )
    return found


def _most_clips(shared: Range, top: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Bits that may be clipped: data on a grid gains nothing from an LSB finer than that."""
    if shared.frac is None:
        return np.full(top.shape, LEVELS)
    return np.maximum((shared.low < 0) + top + shared.frac - width, 0)


def _clips(counts: np.ndarray, percentile: float) -> np.ndarray:
    """How many bits below the maximum a range may end; counts of values beyond 1, 2, ... bits, and of all."""
    beyond, values = counts[:-1], counts[-1]
    share = 1 - Fraction(str(percentile)) / 100  # exact: at 99.9 one of 1,000 values may lie outside
    allowed = np.reshape([int(n * share) for n in values.ravel().tolist()], values.shape)
    return np.where(values > 0, np.sum(beyond <= allowed, axis=0), 0)


class _Beyond(keras.layers.Layer):
    """How many magnitudes lie beyond each of some thresholds, (L, *group); samples are counted or not."""

    def __init__(self, thresholds: np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thresholds = thresholds.astype(np.float32)  # powers of two: exact

    def call(self, x: Any, counted: Any) -> Any:
        """Count, one threshold after another: no more than one comparison of the batch in memory."""
        group = self.thresholds.shape[1:]
        shared = tuple(n + 1 for n in range(x.ndim - 1) if not group or group[n] == 1)
        magnitude = ops.abs(x)
        counted = ops.reshape(counted, (-1, *[1] * (x.ndim - 1)))

        def one(threshold: Any) -> Any:
            beyond = ops.cast(magnitude > threshold, "int32") * counted
            return ops.reshape(ops.sum(beyond, axis=(0, *shared)), group)

        return ops.map(one, ops.convert_to_tensor(self.thresholds))

    def compute_output_spec(self, x: Any, counted: Any) -> keras.KerasTensor:
        """Integers of the thresholds' shape."""
        del x, counted
        return keras.KerasTensor(self.thresholds.shape, dtype="int32")


def _count(
    probe: keras.Model,
    source: Source,
    jobs: Sequence[tuple[Sequence[int], np.ndarray]],
    batch_size: int,
    limit: int | None,
    progress: Callable[[int], None] | None,
) -> list[np.ndarray]:
    """For each job, tensors of the probe and thresholds: how many values lie beyond each, int64."""
    if not jobs:
        return []
    if source.samples is not None:
        batch_size = max(1, min(batch_size, source.samples))
    counted = keras.Input((), dtype="int32", name="counted")
    outputs = [
        _Beyond(thresholds)(probe.outputs[position], counted)
        for tensors, thresholds in jobs
        for position in tensors
    ]
    counter = keras.Model([*probe.inputs, counted], outputs)
    totals = [np.zeros(output.shape, np.int64) for output in outputs]
    seen = 0
    for batch in source.batches(batch_size, limit=limit):
        real = (np.arange(batch_size) < len(batch)).astype(np.int32)
        flat = predict(counter, [*(pad(x, batch_size) for x in batch.inputs), real])
        totals = [total + part for total, part in zip(totals, flat, strict=True)]
        seen += len(batch)
        if progress is not None:
            progress(seen)
    counts = iter(totals)
    return [np.sum([next(counts) for _ in tensors], axis=0) for tensors, _ in jobs]


def choose_by_loss(
    model: keras.Model, sensitivity: Callable[[Mapping[str, DataCandidates]], Sensitivity]
) -> None:
    """Give every quantizer that saturates the integer bits of least loss at the width it has.

    Operands of additions and other layers of several inputs keep the observed range, and so do minifloats,
    which have small numbers in fine steps whatever their range.

    Args:
        model: its data quantizers hold the observed ranges; they are changed.
        sensitivity: from candidates of layers' inputs to their losses, see `measure_sensitivity`.
    """
    chosen = {
        layer.name: quantizer
        for layer, _, quantizer in clippable(model)
        if len(layer.iqs) == 1 and not quantizer.is_minifloat
    }
    candidates = {name: _of_one_width(quantizer) for name, quantizer in chosen.items()}
    if not candidates:
        return
    losses = sensitivity(candidates).data
    for name, quantizer in chosen.items():
        best = np.argmin(losses[name], axis=0)[None]  # of equals the widest range
        parts = (
            np.take_along_axis(part, best, axis=0)[0] for part in (candidates[name].i, candidates[name].f)
        )
        i, f = (part.reshape(quantizer.width_shape) for part in parts)
        quantizer.set_state(i=i, f=f)


def _of_one_width(quantizer: Quantizer) -> DataCandidates:
    """The format a quantizer has, and those with fewer integer and as many more fractional bits."""
    state = quantizer.state()
    live = state.k + state.i + state.f > 0
    clips = np.arange(CLIPS).reshape(-1, *[1] * state.f.ndim)
    i, f = np.where(live, state.i - clips, 0), np.where(live, state.f + clips, 0)
    return DataCandidates(k=np.where(live, state.k, 0), i=i, f=f, bits=np.maximum(i + f, 0))
