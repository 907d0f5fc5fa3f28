"""Write a fixed program as an hls4ml project."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.plan import prepare
from hgqify.export.printing import Printed, print_program
from hgqify.export.repairs import repair_headers
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType
from hgqify.precision.program import Program

LAYOUT_FILE = "hgqify_layout.json"
IO_TYPES = ("io_parallel", "io_stream")
BACKENDS = ("Vitis", "Vivado")
STRATEGIES = ("Latency", "Resource")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProjectOptions:
    """How the project is written.

    Attributes:
        backend: 'Vitis' or 'Vivado'.
        io_type: 'io_parallel' or 'io_stream'.
        part: FPGA part, hls4ml's default if None.
        clock_period: in ns.
        reuse_factor: hls4ml's ReuseFactor for every layer.
        strategy: hls4ml's Strategy for every layer.
        project_name: name of the top function.
        layers: hls4ml settings by layer, e.g. ``{"conv": {"ReuseFactor": 4}}``; types cannot be set.
    """

    backend: str = "Vitis"
    io_type: str = "io_parallel"
    part: str | None = None
    clock_period: float = 5.0
    reuse_factor: int = 1
    strategy: str = "Latency"
    project_name: str = "myproject"
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.io_type not in IO_TYPES:
            raise ExportError(
                "unknown io_type", received=self.io_type, remedy=f"use one of {', '.join(IO_TYPES)}"
            )
        if self.backend not in BACKENDS:
            raise ExportError(
                "unknown backend", received=self.backend, remedy=f"use one of {', '.join(BACKENDS)}"
            )
        if not re.fullmatch(r"[A-Za-z]\w*", self.project_name, re.ASCII):
            raise ExportError(
                "the project's name is not the name of a C++ function",
                received=repr(self.project_name),
                remedy="use letters, digits and underscores",
            )
        for where, settings in (
            ("project", {"Strategy": self.strategy, "ReuseFactor": self.reuse_factor}),
            *self.layers.items(),
        ):
            strategy, reuse = settings.get("Strategy", STRATEGIES[0]), settings.get("ReuseFactor", 1)
            if str(strategy).capitalize() not in STRATEGIES:
                raise ExportError(
                    "unknown strategy",
                    where=where,
                    received=strategy,
                    remedy=f"use one of {', '.join(STRATEGIES)}",
                )
            if not isinstance(reuse, int) or reuse < 1:
                raise ExportError(
                    "a reuse factor is a whole number from 1 on",
                    where=where,
                    received=reuse,
                    remedy="1 is fully parallel",
                )


def refuse_unprintable(program: Program, options: ProjectOptions) -> None:
    """Raise what `write_project` would raise for operations that cannot be printed; writes nothing.

    Raises:
        ExportError: lists all of them.
    """
    print_program(prepare(program), options.io_type)


def write_project(program: Program, directory: Path, options: ProjectOptions) -> Printed:
    """Write the project; every type in it is ours. Quantizers move as early as they can stand.

    Args:
        program: annotated fixed program.
        directory: where to; created, must not exist or be empty.
        options: backend, interface, clock and strategy.

    Raises:
        ExportError: an operation cannot be printed, or hls4ml refuses the project.
    """
    from hgqify.export.kernels import register

    program = prepare(program)
    printed = print_program(program, options.io_type)
    register(options.backend)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), np.errstate(all="ignore"):
            graph = _model_graph(printed, directory, options)
            _verify(graph, printed)
            graph.write()
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"hls4ml refused the project: {error}",
            where=str(directory),
            remedy="this is a case hgqify should have caught; please report the model",
        ) from error
    finally:
        _log.debug("hls4ml: %s", output.getvalue())
    repair_headers(directory)
    _write_layout(program, printed, graph, directory, options)
    return printed


def _precision(spec: LayerSpec) -> dict[str, str]:
    return {variable: str(type_) for variable, type_ in spec.types.items()}


def _model_graph(printed: Printed, directory: Path, options: ProjectOptions) -> Any:
    from hls4ml.backends import get_backend
    from hls4ml.model.graph import ModelGraph

    by_layer = {name.lower(): dict(settings) for name, settings in options.layers.items()}
    if bad := [name for name, settings in by_layer.items() if "Precision" in settings]:
        raise ExportError("types cannot be overridden", received=", ".join(bad), remedy="remove 'Precision'")
    config: dict[str, Any] = get_backend(options.backend).create_initial_config(
        io_type=options.io_type,
        clock_period=options.clock_period,
        **({"part": options.part} if options.part else {}),
    )
    config |= {
        "OutputDir": str(directory),
        "ProjectName": options.project_name,
        "Backend": options.backend,
        "TraceOutput": True,
        "HLSConfig": {
            "Model": {
                "Precision": {"default": "ap_fixed<16,6>"},
                "ReuseFactor": options.reuse_factor,
                "Strategy": options.strategy,
                "BitExact": False,
            },
            "LayerName": {
                spec.name: {
                    **by_layer.get(spec.name, {}),
                    # hls4ml has no other for depthwise convolutions.
                    **({"Strategy": "Latency"} if spec.kind.startswith("Depthwise") else {}),
                    "Precision": _precision(spec),
                    "Trace": True,
                }
                for spec in printed.layers
            },
        },
    }
    layers = [_as_dict(spec) for spec in printed.layers]
    return ModelGraph.from_layer_list(config, layers, list(printed.inputs), list(printed.outputs))


def _as_dict(spec: LayerSpec) -> dict[str, Any]:
    from hls4ml.backends.fpga.fpga_backend import FPGABackend

    result = dict(spec.attributes)
    if "table_type" in result:
        result["table_t"] = FPGABackend.convert_precision_string(result.pop("table_type"))
    return {
        "name": spec.name,
        "class_name": spec.kind,
        "inputs": list(spec.inputs),
        "outputs": [spec.name],
    } | result


def _verify(graph: Any, printed: Printed) -> None:
    """hls4ml's passes must have left every type as we set it."""
    wanted = {spec.name: spec for spec in printed.layers}
    changed = []
    for layer in graph.get_layers():
        spec = wanted.get(layer.name)
        if spec is None:
            continue
        found = str(layer.get_output_variable().type.precision)
        if not _same_type(found, spec.types["result"]):
            changed.append(f"{layer.name}: {spec.types['result']} became {found}")
    if changed:
        raise ExportError("hls4ml changed types: " + "; ".join(changed))


def _same_type(found: str, wanted: HlsType) -> bool:
    from hls4ml.backends.fpga.fpga_backend import FPGABackend

    a: Any = FPGABackend.convert_precision_string(found)
    b: Any = FPGABackend.convert_precision_string(str(wanted))
    return (a.width, a.integer, bool(a.signed)) == (b.width, b.integer, bool(b.signed))


def _write_layout(
    program: Program, printed: Printed, graph: Any, directory: Path, options: ProjectOptions
) -> None:
    """What `check` needs to run the compiled project and to name places: shapes and layer names."""
    traced = {}
    for layer in graph.get_layers():
        if layer.get_attr("function_cpp", None) and layer.get_attr("trace", False):
            traced[layer.name] = [int(n) for n in layer.get_output_variable().shape]
    # A layer whose result type does a quantizer's work holds the quantizer's value.
    holds = {producer: quantizer for quantizer, producer in printed.plan.absorbed.items()}
    layout = {
        "project": options.project_name,
        "backend": options.backend,
        "io_type": options.io_type,
        "inputs": [list(program.by_name[n].shape) for n in program.inputs],
        "outputs": [list(program.by_name[n].shape) for n in program.outputs],
        "traced": traced,
        "nodes": {s.name: holds.get(s.node, s.node) for s in printed.layers if s.node is not None},
    }
    (directory / LAYOUT_FILE).write_text(json.dumps(layout, indent=1))
