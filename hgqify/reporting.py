"""Gather what the stages of a conversion left behind into one report."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hgqify.budget import AllocationReport
from hgqify.calibrate import BiasReport, CalibrationReport, layer_sqnr
from hgqify.convert import Conversion
from hgqify.data import Source
from hgqify.equalizing import EqualizeReport
from hgqify.finetune import FinetuneReport
from hgqify.layers import QLayer, QLinear, quantized_layers
from hgqify.overflow_choice import OverflowChoice
from hgqify.overflow_choice import summary as choice_summary
from hgqify.precision import FLOAT64_BITS, Program, certify, count_ebops
from hgqify.quality import measure
from hgqify.quantizers import QuantizerState
from hgqify.reference import overflow_statement
from hgqify.report import LayerReport, Report
from hgqify.version import hgqify_version

_QUALITY_SAMPLES = 2000
_NOISE_SAMPLES = 256
_BATCH = 256
_UNUSED_LABELS = (
    "the labels were not used: they are not the classes of an output. Give whole numbers from 0, or one-hot "
    "rows, or leave them out"
)


def make_report(
    *,
    conversion: Conversion,
    logits: Sequence[bool],
    program: Program,
    source: Source,
    calibration: CalibrationReport,
    allocation: AllocationReport | None,
    finetune: FinetuneReport,
    equalized: EqualizeReport | None = None,
    corrected: BiasReport | None = None,
    overflow_choices: Sequence[OverflowChoice] = (),
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Report:
    """The report of a conversion; measures the model on the calibration data."""
    certificate = certify(program)
    missing = {layer: entry.missing_bits for layer, entry in certificate.layers.items()}
    batches = source.batches(_BATCH, limit=_QUALITY_SAMPLES)
    overflow = overflow_statement(program, (batch.inputs for batch in batches))
    ebops = count_ebops(program)
    batch = next(iter(source.batches(_NOISE_SAMPLES, limit=_NOISE_SAMPLES)))
    noise = layer_sqnr(conversion.clone, conversion.model, batch.inputs)
    layers = tuple(
        _layer(layer, ebops.get(layer.name, 0), noise.get(layer.name), layer.name not in missing)
        for layer in quantized_layers(conversion.model)
    )
    quality = measure(
        conversion.clone,
        conversion.model,
        source,
        logits=logits,
        limit=_QUALITY_SAMPLES,
        name="calibration data",
    )
    return Report(
        version=hgqify_version(),
        model=conversion.model.name,
        settings=settings,
        conversion=tuple(conversion.report.to_dict()),
        layers=layers,
        calibration=dataclasses.asdict(calibration),
        allocation=None if allocation is None else dataclasses.asdict(allocation),
        finetune=dataclasses.asdict(finetune),
        equalize=None if equalized is None else dataclasses.asdict(equalized),
        correct_bias=None if corrected is None else dataclasses.asdict(corrected),
        ebops=sum(ebops.values()),
        float32_proved=not missing,
        float32_open=missing,
        float64_proved=certify(program, FLOAT64_BITS).proved,
        certificate=tuple(dataclasses.asdict(entry) for entry in certificate.entries),
        overflow={
            **overflow.to_dict(),
            "summary": [*choice_summary(overflow_choices), *overflow.summary()],
            "choices": [dataclasses.asdict(choice) for choice in overflow_choices],
        },
        quality=quality,
        seconds=seconds,
        notes=(
            *((_UNUSED_LABELS,) if source.has_labels and quality.accuracy is None else ()),
            *overflow.notes(),
            *_price_of_proof(conversion.proved, calibration),
        ),
    )


def _price_of_proof(proved: Collection[str], calibration: CalibrationReport) -> tuple[str, ...]:
    """Where float32 had no room for the integer bits of a proof, and accuracy paid for them."""
    paid = sorted((a for a in calibration.adjustments if a.layer in proved), key=lambda a: -a.bits)
    if not paid:
        return ()
    layers = len({a.layer for a in paid})
    return (
        f"overflow 'proved' took fractional bits from {layers} layer(s) to stay exact in float32, most from "
        f"{paid[0].layer} ({paid[0].part}, {paid[0].bits} bits): if that costs accuracy, let it saturate "
        f"(Rule(path='{paid[0].layer}', overflow='sat'))",
    )


def _layer(layer: QLayer, ebops: int, noise: float | None, proved: bool) -> LayerReport:
    kernel = layer.quantized_weights()["kernel"] if isinstance(layer, QLinear) else None
    weight_state = layer.kq.state(layer.kernel) if isinstance(layer, QLinear) else None
    output = layer.output[0] if isinstance(layer.output, list) else layer.output
    shape = output.shape[1:] if isinstance(output, keras.KerasTensor) else ()
    return LayerReport(
        layer=layer.name,
        kind=type(layer).__name__,
        shape=tuple(int(n) for n in shape),
        input_bits=_widths([q.state() for q in layer.iqs if not q.is_dummy]),
        weight_bits=None if weight_state is None else _widths([weight_state]),
        zeros=None if kernel is None else float(np.mean(kernel == 0)),
        ebops=int(ebops),
        sqnr_db=noise,
        float32_proved=proved,
    )


def _widths(states: Sequence[QuantizerState]) -> tuple[int, int] | None:
    """Smallest and largest k + i + f."""
    if not states:
        return None
    totals = [np.maximum(s.k + s.i + s.f, 0) for s in states]
    return min(int(t.min()) for t in totals), max(int(t.max()) for t in totals)
