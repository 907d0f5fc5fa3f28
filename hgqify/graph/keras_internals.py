"""The few facts about Keras models that no public function states directly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras


@cache
def _functional_class() -> type:
    # keras.Model(inputs, outputs) returns an instance of Keras's Functional class, which has no public
    # name. Asking such an instance for its type needs no import of an internal module.
    probe = keras.Input((1,), name="probe")
    return type(keras.Model(probe, probe))


def is_from_tensors(model: keras.Model) -> bool:
    """Whether the model was made from input and output tensors, with whatever `call`."""
    return isinstance(model, _functional_class())


def is_functional(model: keras.Model) -> bool:
    """Whether the model's `call` is the execution of a graph of layers, and nothing else."""
    functional = _functional_class()
    return isinstance(model, functional) and type(model).call is functional.call  # type: ignore[attr-defined]


def is_sequential(model: keras.Model) -> bool:
    """Whether the model is a plain chain of layers (a subclass with its own `call` is not)."""
    return isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call


def is_plain_model(operation: keras.Operation) -> bool:
    """Whether it is a model that its structure alone describes: Sequential or functional."""
    return isinstance(operation, keras.Model) and (is_sequential(operation) or is_functional(operation))


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """One call that symbolic tensors remember.

    Attributes:
        operation: the layer or operation.
        args, kwargs: it was called with; tensors are symbolic.
        inputs: the symbolic tensors among the arguments.
        outputs: symbolic, in flat order.
    """

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def recorded_calls(
    outputs: Sequence[keras.KerasTensor], inputs: Sequence[keras.KerasTensor]
) -> Iterator[Recorded]:
    """The calls between symbolic tensors, each after those whose results it takes.

    The public way, the config of a functional model, needs every layer to have one, and unique names.
    """
    done = {id(tensor) for tensor in inputs}
    pending = list(reversed(outputs))
    while pending:
        tensor: Any = pending[-1]
        if id(tensor) in done:
            pending.pop()
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        needed = [given for given in node.input_tensors if id(given) not in done]
        if needed:
            pending += reversed(needed)
            continue
        yield Recorded(
            operation=history.operation,
            args=node.arguments.args,
            kwargs=node.arguments.kwargs,
            inputs=tuple(node.input_tensors),
            outputs=tuple(node.outputs),
        )
        done.update(id(made) for made in node.outputs)
