"""Calibration: all formats of a quantized model from data and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np

from hgqify.calibrate.float32 import Adjustment, fit_float32
from hgqify.calibrate.range_choice import percentile_ranges
from hgqify.calibrate.ranges import Range, collect_ranges
from hgqify.calibrate.settings import CalibrateSettings, Ranges
from hgqify.calibrate.widths import apply_ranges, apply_weights, merged_range
from hgqify.data import Source
from hgqify.layers import quantized_layers, refresh
from hgqify.progress import Event, Progress, no_progress
from hgqify.quantizers import Quantizer

_DEFAULT = CalibrateSettings()


class SiteLike(Protocol):
    """What calibration needs to know of a quantizer on data (see `convert.Site`)."""

    @property
    def layer(self) -> str: ...
    @property
    def slot(self) -> int | str: ...
    @property
    def tensors(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, kw_only=True)
class SiteReport:
    """The format(s) of one quantizer on data.

    Attributes:
        layer, slot: the quantizer: index of the layer's input, or 'oq'.
        low, high: range observed.
        widths: smallest and largest width: k + i + f, or k + e + m of minifloats.
        ints: smallest and largest i; what lies beyond 2**i saturates or wraps.
        fracs: smallest and largest f.
    """

    layer: str
    slot: int | str
    low: float
    high: float
    widths: tuple[int, int]
    ints: tuple[int, int]
    fracs: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """What calibration saw and set.

    Attributes:
        samples: number of samples seen.
        sites: the quantizers on data.
        adjustments: widths taken back so that float32 is exact.
    """

    samples: int
    sites: tuple[SiteReport, ...]
    adjustments: tuple[Adjustment, ...]


def settle(model: keras.Model, proved: Collection[str] = ()) -> tuple[Adjustment, ...]:
    """Make a model ready to deploy after its weights or formats moved: exact in float32, tables fresh.

    Args:
        model: a calibrated model of quantized layers.
        proved: as for `fit_float32`.

    Returns:
        What had to be narrowed.
    """
    refresh(model)  # the scales and shifts to fit are stored constants
    adjustments = fit_float32(model, proved)
    refresh(model)
    return adjustments


def calibrate(
    model: keras.Model,
    probe: keras.Model,
    sites: Iterable[SiteLike],
    source: Source,
    *,
    batch_size: int = 256,
    limit: int | None = None,
    settings: CalibrateSettings = _DEFAULT,
    proved: Collection[str] = (),
    settle: Callable[[keras.Model], tuple[Adjustment, ...]] = settle,
    choose: Callable[[keras.Model], None] | None = None,
    progress: Progress = no_progress,
) -> CalibrationReport:
    """Set the formats of every quantizer of a model; total widths stay as the model was made with.

    Args:
        model: quantized model.
        probe: float model whose outputs are the tensors the quantizers see.
        sites: which quantizer sees which outputs of the probe.
        source: calibration data; streamed once, for a percentile twice, one batch in memory.
        batch_size: samples per batch.
        limit: stop after this many samples.
        settings: how ranges become formats.
        proved: names of layers whose quantizers get their integer bits from a proof later: here they are
            placed as if they saturated.
        settle: brings the model into the state it is deployed in.
        choose: may change the formats of the data quantizers before those of the weights follow from them,
            see `choose_by_loss`.
        progress: hears of every batch.

    Raises:
        DataError: data that does not fit the model, is empty, or is not finite.
        CalibrationError: a range or weight from which no format follows.
    """
    seen = 0
    known = [n for n in (limit, source.samples) if n is not None]
    total = min(known) if known else None

    def count(samples: int) -> None:
        nonlocal seen
        seen = samples
        progress(Event(stage="calibrate", done=samples, total=total, unit="samples"))

    observed = collect_ranges(probe, source, batch_size=batch_size, limit=limit, progress=count)
    ranges: dict[str, dict[int | str, Range]] = {}
    tensors = {(site.layer, site.slot): site.tensors for site in sites}
    for (layer_name, slot), positions in tensors.items():
        ranges.setdefault(layer_name, {})[slot] = merged_range([observed[n] for n in positions])
    held = ranges
    if settings.ranges is Ranges.PERCENTILE and settings.percentile is not None:
        held = percentile_ranges(
            model,
            probe,
            tensors,
            source,
            ranges,
            percentile=settings.percentile,
            batch_size=batch_size,
            limit=limit,
            progress=count,
        )
    for layer in quantized_layers(model):
        apply_ranges(
            layer, held.get(layer.name, {}), margin=None if layer.name in proved else settings.margin
        )
    if choose is not None:
        choose(model)
    for layer in quantized_layers(model):
        apply_weights(layer)
    adjustments = settle(model)
    return CalibrationReport(samples=seen, sites=_describe(model, ranges), adjustments=adjustments)


def renewed(
    report: CalibrationReport, model: keras.Model, adjustments: tuple[Adjustment, ...]
) -> CalibrationReport:
    """The report with the formats the model has now, after they were chosen anew on the same ranges."""
    layers = {layer.name: layer for layer in quantized_layers(model)}
    sites = []
    for site in report.sites:
        layer = layers[site.layer]
        quantizer = layer.oq if isinstance(site.slot, str) else layer.iqs[site.slot]
        if quantizer is not None:
            site = dataclasses.replace(site, **_formats(quantizer))
        sites.append(site)
    return dataclasses.replace(report, sites=tuple(sites), adjustments=adjustments)


def _formats(quantizer: Quantizer) -> dict[str, tuple[int, int]]:
    state = quantizer.state(np.zeros(1, np.float32))
    total = state.width
    return {
        "widths": (int(total.min()), int(total.max())),
        "ints": (int(state.i.min()), int(state.i.max())),
        "fracs": (int(state.f.min()), int(state.f.max())),
    }


def _describe(model: keras.Model, ranges: dict[str, dict[int | str, Range]]) -> tuple[SiteReport, ...]:
    reports = []
    for layer in quantized_layers(model):
        quantizers = {**dict(enumerate(layer.iqs)), "oq": layer.oq}
        for slot, quantizer in quantizers.items():
            observed = ranges.get(layer.name, {}).get(slot)
            if observed is None or quantizer is None or quantizer.is_dummy:
                continue
            reports.append(
                SiteReport(
                    layer=layer.name,
                    slot=slot,
                    low=float(observed.low.min()),
                    high=float(observed.high.max()),
                    **_formats(quantizer),
                )
            )
    return tuple(reports)
