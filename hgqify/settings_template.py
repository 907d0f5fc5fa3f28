"""A settings file for a model, with every option at its default and commented out.

Lines that begin with `# ` are text; those that begin with `#` alone are settings, to be used without it.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from hgqify import toml_text
from hgqify.calibrate import CalibrateSettings
from hgqify.convert import ConversionReport, ConvertSettings, LayerEntry, Rule
from hgqify.export import ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.settings_file import AUTO, DataTable, tables

_WIDTH = 100
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
# Keywords of `hgqify.convert` that no settings class has: text and default.
_KEYWORDS: Mapping[str, tuple[str, Any]] = {
    "seed": ("of all randomness.", 0),
    "bits": ("one width for all that is multiplied, instead of the single widths below.", None),
    "finetune_steps": ("optimizer steps of the fine-tuning; 0 for none.", FinetuneSettings().steps),
    "target_ebops": ("most EBOPs of the whole model: bits go where they matter.", None),
    "max_drop": ("instead: the fewest EBOPs that lose at most so many percentage points.", None),
    "budgets": ("instead: several budgets from one calibration, of which the best is chosen.", None),
    "compensate": ("under a budget, let the weights make good for rounding (the default there).", None),
}
_RULED = ("weight_bits", "activation_bits", "output_bits", "table_bits")


def settings_template(model: str, report: ConversionReport) -> str:
    """The file's text.

    Args:
        model: path or name of the model, for the head.
        report: what a conversion at defaults would do to its layers.
    """
    known = tables()
    parts = [
        _head(model),
        _table("data", known["data"], dict.fromkeys(known["data"]), _about(DataTable)),
        _table("convert", known["convert"], _defaults(known["convert"]), _texts(known["convert"])),
        _table(
            "project",
            {name: kind for name, kind in known["project"].items() if name != "layers"},
            {**_class_defaults(ProjectOptions), "io_type": AUTO},
            _about(ProjectOptions)
            | {"io_type": "'io_parallel', 'io_stream', or 'auto': by the model's size."},
        ),
        _rules(report),
    ]
    return "\n".join(parts)


def _head(model: str) -> str:
    return _prose(
        f"Settings for {model}.\n\n"
        f"hgqify {model} --calib calib.npz --config THIS_FILE\n\n"
        "Every setting stands here with its default, commented out: take the '#' away and change it. "
        "Options of the command line win over this file. Unknown keys are errors that name the nearest one."
    )


def _table(name: str, keys: Mapping[str, Any], defaults: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    lines = [f"[{name}]"]
    for key in keys:
        if key.endswith("_sha256"):  # written along with results
            continue
        default = defaults.get(key)
        text = texts.get(key, "").strip()
        lines.append(_prose(text[:1].upper() + text[1:] + ("" if default is not None else " No default.")))
        lines.append(f"#{key} = {toml_text.value(_EXAMPLES[key] if default is None else default)}")
    return "\n".join(lines) + "\n"


def _rules(report: ConversionReport) -> str:
    texts = _about(Rule)
    actions = [f.name for f in fields(Rule) if f.name not in ("path", "layer_type", "predicate")]
    lines = [
        _prose(
            "Rules: exceptions for some layers. A rule says which layers it is for (path: a regular "
            "expression for the whole name; layer_type: their class), and what it sets for them: "
            f"{', '.join(actions)}. The first rule that matches a layer wins."
        )
    ]
    lines += [_prose(f"{name}: {texts[name]}") for name in actions if name in texts and name != "keep_float"]
    kinds = dict.fromkeys(entry.kind for entry in report.entries if _quantized(entry))
    for kind in list(kinds)[:1]:
        lines += ["", _prose(f"All layers of one class, here {kind}:"), "#[[rule]]"]
        lines += [f"#layer_type = {toml_text.value(kind)}", "#activation_bits = 10"]
    lines += ["", _prose("The layers of this model:")]
    for entry in report.entries:
        if not _quantized(entry):
            why = ". ".join(text for text in (entry.reason, entry.remedy) if text)
            lines += ["", _prose(f"{entry.layer} ({entry.kind}) is {entry.status}: {why}".rstrip(": "))]
            continue
        lines += ["", _prose(f"{entry.layer} ({entry.kind})"), "#[[rule]]"]
        lines += [f"#path = {toml_text.value(re.escape(entry.layer))}", "#activation_bits = 10"]
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


def _defaults(keys: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: default for name, (_, default) in _KEYWORDS.items()}
    for owner in (ConvertSettings, CalibrateSettings, FinetuneSettings):
        found = {**_class_defaults(owner), **found}
    return {name: found[name] for name in keys}


def _texts(keys: Mapping[str, Any]) -> dict[str, str]:
    found = {name: text for name, (text, _) in _KEYWORDS.items()}
    for owner in (ConvertSettings, CalibrateSettings, FinetuneSettings):
        found = {**_about(owner), **found}
    return {name: found.get(name, "") for name in keys}


def _class_defaults(owner: Any) -> dict[str, Any]:
    return {f.name: None if f.default is MISSING else f.default for f in fields(owner)}


def _about(owner: type) -> dict[str, str]:
    """The text of every attribute in a class's documentation, on one line each."""
    found: dict[str, str] = {}
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
