"""A settings file for a model, with every option at its default and commented out.

Lines that begin with `# ` are text; those that begin with `#` alone are settings, to be used without it.
"""

from __future__ import annotations

import enum
import inspect
import re
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from hgqify import toml_text
from hgqify.calibrate import CalibrateSettings
from hgqify.convert import ConversionReport, ConvertSettings, LayerEntry
from hgqify.export import BACKENDS, IO_TYPES, ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.settings_file import AUTO, DataTable, tables

_WIDTH = 100
_BITS = ConvertSettings().activation_bits
# What stands on the right where there is no default, so that a line can be used as it is.
_EXAMPLES: Mapping[str, Any] = {
    "calib": "calib.npz",
    "labels": "y",
    "key": "x",
    "bits": 8,
    "target_ebops": 100_000,
    "max_drop": 0.5,
    "budgets": [200_000, 100_000],
    "compensate": True,
    "ranges": "minmax",
    "percentile": 99.9,
    "learning_rate": 0.001,
    "part": "xcu250-figd2104-2L-e",
    "clock_uncertainty": 12.5,
    "strategy": "Latency",
}
# Keywords of `hgqify.convert` that no settings class has.
_KEYWORDS: Mapping[str, Any] = {
    "seed": 0,
    "bits": None,
    "finetune_steps": FinetuneSettings().steps,
    "target_ebops": None,
    "max_drop": None,
    "budgets": None,
    "compensate": None,
}
# For readers of the file, in place of the texts for readers of the code.
_TEXTS: Mapping[str, str] = {
    "seed": "Seed of all randomness.",
    "bits": "One width for all that is multiplied, in place of weight_bits, activation_bits, input_bits and "
    "table_out_bits.",
    "finetune_steps": "Steps of the fine-tuning; 0 for none.",
    "target_ebops": "A budget: most EBOPs of the whole model. Bits go where they matter.",
    "max_drop": "In place of target_ebops: the fewest EBOPs that lose at most so many percentage points.",
    "budgets": "In place of target_ebops: several, from one calibration; the best point is taken.",
    "compensate": "Under a budget, let the weights make good for rounding.",
    "q_type": "What weights and the data they multiply become: fixed point, or minifloats (8 bits: e4m3), of "
    "which there is no project.",
    "unsupported": "Layers that have no fixed-point form: refuse the model, or keep them in float.",
    "overflow": "What activations inside the model do beyond their range. Inputs and outputs saturate.",
    "rounding": "How activations are rounded.",
    "softmax": "A softmax at the end: give logits (the order of classes is the same), convert, or refuse.",
    "activation_granularity": "Along which axes the widths of activations differ; io_stream: tensor only.",
    "ranges": "Which values the formats of activations that saturate hold.",
    "percentile": "With ranges = percentile: per cent of the values not to saturate; zeros do not count.",
    "batch_size": "Samples per step of the fine-tuning.",
    "learning_rate": "Of the fine-tuning at the start, as a fraction of the size of the weights.",
    "width_rate": "Learning rate of trained widths, in bits; under a budget only.",
    "width_steps": "Share of the steps in which widths are trained along with weights; under a budget only.",
    "clip_norm": "Bound on the norm of the gradient of all weights.",
    "devices": "Split every batch of the fine-tuning over all devices, or use one.",
    "min_samples": "With fewer samples nothing is trained.",
    "backend": "Tool the project is written for.",
    "io_type": "Pass tensors at once, or as a stream; auto: by the model's size.",
    "part": "FPGA part number; else hls4ml's default.",
    "clock_period": "In nanoseconds.",
    "clock_uncertainty": "In per cent of the clock period; else the backend's default.",
    "strategy": "How sums of products are built; else the first that the backend has.",
    "reuse_factor": "How often one multiplier is used; 1: fully parallel.",
    "parallelization_factor": "Positions of a convolution computed at once; io_parallel only.",
    "project_name": "Name of the top function.",
}
_FIRST = (*_KEYWORDS, "weight_bits", "activation_bits")
_RULE_TEXT = """\
Rules: exceptions for some layers; the first that matches a layer wins. A rule says which layers it is for:
path        a regular expression for the whole name of a layer
layer_type  the class of layers, such as Dense
and what it sets for them:
q_type: kif or float, as in [convert]
weight_bits, activation_bits, output_bits, table_bits: widths of weights, of what enters, of outputs, of \
the entries of lookup tables
weight_granularity, activation_granularity, overflow, rounding: as in [convert]
strategy, reuse_factor, parallelization_factor: as in [project]
keep_float: true leaves the layers in float, between quantizers"""


def settings_template(model: str, report: ConversionReport) -> str:
    """A settings file for a model, with every option at its default and commented out.

    Args:
        model: path or name of the model, for the head.
        report: what a conversion would do to its layers, as `hgqify.inspect` gives it.
    """
    known = tables()
    project = {name: kind for name, kind in known["project"].items() if name != "layers"}
    order = [*_FIRST, *(name for name in known["convert"] if name not in _FIRST)]
    parts = [
        _head(model),
        _table("data", known["data"], {}, _about(DataTable)),
        _table(
            "convert",
            {name: known["convert"][name] for name in order},
            {**_class_defaults(ConvertSettings, CalibrateSettings, FinetuneSettings), **_KEYWORDS},
            _about(ConvertSettings, CalibrateSettings, FinetuneSettings),
        ),
        _table(
            "project", project, {**_class_defaults(ProjectOptions), "io_type": AUTO}, _about(ProjectOptions)
        ),
        _rules(report),
    ]
    return "\n".join(parts)


def _head(model: str) -> str:
    return (
        _prose(
            f"Settings for {model}, used by: hgqify {model} --calib FILE --config THIS_FILE\n"
            "Every setting stands here with its default, commented out: take the '#' away and change it. "
            "Options of the command line win over this file. Unknown keys are errors that name the nearest."
        )
        + "\n"
    )


def _table(name: str, keys: Mapping[str, Any], defaults: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    lines = [f"[{name}]"]
    for key, kind in keys.items():
        if key.endswith("_sha256"):  # written along with results
            continue
        default = defaults.get(key)
        text = _TEXTS.get(key) or texts.get(key, "")
        parts = [text[:1].upper() + text[1:], _choices(key, kind), "" if default is not None else "Not set."]
        lines.append(_prose(" ".join(part for part in parts if part)))
        lines.append(f"#{key} = {toml_text.value(_EXAMPLES.get(key) if default is None else default)}")
    return "\n".join(lines) + "\n"


def _choices(key: str, kind: Any) -> str:
    """The values that a setting knows, where they can be listed."""
    if key == "backend":
        return f"One of {', '.join(BACKENDS)}."
    if key == "io_type":
        return f"One of {', '.join((AUTO, *IO_TYPES))}."
    for member in (kind, *typing.get_args(kind)):
        if isinstance(member, type) and issubclass(member, enum.Enum):
            return f"One of {', '.join(str(choice.value) for choice in member)}."
    return ""


def _rules(report: ConversionReport) -> str:
    lines = [_prose(_RULE_TEXT)]
    kinds = dict.fromkeys(entry.kind for entry in report.entries if _quantized(entry))
    for kind in list(kinds)[:1]:
        lines += ["", _prose(f"All layers of one class, here {kind}:"), "#[[rule]]"]
        lines += [f"#layer_type = {toml_text.value(kind)}", f"#activation_bits = {_BITS}"]
    lines += ["", _prose("The layers of this model:")]
    for entry in report.entries:
        if not _quantized(entry):
            why = ". ".join(text for text in (entry.reason, entry.remedy) if text)
            lines += ["", _prose(f"{entry.layer} ({entry.kind}) is {entry.status}: {why}".rstrip(": "))]
            continue
        lines += ["", _prose(f"{entry.layer} ({entry.kind})"), "#[[rule]]"]
        lines += [f"#path = {toml_text.value(re.escape(entry.layer))}", f"#activation_bits = {_BITS}"]
    return "\n".join(lines) + "\n"


def _quantized(entry: LayerEntry) -> bool:
    return entry.status == "converted" and entry.kind != "InputLayer"


def _prose(text: str) -> str:
    lines = [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, _WIDTH - 2, break_on_hyphens=False) or [""]
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _class_defaults(*owners: Any) -> dict[str, Any]:
    return {f.name: None if f.default is MISSING else f.default for owner in owners for f in fields(owner)}


def _about(*owners: type) -> dict[str, str]:
    """The text of every attribute in the documentation of classes, each on one line."""
    found: dict[str, str] = {}
    for owner in owners:
        current: list[str] = []
        for line in (inspect.getdoc(owner) or "").splitlines():
            entry = re.fullmatch(r" {4}(\w+(?:, \w+)*): (.*)", line)
            if entry is not None:
                current = entry[1].split(", ")
                found |= dict.fromkeys(current, entry[2])
            elif current and line.startswith(" " * 8):
                found |= {name: f"{found[name]} {line.strip()}" for name in current}
            else:
                current = []
    return found
