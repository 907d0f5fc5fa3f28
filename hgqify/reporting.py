"""Gather what the stages of a conversion left behind into one report."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hgqify.budget import AllocationReport
from hgqify.calibrate import BiasReport, CalibrationReport, layer_sqnr
from hgqify.convert import Conversion
from hgqify.cutting import program_inputs
from hgqify.data import Source
from hgqify.equalizing import EqualizeReport
from hgqify.finetune import Archive, Entry, FinetuneReport
from hgqify.gather import network, outcomes, weight_histogram, width_counts
from hgqify.gather.histograms import mean_width
from hgqify.layers import QLayer, QLinear, quantized_layers
from hgqify.overflow_choice import OverflowChoice
from hgqify.overflow_choice import summary as choice_summary
from hgqify.precision import FLOAT64_BITS, Kept, Program, certify, count_ebops
from hgqify.quality import judged, noisy_rows, outputs_of
from hgqify.quantizers import QuantizerState
from hgqify.reference import overflow_statement
from hgqify.report import LayerReport, Quality, Report
from hgqify.version import hgqify_version, versions

_QUALITY_SAMPLES = 2000
_NOISE_SAMPLES = 256
_BATCH = 256
_UNUSED_LABELS = (
    "the labels were not used: they are neither the classes of an output, nor numbers in the shape of one. "
    "Give whole numbers from 0, one-hot rows or such numbers, or leave them out"
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
    archive: Archive | None = None,
) -> Report:
    """The report of a conversion; measures the model on the calibration data."""
    certificate = certify(program)
    missing = {layer: entry.missing_bits for layer, entry in certificate.layers.items()}
    batches = (batch.inputs for batch in source.batches(_BATCH, limit=_QUALITY_SAMPLES))
    overflow = overflow_statement(program, program_inputs(conversion.model, program, batches))
    ebops = count_ebops(program)
    batch = next(iter(source.batches(_NOISE_SAMPLES, limit=_NOISE_SAMPLES)))
    noise = layer_sqnr(conversion.clone, conversion.model, batch.inputs)
    layers = tuple(
        _layer(
            layer,
            _float_kernel(conversion.clone, layer),
            ebops.get(layer.name, 0),
            noise.get(layer.name),
            layer.name not in missing,
        )
        for layer in quantized_layers(conversion.model)
    )
    seen = outputs_of(conversion.clone, conversion.model, source, _QUALITY_SAMPLES)
    quality = judged(seen, logits=logits, name="calibration data")
    conversions = tuple(conversion.report.to_dict())
    return Report(
        version=hgqify_version(),
        model=conversion.model.name,
        settings=settings,
        conversion=conversions,
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
            *((_UNUSED_LABELS,) if source.has_labels and not _labelled(quality) else ()),
            *overflow.notes(),
            *_price_of_proof(conversion.proved, calibration),
            *noisy_rows(conversions, noise),
            *conversion.report.notes,
        ),
        kept=tuple(_kept(kept, conversion.kept[kept.layer]) for kept in program.kept),
        graph=network(program, _origins(conversions)),
        outcomes=outcomes(seen, logits),
        archive=tuple(_passed(entry) for entry in (archive.front if archive is not None else ())),
        versions=versions("hgqify", "keras", keras.backend.backend(), "numpy", "hls4ml")
        | {"backend": keras.backend.backend()},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _labelled(quality: Quality) -> bool:
    """Whether the labels said anything about it."""
    return quality.accuracy is not None or quality.rms_error is not None


def _passed(entry: Entry) -> dict[str, Any]:
    """A model of the archive, without its weights."""
    names = ("step", "ebops", "loss", "accuracy", "agreement")
    return {"stage": str(entry.stage), **{name: getattr(entry, name) for name in names}}


def _origins(conversions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The layer of the float model that a quantized layer stands for."""
    return {
        target: entry["layer"]
        for entry in conversions
        for target in entry["target"].split(", ")
        if entry["status"] in ("converted", "kept") and target
    }


def _kept(kept: Kept, reason: str) -> dict[str, str]:
    return {"layer": kept.layer, "kind": kept.kind, "reason": reason}


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


def _layer(
    layer: QLayer, floats: np.ndarray | None, ebops: int, noise: float | None, proved: bool
) -> LayerReport:
    kernel = layer.quantized_weights()["kernel"] if isinstance(layer, QLinear) else None
    output = layer.output[0] if isinstance(layer.output, list) else layer.output
    shape = output.shape[1:] if isinstance(output, keras.KerasTensor) else ()
    inputs = width_counts(
        _widths(q.state(), shape_in)
        for q, shape_in in zip(layer.iqs, _input_shapes(layer), strict=True)
        if not q.is_dummy
    )
    weights = ()
    if isinstance(layer, QLinear):
        weights = width_counts([_widths(layer.kq.state(layer.kernel), tuple(layer.kernel.shape))])
    return LayerReport(
        layer=layer.name,
        kind=type(layer).__name__,
        shape=tuple(int(n) for n in shape),
        input_bits=_ends(inputs),
        weight_bits=_ends(weights),
        zeros=None if kernel is None else float(np.mean(kernel == 0)),
        ebops=int(ebops),
        sqnr_db=noise,
        float32_proved=proved,
        input_mean=mean_width(inputs),
        weight_mean=mean_width(weights),
        input_widths=inputs,
        weight_widths=weights,
        weight_values=None if kernel is None else weight_histogram(kernel, floats),
    )


def _float_kernel(clone: keras.Model, layer: QLayer) -> np.ndarray | None:
    """The kernel of the float layer that corresponds to a quantized one."""
    if not isinstance(layer, QLinear):
        return None
    kernel: Any = clone.get_layer(layer.name).kernel
    return np.asarray(keras.ops.convert_to_numpy(kernel))


def _input_shapes(layer: QLayer) -> list[tuple[int, ...]]:
    """Of each tensor that a quantizer of the layer sees, without the batch axis; () where it is not fixed."""
    try:
        tensors = keras.tree.flatten(layer.input)
    except (AttributeError, ValueError):  # called several times: on tensors of one shape or of several
        tensors = []
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    if len(shapes) != len(layer.iqs):
        shapes = shapes[:1] * len(layer.iqs) or [()] * len(layer.iqs)
    return [shape if None not in shape else () for shape in shapes]


def _widths(state: QuantizerState, shape: tuple[int, ...]) -> np.ndarray:
    """Width of every element; of every format, where the shape is not that of the elements."""
    try:
        return np.broadcast_to(state.width, shape)
    except ValueError:
        return state.width


def _ends(counts: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Fewest and most bits."""
    return (counts[0][0], counts[-1][0]) if counts else None
