"""What a user asked hls4ml for, in its words, as our project options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from hgqify.errors import ExportError
from hgqify.export.options import ProjectOptions

_OPTIONS = ("ReuseFactor", "Strategy", "ParallelizationFactor")
# Of the model alone, and handed on as they are.
_PIPELINE = ("PipelineStyle", "PipelineInterval")
# What `hls4ml.utils.config_from_keras_model` writes beside them, and what changes nothing here: traces are
# always prepared, kernels have one implementation, and tables are ours.
_IGNORED = (
    "Precision",
    "Trace",
    "TraceOutput",
    "BramFactor",
    "TargetCycles",
    "ConvImplementation",
    "BitExact",
    "TableSize",
    "Skip",
)
_KNOWN = (*_OPTIONS, *_PIPELINE, *_IGNORED)
# What hls4ml fills in where nobody gave one.
_FILLED_IN = ("fixed<16,6>", "ap_fixed<16,6>")
_NO_TYPES = "leave it out: the types of all tensors follow from the model"


def options_of(config: Mapping[str, Any]) -> ProjectOptions:
    """Options of a project from hls4ml's configuration.

    ``ReuseFactor``, ``Strategy`` and ``ParallelizationFactor`` count, for the model and by layer name; a
    precision does not, since every type follows from the model.

    Args:
        config: of an ``hls4ml`` model: backend, interface, project name and ``HLSConfig``.

    Raises:
        ExportError: a precision for a layer, an option we do not know, or an impossible value.
    """
    given = config.get("HLSConfig", {})
    if given.get("LayerType"):
        _refuse_options_by_type(given["LayerType"], given.get("Model", {}))
    model = _known(given.get("Model", {}), "Model")
    _refuse_precision(given.get("Model", {}).get("Precision"), "Model", allowed=_FILLED_IN)
    layers = {}
    for name, options in given.get("LayerName", {}).items():
        _refuse_precision(options.get("Precision"), f"LayerName.{name}")
        own = _known(options, f"LayerName.{name}")
        # What equals the model's value is what hls4ml writes down for every layer.
        own = {key: value for key, value in own.items() if value != model.get(key, _default(key))}
        if own:
            layers[name] = own
    return ProjectOptions(
        backend=config["Backend"],
        io_type=config.get("IOType", "io_parallel"),
        project_name=config["ProjectName"],
        strategy=_strategy(model),
        reuse_factor=model.get("ReuseFactor", 1),
        parallelization_factor=model.get("ParallelizationFactor", 1),
        layers=layers,
    )


def pipeline_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the model's pipeline, which hls4ml takes as they are."""
    model = config.get("HLSConfig", {}).get("Model", {})
    return {name: model[name] for name in _PIPELINE if name in model}


def _default(key: str) -> Any:
    return None if key == "Strategy" else 1


def _strategy(model: Mapping[str, Any]) -> Any:
    """The strategy in our spelling; hls4ml takes it in any."""
    found = model.get("Strategy")
    return found.capitalize() if isinstance(found, str) else found


def _known(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that count; the model's defaults are left out.

    Raises:
        ExportError: names an unknown option, and the nearest that exists.
    """
    for name in options:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            raise ExportError(
                "this option cannot be followed for a model of hgqify's layers",
                where=f"hls_config {where}",
                received=name,
                remedy=f"did you mean {near[0]}?" if near else f"use {', '.join(_OPTIONS)}",
            )
    return {key: value for key, value in options.items() if key in _OPTIONS and value is not None}


def _refuse_precision(precision: Any, where: str, allowed: Sequence[str] = ()) -> None:
    values = precision.values() if isinstance(precision, Mapping) else [precision]
    if any(value not in (None, "auto", *allowed) for value in values):
        raise ExportError(
            "a model of hgqify's layers takes no precision",
            where=f"hls_config {where}",
            received=precision,
            remedy=_NO_TYPES,
        )


def _refuse_options_by_type(types: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]) -> None:
    for name, options in types.items():
        _refuse_precision(options.get("Precision"), f"LayerType.{name}")
        own = _known(options, f"LayerType.{name}")
        if any(value != model.get(key, _default(key)) for key, value in own.items()):
            raise ExportError(
                "options by layer type cannot be followed for a model of hgqify's layers",
                where=f"hls_config LayerType.{name}",
                received=own,
                remedy="give them by name, LayerName may hold regular expressions: {'dense.*': {...}}",
            )
