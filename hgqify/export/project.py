"""Write a fixed program as an hls4ml project."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.backends import find_backend
from hgqify.export.options import ProjectOptions
from hgqify.export.overrides import Chosen, changes, choose, depthwise_notes
from hgqify.export.plan import prepare
from hgqify.export.printing import Printed, print_program
from hgqify.export.repairs import repair_project
from hgqify.export.spec import LayerSpec
from hgqify.precision.program import Program

LAYOUT_FILE = "hgqify_layout.json"

# What hls4ml says of options it could not follow, which `changes` says in the words of the user's own layers;
# what it does to every convolution for Catapult, and that it writes a strategy in capitals.
_UNSAID = (
    "Overriding attribute 'strategy'",
    "Invalid ReuseFactor",
    "Invalid ParallelizationFactor",
    "Unrolled resource strategy cannot",
    'Switching to "dataflow" pipeline style',
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A written project; stands for its folder wherever a path is taken.

    Attributes:
        path: the folder.
        notes: options that hls4ml could not follow and what it did instead, and its other warnings.
    """

    path: Path
    notes: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)


def refuse_unprintable(
    program: Program, options: ProjectOptions, aliases: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Raise what `write_project` would raise for operations that cannot be printed; writes nothing.

    Args:
        program, options, aliases: as for `write_project`.

    Raises:
        ExportError: lists all of them, or all exceptions for layers that cannot be used.
    """
    printed = _print(program, options)
    choose(printed.layers, options, aliases or {})


def write_project(
    program: Program,
    directory: Path,
    options: ProjectOptions,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Written:
    """Write the project; every type in it is ours. Quantizers move as early as they can stand.

    Args:
        program: annotated fixed program.
        directory: where to; created, must not exist or be empty.
        options: backend, interface, clock and strategy.
        aliases: names of layers in the float model -> names of the layers that stand for them.

    Returns:
        The folder, and what had to be done otherwise than asked.

    Raises:
        ExportError: an operation cannot be printed, an exception for layers cannot be used, or hls4ml
            refuses the project.
    """
    from hgqify.export.kernels import register

    printed = _print(program, options)
    program = printed.plan.program
    chosen = choose(printed.layers, options, aliases or {})
    register(options.backend)
    output = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(output),
            np.errstate(all="ignore"),
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("always")
            graph = _model_graph(printed, directory, options, chosen)
            verify_types(graph)
            graph.write()
    except (ExportError, OSError):  # of the system: no space, for instance
        raise
    except Exception as error:
        raise ExportError(
            f"hls4ml refused the project: {error}",
            where=str(directory),
            remedy="this is a case hgqify should have caught; please report the model",
        ) from error
    finally:
        _log.debug("hls4ml: %s", output.getvalue())
    said = [*output.getvalue().splitlines(), *(f"WARNING: {w.message}" for w in warned)]
    notes = (
        *depthwise_notes(printed.layers, options),
        *changes(graph, printed.layers, chosen),
        *_warnings(said),
    )
    repair_project(directory, options.project_name)
    _write_layout(program, printed, graph, directory, options, notes)
    return Written(path=directory, notes=notes)


def _print(program: Program, options: ProjectOptions) -> Printed:
    return print_program(prepare(program), options.io_type, backend=find_backend(options.backend))


def _warnings(lines: Iterable[str]) -> tuple[str, ...]:
    """hls4ml's warnings, each once, without those of `_UNSAID`."""
    said = (line.strip() for line in lines if line.lstrip().upper().startswith("WARNING"))
    return tuple(dict.fromkeys(f"hls4ml: {s}" for s in said if not any(text in s for text in _UNSAID)))


def hls_config(printed: Printed, options: ProjectOptions, chosen: Mapping[str, Chosen]) -> dict[str, Any]:
    """hls4ml's ``HLSConfig`` with every type set by us, and its own inference of types off.

    Args:
        printed: the program as hls4ml layers.
        options: of the project.
        chosen: what `choose` gave every layer.
    """
    return {
        "Model": {
            "Precision": {"default": "ap_fixed<16,6>"},
            "ReuseFactor": options.reuse_factor,
            "Strategy": str(options.default_strategy),
            "BitExact": False,
        },
        "LayerName": {
            spec.name: {
                **chosen[spec.name].as_config(),
                "Precision": _precision(spec),
                "Trace": True,
            }
            for spec in printed.layers
        }
        # A stream's reshape becomes a layer of another name. It takes the reshape's type, but copies of
        # its stream would take the default one.
        | {
            f"repack_{spec.name}": {"Precision": _precision(spec)}
            for spec in printed.layers
            if spec.kind == "Reshape"
        },
    }


def layer_list(printed: Printed) -> list[dict[str, Any]]:
    """The layers as hls4ml's model takes them."""
    return [_as_dict(spec) for spec in printed.layers]


def _precision(spec: LayerSpec) -> dict[str, str]:
    return {variable: str(type_) for variable, type_ in spec.types.items()}


def _model_graph(
    printed: Printed, directory: Path, options: ProjectOptions, chosen: Mapping[str, Chosen]
) -> Any:
    from hls4ml.backends import get_backend
    from hls4ml.model.graph import ModelGraph

    uncertainty = options.clock_uncertainty
    config: dict[str, Any] = get_backend(options.backend).create_initial_config(
        io_type=options.io_type,
        clock_period=options.clock_period,
        **({"part": options.part} if options.part else {}),
        **({} if uncertainty is None else {"clock_uncertainty": f"{uncertainty:g}%"}),
    )
    config |= {
        "OutputDir": str(directory),
        "ProjectName": options.project_name,
        "Backend": options.backend,
        "TraceOutput": True,
        "HLSConfig": hls_config(printed, options, chosen),
    }
    return ModelGraph.from_layer_list(
        config, layer_list(printed), list(printed.inputs), list(printed.outputs)
    )


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


def verify_types(graph: Any) -> None:
    """hls4ml's passes must have left every type as `hls_config` set it.

    Args:
        graph: hls4ml's model.

    Raises:
        ExportError: names every type that was changed.
    """
    wanted = graph.config.config["HLSConfig"]["LayerName"]
    changed = []
    for layer in graph.get_layers():
        if layer.name not in wanted:
            changed += _changed_copies(layer)
            continue
        found = str(layer.get_output_variable().type.precision)
        expected = wanted[layer.name]["Precision"]["result"]
        if not _same_type(found, expected):
            changed.append(f"{layer.name}: {expected} became {found}")
    if changed:
        raise ExportError("hls4ml changed types: " + "; ".join(changed))


def _changed_copies(layer: Any) -> list[str]:
    """Copies of a stream that hold another type than the stream."""
    if layer.class_name != "Clone":
        return []
    held = str(layer.get_input_variable().type.precision)
    copies = {str(layer.get_output_variable(name).type.precision) for name in layer.outputs}
    return [f"{layer.name}: {held} became {found}" for found in sorted(copies - {held})]


def _same_type(found: str, wanted: str) -> bool:
    from hls4ml.backends.fpga.fpga_backend import FPGABackend

    a: Any = FPGABackend.convert_precision_string(found)
    b: Any = FPGABackend.convert_precision_string(wanted)
    return (a.width, a.integer, bool(a.signed)) == (b.width, b.integer, bool(b.signed))


def _write_layout(
    program: Program,
    printed: Printed,
    graph: Any,
    directory: Path,
    options: ProjectOptions,
    notes: Sequence[str],
) -> None:
    """What `check` needs to run the project and to name places, and how the project was written."""
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
        "options": options.to_dict(),
        "notes": list(notes),
    }
    (directory / LAYOUT_FILE).write_text(json.dumps(layout, indent=1))
