"""The few facts about Keras models that no public function states directly."""

from collections.abc import Callable
from functools import cache
from typing import Any

import keras


@cache
def _functional_class() -> type:
    # keras.Model(inputs, outputs) returns an instance of Keras's Functional class, which has no public
    # name. Asking such an instance for its type needs no import of an internal module.
    probe = keras.Input((1,), name="probe")
    return type(keras.Model(probe, probe))


def is_functional(model: keras.Model) -> bool:
    """Whether the model's `call` is the execution of a graph of layers, and nothing else."""
    functional = _functional_class()
    return isinstance(model, functional) and type(model).call is functional.call  # type: ignore[attr-defined]


def is_sequential(model: keras.Model) -> bool:
    """Whether the model is a plain chain of layers (a subclass with its own `call` is not)."""
    return isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call


def topology(model: keras.Model) -> dict[str, Any]:
    """The config of a functional model: 'layers' with their 'inbound_nodes', inputs, outputs.

    Calls of a layer are numbered from 0 throughout.
    """
    model = _plain(model)
    config = model.get_config()
    # In 'output_layers' (and only there) Keras numbers the calls of a nested functional model from 1.
    nested = {op.name for op in model.operations if isinstance(op, _functional_class())}
    config["output_layers"] = map_histories(
        config["output_layers"], lambda name, call, output: [name, call - (name in nested), output]
    )
    return config


def map_histories(structure: Any, function: Callable[[str, int, int], Any]) -> Any:
    """Map the (layer, call, output) leaves of a config's input_layers or output_layers."""
    if isinstance(structure, list | tuple) and len(structure) == 3 and isinstance(structure[0], str):
        return function(*structure)  # type: ignore[arg-type]
    if isinstance(structure, dict):
        return {key: map_histories(value, function) for key, value in structure.items()}
    return type(structure)(map_histories(value, function) for value in structure)


def operations_by_name(model: keras.Model) -> dict[str, keras.Operation]:
    """Layers and operations of a functional model; names are unique within a model."""
    return {operation.name: operation for operation in _plain(model).operations}


def _plain(model: keras.Model) -> Any:
    # A subclass of Functional with a constructor of its own writes another config; wrapping its tensors
    # in a plain model (sharing the layers) restores the general one.
    if type(model) is _functional_class():
        return model
    return keras.Model(model.input, model.output, name=model.name)
