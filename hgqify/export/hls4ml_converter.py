"""hls4ml's own converter on models of our layers, through its extension interface.

After `register`, which `import hgqify` calls, ``hls4ml.converters.convert_from_keras_model(model, ...)``
gives what `write_project` writes: one handler stands in for each of our layers while hls4ml reads the model,
and one optimizer pass, before all others, puts the lowered and typed program in the place of what was read.
hls4ml's inference of types is off for such a model. Other models are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import keras

from hgqify import layers as q_layers
from hgqify.errors import ExportError
from hgqify.export import kernels
from hgqify.export.backends import BACKENDS, find_backend
from hgqify.export.hls4ml_options import options_of, pipeline_options
from hgqify.export.overrides import choose
from hgqify.export.plan import prepare
from hgqify.export.printing import Printed, print_program
from hgqify.export.project import hls_config, layer_list, verify_types
from hgqify.export.repairs import repair_project
from hgqify.layers import QLayer, refresh
from hgqify.precision import lower

_STAND_IN = "HgqifyLayer"
_READ, _FINISH = "hgqify_program", "hgqify_finish"
_MARK = "Hgqify"  # in the HLSConfig of models that came this way


@cache
def register() -> None:
    """Make hls4ml know our layers; safe to call again."""
    from hls4ml.backends import get_backend
    from hls4ml.model.flow import update_flow
    from hls4ml.model.layers import register_layer
    from hls4ml.model.optimizer import ModelOptimizerPass, register_pass

    register_layer(_STAND_IN, _stand_in_layer())
    _define_handler()
    register_pass(_READ, _program_pass())
    # The first flow of every backend; what we put in is then seen by all later passes.
    update_flow("parse_qonnx", add_optimizers=[_READ])
    register_pass(_FINISH, ModelOptimizerPass(_FINISH, _finish))
    for name in BACKENDS:
        update_flow(get_backend(name).get_writer_flow(), add_optimizers=[_FINISH])


def convert_from_keras_model(
    model: keras.Model,
    output_dir: str = "my-hls-test",
    project_name: str = "myproject",
    input_data_tb: str | None = None,
    output_data_tb: str | None = None,
    backend: str = "Vitis",
    hls_config: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """hls4ml's model of a model of our layers; ``compile`` and ``predict`` it, or ``build`` it, as any other.

    Equal to ``hls4ml.converters.convert_from_keras_model`` where that can read the model. It cannot read
    nested models, a concatenation of three tensors, and layers that hls4ml lacks; this function can.

    Args:
        model: Sequential or Functional, of quantized layers and layers that only move values.
        output_dir, project_name, input_data_tb, output_data_tb: as hls4ml takes them.
        backend: one of `BACKENDS`.
        hls_config: of hls4ml; ReuseFactor, Strategy and ParallelizationFactor count, in ``Model`` and by name
            in ``LayerName``. Precisions are refused.
        **kwargs: of the backend's configuration, such as ``io_type``, ``part`` and ``clock_period`` (ns).

    Raises:
        ExportError: options that cannot be followed, or operations that cannot be printed.
        UnsupportedLayerError, PrecisionError: as `hgqify.precision.lower`.
    """
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    name = find_backend(backend).name
    config = create_config(output_dir=str(output_dir), project_name=project_name, backend=name, **kwargs)
    config |= {
        "KerasModel": model,
        "InputData": input_data_tb,
        "OutputPredictions": output_data_tb,
        "HLSConfig": dict(hls_config or {}),
    }
    config, printed = _printed(config)
    return ModelGraph.from_layer_list(
        config, layer_list(printed), list(printed.inputs), list(printed.outputs)
    )


def _printed(config: Mapping[str, Any]) -> tuple[dict[str, Any], Printed]:
    """hls4ml's configuration of a model with our types in it, and the model as hls4ml layers."""
    options = options_of(config)
    model = config["KerasModel"]
    refresh(model)  # tables and scales of the last training step
    backend = find_backend(options.backend)
    printed = print_program(prepare(lower(model)), options.io_type, backend=backend)
    kernels.register(options.backend)
    typed = hls_config(printed, options, choose(printed.layers, options, {}))
    typed["Model"] |= {_MARK: True} | pipeline_options(config)
    return dict(config) | {"HLSConfig": typed}, printed


def _replace(graph: Any) -> None:
    """Put the program of its Keras model in the place of what hls4ml read."""
    from hls4ml.model.graph import HLSConfig

    config = graph.config.config
    if "KerasModel" not in config:
        raise ExportError(
            "a layer of hgqify without its model", where=_STAND_IN, remedy="convert the whole Keras model"
        )
    config, printed = _printed(config)
    graph.config = HLSConfig(config)
    graph.inputs, graph.outputs = list(printed.inputs), list(printed.outputs)
    graph.index = 0
    graph.graph.clear()
    graph.output_vars.clear()
    for layer in layer_list(printed):
        inputs = list(layer["inputs"]) or ["input"]
        name, kind = layer["name"], layer["class_name"]
        graph.graph[name] = graph.make_node(kind, name, layer, inputs, list(layer["outputs"]))


def _finish(graph: Any) -> bool:
    """After writing: no type was changed, and hls4ml's own mistakes are set right."""
    config = graph.config.config
    if config["HLSConfig"].get("Model", {}).get(_MARK):
        verify_types(graph)
        repair_project(Path(config["OutputDir"]), config["ProjectName"])
    return False


def _handled() -> tuple[str, ...]:
    """Full names of our layers, as hls4ml looks for them."""
    found = (getattr(q_layers, name) for name in q_layers.__all__)
    return tuple(
        f"{c.__module__}.{c.__name__}" for c in found if isinstance(c, type) and issubclass(c, QLayer)
    )


def _define_handler() -> type:
    from hls4ml.converters.keras_v3._base import KerasV3LayerHandler

    class HgqifyHandler(KerasV3LayerHandler):
        """Gives a stand-in for each of our layers; hls4ml registers a handler when its class is made."""

        handles = _handled()

        def handle(self, layer: Any, in_tensors: Sequence[Any], out_tensors: Sequence[Any]) -> Any:
            return (
                {
                    "name": layer.name,
                    "class_name": _STAND_IN,
                    "input_keras_tensor_names": [t.name for t in in_tensors],
                    "output_keras_tensor_names": [t.name for t in out_tensors],
                    "input_shape": [list(t.shape[1:]) for t in in_tensors],
                    "target_shape": list(out_tensors[0].shape[1:]),
                },
            )

    return HgqifyHandler


@cache
def _stand_in_layer() -> type:
    from hls4ml.model.layers import Layer

    class HgqifyLayer(Layer):
        """One of our layers, until the program takes its place."""

        def initialize(self) -> None:
            self.add_output_variable(self.attributes["target_shape"])

    return HgqifyLayer


def _program_pass() -> type:
    from hls4ml.model.optimizer import OptimizerPass

    class HgqifyProgram(OptimizerPass):
        """Replaces a graph with stand-ins by the program of its Keras model."""

        def match(self, node: Any) -> bool:
            return isinstance(node, _stand_in_layer())

        def transform(self, model: Any, node: Any) -> bool:
            _replace(model)
            return True

    return HgqifyProgram
