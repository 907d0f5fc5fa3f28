"""A functional model as its config writes it down: its calls, run on values of any kind."""

from collections.abc import Callable
from typing import Any

import keras

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import keras_internals
from hgqify.graph.describe import first_line


def run_functional(
    model: keras.Model,
    inputs: Any,
    apply: Callable[[keras.Operation, tuple, dict[str, Any]], Any],
    *,
    where: str,
) -> Any:
    """Run the calls of a functional model, each as soon as what it needs is there.

    Args:
        model: a functional model.
        inputs: what stands for its inputs, in their structure, or by their names.
        apply: called with operation, arguments and keyword arguments; returns the structure of results.
        where: the model's path, for errors.

    Returns:
        What stands for the outputs, in their structure.

    Raises:
        UnsupportedLayerError: a layer without a usable get_config(), or calls that never get their inputs.
    """
    config = _topology(model, where)
    operations = keras_internals.operations_by_name(model)
    values: dict[tuple[str, int], list[Any]] = {}
    histories = _histories(config["input_layers"])
    for history, given in zip(histories, _match_inputs(model, inputs), strict=True):
        values[history[0], history[1]] = [given]

    # A layer's later calls may depend on layers listed after it, so calls run as they become ready.
    pending = [
        (entry["name"], index, node)
        for entry in config["layers"]
        for index, node in enumerate(entry["inbound_nodes"])
        if (entry["name"], index) not in values
    ]
    while pending:
        waiting = []
        for name, index, node in pending:
            needed = _tensor_histories((node["args"], node["kwargs"]))
            if any(history[:2] not in values for history in needed):
                waiting.append((name, index, node))
                continue
            args, kwargs = _resolve((tuple(node["args"]), node["kwargs"]), values)
            values[name, index] = flatten(apply(operations[name], args, kwargs))
        if len(waiting) == len(pending):
            raise UnsupportedLayerError(
                "the model's graph is inconsistent: some calls never receive their inputs",
                where=where,
                received=", ".join(name for name, _, _ in waiting),
                remedy="rebuild the model with keras.Model(inputs, outputs)",
            )
        pending = waiting
    return keras_internals.map_histories(
        config["output_layers"], lambda name, call, output: values[name, call][output]
    )


def flatten(structure: Any) -> list[Any]:
    """The leaves of a structure, in Keras's order."""
    return keras.tree.flatten(structure) or []


def _topology(model: keras.Model, where: str) -> dict[str, Any]:
    try:
        return keras_internals.topology(model)
    except NotImplementedError as error:
        # Keras raises this for a layer or operation whose constructor arguments it cannot write down.
        raise UnsupportedLayerError(
            "a layer of the model has no usable get_config()",
            where=where,
            received=first_line(error),
            remedy="give the layer a get_config() that returns its constructor's arguments",
        ) from error


def _match_inputs(model: keras.Model, inputs: Any) -> list[Any]:
    structure = model.input
    if isinstance(inputs, dict) and not isinstance(structure, dict):
        return [inputs[tensor.name] for tensor in flatten(structure)]
    if isinstance(inputs, dict):
        inputs = {key: inputs[key] for key in structure}
    return flatten(inputs)


def _histories(structure: Any) -> list[tuple[str, int, int]]:
    # Replaced by indices first: keras.tree would flatten the leaves themselves.
    found: list[tuple[str, int, int]] = []

    def number(name: str, call: int, output: int) -> int:
        found.append((name, call, output))
        return len(found) - 1

    return [found[index] for index in flatten(keras_internals.map_histories(structure, number))]


def _is_tensor_config(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _tensor_histories(value: Any) -> list[tuple[str, int, int]]:
    if _is_tensor_config(value):
        return [tuple(value["config"]["keras_history"])]
    if isinstance(value, dict):
        return [history for item in value.values() for history in _tensor_histories(item)]
    if isinstance(value, list | tuple):
        return [history for item in value for history in _tensor_histories(item)]
    return []


def _resolve(value: Any, values: dict[tuple[str, int], list[Any]]) -> Any:
    """Turn a config's arguments back into tensors, constants, slices and structures."""
    if _is_tensor_config(value):
        name, call, output = value["config"]["keras_history"]
        return values[name, call][output]
    if isinstance(value, dict) and "class_name" in value and "config" in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, dict):
        return {key: _resolve(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolve(item, values) for item in value)
    return value
