"""What a single layer or operation is: its kind, config, weights and output shapes."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from hgqify.errors import UnsupportedLayerError
from hgqify.graph.model import CUSTOM_PREFIX, OPERATION_PREFIX

# Entries of a layer's config that say how to create it, not what it computes; the weights carry over.
_DROPPED_CONFIG = frozenset({"name", "dtype", "trainable", "build_config", "quantization_config"})
_DROPPED_SUFFIXES = ("_initializer", "_regularizer", "_constraint")

_PROBE_BATCH = 3
"""Samples in a call that only serves to learn an output's shape."""


def output_specs(operation: keras.Operation, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Symbolic outputs of a call with symbolic arguments, in the structure the layer returns.

    Raises:
        UnsupportedLayerError: the layer does not say what it returns.
    """
    try:
        specs = operation.compute_output_spec(*args, **kwargs)
        if any(None in tensor.shape[1:] for tensor in keras.tree.flatten(specs) or []):
            # Some layers (EinsumDense) do not infer what they could; what they really return tells.
            values, named = _map(_as_zeros, args), _map(_as_zeros, kwargs)
            return _map(_as_spec, operation(*values, **named))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UnsupportedLayerError(
            "the shape of the output cannot be inferred",
            where=name,
            received=f"{type(operation).__name__}: {first_line(error)}",
            remedy="give the layer a compute_output_shape() or replace it",
        ) from error
    return specs


def first_line(error: BaseException) -> str:
    """The start of an exception's message, for a message of one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _map(function: Callable[[Any], Any], structure: Any) -> Any:
    return keras.tree.map_structure(function, structure)


def _as_zeros(value: Any) -> Any:
    if not isinstance(value, keras.KerasTensor):
        return value
    return keras.ops.zeros((_PROBE_BATCH, *value.shape[1:]), dtype=value.dtype)


def _as_spec(value: Any) -> keras.KerasTensor:
    shape = tuple(value.shape)
    batch = None if shape[:1] == (_PROBE_BATCH,) else shape[0]
    return keras.KerasTensor((batch, *shape[1:]), dtype=keras.backend.standardize_dtype(value.dtype))


def output_shape(name: str, operation: keras.Operation, tensor: keras.KerasTensor) -> tuple[int, ...]:
    """The shape of a symbolic output without the batch dimension.

    Raises:
        UnsupportedLayerError: the batch dimension is not first, or another one is dynamic or 0.
    """
    shape = tuple(tensor.shape)
    if not shape or shape[0] is not None or None in shape[1:]:
        raise UnsupportedLayerError(
            "the output has no batch dimension first, or a dynamic one besides it",
            where=name,
            received=f"{type(operation).__name__} with output shape {shape}",
            remedy="keep the batch dimension first and every other dimension fixed",
        )
    if 0 in shape:
        raise UnsupportedLayerError(
            "the output is empty: one of its dimensions is 0",
            where=name,
            received=f"{type(operation).__name__} with output shape {shape}",
            remedy="give the layer a larger input, or remove it",
        )
    return shape[1:]


def keras_class(cls: type) -> type | None:
    """The class of `keras.layers` whose code instances of ``cls`` run; None for code of another origin.

    A subclass that has a constructor and a config of its own, and no more, runs its base's code.
    """
    public = {value for value in vars(keras.layers).values() if isinstance(value, type)}
    for base in cls.__mro__:
        if base in public:
            return base
        own = {name for name in vars(base) if not name.startswith("__") or name in ("__call__", "__new__")}
        if own - {"get_config", "from_config"}:
            return None
    return None


def kind_of(operation: keras.Operation) -> tuple[str, type | None]:
    """`Node.kind` and `Node.source`: a class merely named like a Keras layer is not taken for it."""
    cls = type(operation)
    if not isinstance(operation, keras.layers.Layer):
        return OPERATION_PREFIX + cls.__name__, cls
    base = keras_class(cls)
    if base is not None and getattr(keras.layers, base.__name__, None) is base:
        return base.__name__, None
    return CUSTOM_PREFIX + cls.__name__, base or cls


def config_of(operation: keras.Operation, name: str) -> dict[str, Any]:
    """`Node.config`: what the layer computes, not how its weights were created.

    Raises:
        UnsupportedLayerError: the layer has no `get_config()`.
    """
    described: Any = type(operation)
    if isinstance(operation, keras.layers.Layer):
        described = keras_class(described) or described
    try:
        config = described.get_config(operation)
    except NotImplementedError as error:
        raise UnsupportedLayerError(
            "the layer has no usable get_config()",
            where=name,
            received=type(operation).__name__,
            remedy="give it a get_config() that returns its constructor's arguments",
        ) from error
    if not isinstance(operation, keras.layers.Layer):
        # To a layer a type says how it computes; to an operation such as a cast, what.
        return {key: value for key, value in config.items() if key != "name"}
    found = cleaned(config)
    kept = getattr(operation, "compute_dtype", None)
    if kept and not keras.backend.is_float_dtype(kept):
        found["dtype"] = kept  # an index is no number
    return found


def cleaned(config: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's config without what says how it was created."""
    return {
        key: value
        for key, value in config.items()
        if key not in _DROPPED_CONFIG and not key.endswith(_DROPPED_SUFFIXES)
    }


def weights_of(operation: keras.Operation) -> dict[str, np.ndarray]:
    """`Node.weights`; reduced precisions widen exactly to float32, integer variables stay as they are."""
    if not isinstance(operation, keras.layers.Layer):
        return {}
    weights = {}
    for key, variable in weight_variables(operation).items():
        value = keras.ops.convert_to_numpy(variable)
        is_float = keras.backend.is_float_dtype(variable.dtype)
        weights[key] = np.asarray(value, np.float32) if is_float else np.asarray(value)
    if isinstance(operation, keras.layers.Normalization):
        # It computes with copies, which `set_weights` does not reach; the model does what these say.
        for key in weights.keys() & {"mean", "variance"}:
            used = keras.ops.convert_to_numpy(getattr(operation, key))
            weights[key] = np.asarray(used, np.float32).reshape(weights[key].shape)
    return weights


def refuse_not_finite(weights: Mapping[str, np.ndarray], name: str) -> None:
    """Look at the weights of a layer.

    Raises:
        UnsupportedLayerError: one is NaN or infinite.
    """
    for key, values in weights.items():
        finite = np.isfinite(values) if values.dtype.kind == "f" else np.ones((), bool)
        if finite.all():
            continue
        position = tuple(int(n) for n in np.argwhere(~finite)[0])
        count = f"{np.count_nonzero(~finite)} of {values.size}"
        raise UnsupportedLayerError(
            "a weight is not finite",
            where=name,
            received=f"{values[position]} in {key}, at {position} ({count})",
            remedy="train the model again: its training diverged, or the file is damaged",
        )


def weight_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """A layer's weights by name, in their order; a repeated name gets its number ('kernel@2').

    Paths would tell repeated names apart too, but wrappers rename inner layers each time they are made. A
    variable set in place of one that a layer of Keras made for itself is the one it computes with; Keras goes
    on listing the one that was replaced.
    """
    variables: dict[str, keras.Variable] = {}
    seen: dict[str, int] = {}
    known = keras_class(type(layer)) is not None
    set_later: list[int] = []
    for variable in layer.weights:
        if id(variable) in set_later:
            continue
        used = getattr(layer, variable.name, None) if known else None
        if isinstance(used, keras.Variable) and used is not variable:
            set_later.append(id(used))
            variables[variable.name] = used
            continue
        number = seen[variable.name] = seen.get(variable.name, 0) + 1
        variables[variable.name if number == 1 else f"{variable.name}@{number}"] = variable
    return variables
