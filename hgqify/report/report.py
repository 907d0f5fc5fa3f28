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

SCHEMA = 1


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


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well the quantized model does what the float model did.

    Attributes:
        samples: number of samples compared.
        agreement: fraction of them for which both name the same class; None for other models.
        float_accuracy, accuracy: against the labels; None without.
        output_sqnr_db: signal to quantization noise of the outputs.
        data: what the samples are.
    """

    samples: int
    agreement: float | None
    float_accuracy: float | None
    accuracy: float | None
    output_sqnr_db: float
    data: str

    def __str__(self) -> str:
        parts = []
        if self.float_accuracy is not None and self.accuracy is not None:
            parts.append(f"accuracy {self.float_accuracy:.4f} float, {self.accuracy:.4f} quantized")
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
        ebops: exact effective bit operations of the whole model.
        float32_proved: whether Keras in float32 is proved equal to the integers for every input.
        float32_open: layers without that proof, and the bits missing.
        float64_proved: the same in float64.
        certificate: the float32 verdict on every operation: bits needed, bits missing, remedy.
        overflow: for every quantizer whether it can overflow, and whether it did on the data.
        quality: against the float model.
        seconds: time of each stage.
        notes: what was given and not used, and why.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the schema's version; numbers that JSON lacks (infinity) become None."""
        return {"schema": SCHEMA, **plain(dataclasses.asdict(self))}

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

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
