"""A conversion whose weights are scaled by powers of two, so that channels use one format equally well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calibrate import collect_ranges, measure_sensitivity
from hgqify.calibrate.equalize import LIMIT, Consumer, candidates, choose_shifts
from hgqify.calibrate.ranges import Range
from hgqify.calibrate.tables import total_width
from hgqify.calibrate.widths import channel_axis
from hgqify.convert import Conversion
from hgqify.data import Source
from hgqify.graph import Channels, Graph, Node, find_channels, layer_key, shifted
from hgqify.layers import QLayer, QLinear, get_activation

SAMPLES = 2048
"""Most samples the channels' ranges are taken from."""

_SENSITIVITY_SAMPLES = 512
_FEW = 1000
"""Fewer values than these do not tell the range of a channel by itself: it keeps one bit of room."""

_ELEMENTWISE = frozenset({"Activation", "ReLU", "LeakyReLU", "ELU"})
_LEAST = 2.0**-100  # weights below it might become subnormal, which float32 arithmetic takes for zero


@dataclass(frozen=True, kw_only=True)
class Equalized:
    """A layer whose output channels were scaled.

    Attributes:
        layer: name of the layer.
        channels: how many of its output channels changed.
        shifts: smallest and largest shift: channels were scaled by 2**shift.
    """

    layer: str
    channels: int
    shifts: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class EqualizeReport:
    """What was equalized.

    Attributes:
        samples: number of samples the channels were measured on.
        layers: layers with scaled output channels.
        left: of the other layers with weights, why they were left as they are.
    """

    samples: int
    layers: tuple[Equalized, ...]
    left: Mapping[str, str]


def equalize(
    conversion: Conversion, source: Source, *, logits: Sequence[bool], seed: int = 0
) -> tuple[Conversion, EqualizeReport]:
    """Scale channels between layers with weights by powers of two; no float result changes.

    Args:
        conversion: not calibrated yet. The weights in its models change.
        source: calibration data.
        logits: for each output, whether it holds class scores.
        seed: of the sampled sensitivity.

    Returns:
        The conversion with scaled weights, and what was done.

    Raises:
        CalibrationError: another backend than JAX, or a float model that gives no finite numbers.
        DataError: data that does not fit the model.
    """
    graph = conversion.graph
    channels = find_channels(graph, homogeneous)
    left = {key: f"its output meets {reason}" for key, reason in channels.reasons.items()}
    blocked = _blocked(conversion, channels, left)
    sets = {key: np.where(np.isin(given, blocked), -1, given) for key, given in channels.inputs.items()}
    layers = _consumers(conversion, channels, sets, left)
    shifts, samples = np.zeros(channels.count, np.int64), 0
    if layers:
        consumers, samples = _measured(conversion, layers, sets, source, logits, seed)
        shifts = choose_shifts(consumers, channels.count)
    changed = shifted(graph, channels, shifts)
    if unsafe := _unsafe(graph, changed, channels):
        shifts[list(unsafe)] = 0
        changed = shifted(graph, channels, shifts)
    done = []
    for key, made in channels.outputs.items():
        own = np.append(shifts, 0)[made]
        if own.any():
            extremes = (int(own.min()), int(own.max()))
            count = int(np.count_nonzero(own))
            done.append(Equalized(layer=conversion.names[key], channels=count, shifts=extremes))
            left.pop(key, None)
        else:
            left.setdefault(key, "its channels are equal enough")
    named = {conversion.names[key]: reason for key, reason in left.items()}
    report = EqualizeReport(samples=samples, layers=tuple(done), left=named)
    return conversion.with_graph(changed), report


def homogeneous(node: Node) -> bool:
    """Whether an elementwise layer has ``g(a x) = a g(x)`` for a > 0, and no table."""
    if node.kind not in _ELEMENTWISE:
        return False
    layer = getattr(keras.layers, node.kind).from_config(dict(node.config))
    piecewise = get_activation(layer, where=node.name).piecewise
    return piecewise is not None and piecewise.high is None and not piecewise.low


def _blocked(conversion: Conversion, channels: Channels, left: dict[str, str]) -> list[int]:
    """Sets of channels made by layers whose weights would lose, because they share one format."""
    blocked: set[int] = set()
    for key, made in channels.outputs.items():
        kq = conversion.model.get_layer(conversion.names[key]).kq
        if not kq.is_dummy and len(made) > 1 and all(n == 1 for n in kq.width_shape):
            blocked.update(int(n) for n in made if n >= 0)
            left.setdefault(key, "its weights share one format")
    return sorted(blocked)


def _consumers(
    conversion: Conversion, channels: Channels, sets: Mapping[str, np.ndarray], left: dict[str, str]
) -> dict[str, QLayer]:
    """The layers whose loss decides: those with one format for all they take."""
    found: dict[str, QLayer] = {}
    for key, given in sets.items():
        layer = conversion.model.get_layer(conversion.names[key])
        if not (given >= 0).any() or not isinstance(layer, QLayer) or not layer.iqs:
            continue
        if layer.iqs[0].is_dummy:
            continue
        if all(n == 1 for n in layer.iqs[0].width_shape):
            found[key] = layer
            continue
        for other, made in channels.outputs.items():
            if np.isin(made[made >= 0], given).any():
                left.setdefault(other, f"its channels have formats of their own in {layer.name}")
    return found


def _measured(
    conversion: Conversion,
    layers: Mapping[str, QLayer],
    sets: Mapping[str, np.ndarray],
    source: Source,
    logits: Sequence[bool],
    seed: int,
) -> tuple[list[Consumer], int]:
    """What shifts would cost each layer, and the number of samples that tell."""
    seen = 0

    def count(samples: int) -> None:
        nonlocal seen
        seen = samples

    ranges = collect_ranges(conversion.probe, source, limit=SAMPLES, progress=count)
    sites = {site.layer: site.tensors for site in conversion.sites if site.slot == 0}
    observed = {
        key: _of_channels(layer, [ranges[n] for n in sites[layer.name]]) for key, layer in layers.items()
    }
    formats = {}
    for key, layer in layers.items():
        low, high = observed[key]
        shape = [1] * ranges[sites[layer.name][0]].low.ndim
        shape[channel_axis(layer)] = len(low)
        bits = int(total_width(layer.iqs[0].state()).max())
        largest = float(max(high.max(), -low.min()))
        formats[layer.name] = candidates(bits, bool(low.min() < 0), largest, tuple(shape))
    sensitivity = measure_sensitivity(
        conversion.clone, source, formats, logits=logits, samples=_SENSITIVITY_SAMPLES, seed=seed
    )
    consumers = []
    for key, layer in layers.items():
        low, high = observed[key]
        losses = sensitivity.data[layer.name].reshape(2 * LIMIT + 1, -1)
        kernel: dict[str, np.ndarray] = {}
        if isinstance(layer, QLinear) and not layer.kq.is_dummy:
            weights = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float64)
            kernel = {
                "kernel": _in_by_out(layer, weights),
                "curvature": _in_by_out(layer, sensitivity.weights[layer.name]),
            }
        magnitude = np.maximum(high, -low)
        values = seen * ranges[sites[layer.name][0]].low.size // len(low)
        consumers.append(
            Consumer(
                sets=sets[key],
                magnitude=_with_room(magnitude, sets[key], values),
                losses=losses,
                weight_bits=int(total_width(layer.kq.state(layer.kernel)).max()) if kernel else 0,
                **kernel,
            )
        )
    return consumers, seen


def _with_room(magnitude: np.ndarray, sets: np.ndarray, values: int) -> np.ndarray:
    """Magnitudes that channels of which few values were seen may have: twice as large, if others do."""
    _, place, sizes = np.unique(sets, return_inverse=True, return_counts=True)
    few = values * sizes[place] < _FEW
    return np.where(few, np.minimum(2 * magnitude, magnitude.max()), magnitude)


def _of_channels(layer: QLayer, ranges: Sequence[Range]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of every input channel."""
    axis = channel_axis(layer)
    lows, highs = [], []
    for found in ranges:
        lows.append(np.moveaxis(found.low, axis, 0).reshape(found.low.shape[axis], -1).min(axis=1))
        highs.append(np.moveaxis(found.high, axis, 0).reshape(found.high.shape[axis], -1).max(axis=1))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _in_by_out(layer: QLinear, kernel: np.ndarray) -> np.ndarray:
    """A kernel as (window, input channels, output channels), zero where an output does not see an input."""
    flat = kernel.reshape(-1, *kernel.shape[-2:])
    if hasattr(layer, "depth_multiplier"):
        groups, flat = flat.shape[1], flat.reshape(len(flat), 1, -1)
    else:
        groups = getattr(layer, "groups", 1)
    if groups == 1:
        return flat
    window, rows, outputs = flat.shape
    wide = np.zeros((window, groups, rows, outputs))
    each = outputs // groups
    for group in range(groups):
        own = slice(group * each, (group + 1) * each)
        wide[:, group, :, own] = flat[:, :, own]
    return wide.reshape(window, groups * rows, outputs)


def _unsafe(before: Graph, after: Graph, channels: Channels) -> set[int]:
    """Sets of channels of layers where a scaled weight came near the ends of float32."""
    found: set[int] = set()
    for node in after:
        if node is before[node.name]:
            continue
        values = np.concatenate([np.abs(w).ravel() for w in node.weights.values()])
        if np.any((values > 0) & (values < _LEAST)) or np.any(values > 1 / _LEAST):
            key = layer_key(node)
            found.update(int(n) for n in (*channels.inputs[key], *channels.outputs[key]) if n >= 0)
    return found
