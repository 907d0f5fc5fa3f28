"""The report of a conversion: plain data and its JSON form."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hgqify.report.facts import Fact, facts
from hgqify.report.notebook import summary_html
from hgqify.report.page import page

SCHEMA = 2
"""Version of the JSON form, which `report.schema.json` describes."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One quantized layer.

    Attributes:
        layer, kind: name and class in the quantized model.
        shape: of its output, without the batch axis.
        input_bits: smallest and largest k + i + f of what enters it; None without input quantizer.
        weight_bits: smallest and largest width of its kernel, sign included; None without weights.
        zeros: fraction of its kernel that is zero; None without weights.
        ebops: exact effective bit operations.
        sqnr_db: signal to quantization noise at its output, all noise before it included; None if unknown.
        float32_proved: whether Keras in float32 is proved equal to the integers here.
        input_mean, weight_mean: mean of the widths whose ends are ``input_bits`` and ``weight_bits``, over
            elements.
        input_widths, weight_widths: how many elements have how many bits, as pairs.
        weight_values: histogram of the kernel, see `gather.weight_histogram`; None without weights.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    input_bits: tuple[int, int] | None
    weight_bits: tuple[int, int] | None
    zeros: float | None
    ebops: int
    sqnr_db: float | None
    float32_proved: bool
    input_mean: float | None = None
    weight_mean: float | None = None
    input_widths: tuple[tuple[int, int], ...] = ()
    weight_widths: tuple[tuple[int, int], ...] = ()
    weight_values: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well the quantized model does what the float model did.

    Attributes:
        samples: number of samples compared.
        agreement: fraction of them for which both name the same class; None for other models.
        float_accuracy, accuracy: against the labels; None without.
        output_sqnr_db: signal to quantization noise of the outputs.
        data: what the samples are.
        float_rms_error, rms_error: root mean square of output - label, where labels are numbers; else None.
    """

    samples: int
    agreement: float | None
    float_accuracy: float | None
    accuracy: float | None
    output_sqnr_db: float
    data: str
    float_rms_error: float | None = None
    rms_error: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.float_accuracy is not None and self.accuracy is not None:
            parts.append(f"accuracy {self.float_accuracy:.4f} float, {self.accuracy:.4f} quantized")
        if self.float_rms_error is not None and self.rms_error is not None:
            parts.append(f"rms error {self.float_rms_error:.4g} float, {self.rms_error:.4g} quantized")
        if self.agreement is not None:
            parts.append(f"same class as float for {100 * self.agreement:.2f} %")
        parts.append(f"output SQNR {self.output_sqnr_db:.1f} dB")
        return ", ".join(parts) + f" ({self.samples} samples of {self.data})"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is known about a conversion.

    Attributes:
        version: of hgqify.
        model: name of the model.
        settings: all settings, as plain data.
        conversion: what became of every layer of the float model.
        layers: the quantized layers.
        calibration, finetune: reports of the stages, as plain data.
        allocation: the same of the allocation under a budget; None without.
        equalize, correct_bias: the same of these corrections; None where they are off.
        kept: the layers that stay in float: layer, kind and reason.
        ebops: exact effective bit operations of the whole model.
        float32_proved: whether Keras in float32 is proved equal to the integers for every input.
        float32_open: layers without that proof, and the bits missing.
        float64_proved: the same in float64.
        certificate: the float32 verdict on every operation: bits needed, bits missing, remedy.
        overflow: for every quantizer whether it can overflow, and whether it did on the data.
        quality: against the float model.
        seconds: time of each stage.
        notes: what was given and not used, and why.
        graph: the layers and the formats between them, see `gather.network`.
        outcomes: confusion of classes or residuals, see `gather.outcomes`; None for too many classes.
        archive: models that the training passed through, of which none is as good as another in both
            EBOPs and held-out loss: step, ebops, loss, accuracy, agreement.
        sweep: all points of the sweep over budgets that this is one of, as in sweep.json; None without.
        check: verdict of the comparison of all codes, see `export.CheckReport`; None if it was not made.
        versions: of hgqify and the packages that it ran on.
        command: what reproduces this result; None if it is not known.
        created: when, in UTC, ISO 8601.
    """

    version: str
    model: str
    settings: Mapping[str, Any]
    conversion: tuple[Mapping[str, str], ...]
    layers: tuple[LayerReport, ...]
    calibration: Mapping[str, Any]
    finetune: Mapping[str, Any]
    ebops: int
    float32_proved: bool
    float32_open: Mapping[str, int]
    float64_proved: bool
    certificate: tuple[Mapping[str, Any], ...]
    overflow: Mapping[str, Any]
    quality: Quality
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    allocation: Mapping[str, Any] | None = None
    equalize: Mapping[str, Any] | None = None
    correct_bias: Mapping[str, Any] | None = None
    kept: tuple[Mapping[str, str], ...] = ()
    graph: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Any] | None = None
    archive: tuple[Mapping[str, Any], ...] = ()
    sweep: Mapping[str, Any] | None = None
    check: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the schema's version; numbers that JSON lacks (infinity) become None."""
        return {"schema": SCHEMA, **plain(dataclasses.asdict(self))}

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_html(self) -> str:
        """The report as one HTML file that needs nothing else."""
        return page(self.to_dict())

    def _repr_html_(self) -> str:
        """In a notebook: the headline, and the layers that cost most."""
        return summary_html(self.to_dict())

    def facts(self) -> tuple[Fact, ...]:
        """The headline figures, one by one."""
        return facts(self)

    def summary(self) -> str:
        """The headline figures as lines of text."""
        return "\n".join(map(str, self.facts()))


def plain(value: Any) -> Any:
    """A value in JSON types only; numbers that JSON lacks (infinity) become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
