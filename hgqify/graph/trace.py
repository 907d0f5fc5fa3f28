"""Open a layer with a `call` of its own: the graph of operations that its Python code makes.

The code runs once on symbolic tensors. Keras then records every layer and operation it calls, as it does
for functional models; what is read from the record are the layers themselves, so weights stay shared.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.graph import keras_internals
from hgqify.graph.describe import first_line, keras_class
from hgqify.graph.operations import JoinWithConstants

_BATCH = 61
"""Samples of symbolic tensors where the code needs a number: a prime that is hardly ever another size."""

_TOLERANCE = 1e-4


class NotTraceableError(Exception):
    """The layer cannot be opened; the text says why, in one clause."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a call does.

    Attributes:
        inputs: the symbolic tensors it was called with, in flat order.
        outputs: what it returned, in its structure.
        calls: layers and operations it called, each after those it needs.
        batch: number that stands for the size of a batch in arguments of the calls; None if none does.
    """

    inputs: tuple[keras.KerasTensor, ...]
    outputs: Any
    calls: tuple[keras_internals.Recorded, ...]
    batch: int | None = None

    def constant(self, value: Any) -> Any:
        """An argument that is no symbolic tensor; variables and arrays as NumPy arrays.

        Raises:
            NotTraceableError: an array that differs from sample to sample.
        """
        if not (isinstance(value, keras.Variable) or keras.ops.is_tensor(value)):
            return value
        array = np.asarray(keras.ops.convert_to_numpy(value))
        if self.batch is None or array.shape[:1] != (self.batch,):
            return array
        if (array != array[:1]).any():
            raise NotTraceableError("its call() makes a tensor that differs from sample to sample")
        return array[:1]

    def unbatched(self, call: keras_internals.Recorded, shapes: Sequence[tuple[Any, ...]]) -> keras.Operation:
        """The operation for batches of any size.

        A reshape to (size of the batch, ...) has -1 in its place, and a concatenation with constants takes
        them for one sample.

        Args:
            call: one of the calls.
            shapes: of its inputs, with batch.
        """
        operation: Any = call.operation
        if type(operation).__name__ == "Concatenate" and len(call.inputs) < len(_flatten(call.args)):
            return JoinWithConstants(operation.axis, name=operation.name)
        if isinstance(operation, keras.layers.Layer) or type(operation).__name__ != "Reshape":
            return operation
        config = operation.get_config()
        target = config["newshape"]
        if not isinstance(target, list | tuple) or not target or target[0] != self.batch:
            return operation
        rest = list(target[1:])
        if -1 in rest:
            size, known = math.prod(shapes[0][1:]), math.prod(n for n in rest if n != -1)
            rest[rest.index(-1)] = size // max(known, 1)
        return type(operation).from_config({**config, "newshape": (-1, *rest)})

    def run(self, values: Sequence[Any]) -> Any:
        """The outputs for other inputs, computed by the recorded layers and operations."""
        known = {id(tensor): value for tensor, value in zip(self.inputs, values, strict=True)}

        def actual(value: Any) -> Any:
            return known[id(value)] if isinstance(value, keras.KerasTensor) else self.constant(value)

        for call in self.calls:
            args, kwargs = _map(actual, (call.args, dict(call.kwargs)))
            operation = self.unbatched(call, [np.shape(known[id(t)]) for t in call.inputs])
            outputs = _flatten(operation(*args, **kwargs))
            known.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))
        return _map(actual, self.outputs)


def is_foreign(operation: keras.Operation) -> bool:
    """Whether a layer's code is the user's: neither Keras's own nor hgqify's."""
    cls = type(operation)
    if not isinstance(operation, keras.layers.Layer):
        return False
    own = keras_class(cls) is not None or keras_internals.is_plain_model(operation)
    return not own and not keras.saving.get_registered_name(cls).startswith("hgqify>")


def record(layer: Any, args: tuple, kwargs: Mapping[str, Any], *, verified: bool = True) -> Record:
    """Run a layer's `call` on symbolic tensors.

    Args:
        layer: built; its weights and state are left as they are.
        args, kwargs: of its call; tensors as `KerasTensor`s, in any structure.
        verified: run record and layer on the same random numbers, and compare.

    Raises:
        NotTraceableError: the code branches on values, leaves Keras, draws random numbers, or fails.
    """
    if not layer.built:
        raise NotTraceableError("it has no weights yet, as it was never called on data")
    try:
        found = _recorded(layer, args, kwargs, None)
    except NotTraceableError:
        # Code that creates tensors asks for the size of the batch, and needs a number.
        found = _recorded(layer, args, kwargs, _BATCH)
    if verified:
        _refuse_differences(layer, args, kwargs, found)
    return found


def _recorded(layer: Any, args: tuple, kwargs: Mapping[str, Any], batch: int | None) -> Record:
    inputs: list[keras.KerasTensor] = []

    def fresh(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        tensor: Any = keras.Input(batch_shape=(batch, *value.shape[1:]), dtype=value.dtype)
        inputs.append(tensor)
        return tensor

    given = _map(fresh, (args, dict(kwargs)))
    outputs = _called(layer, *given)
    flat = _flatten(outputs)
    if not flat or not all(isinstance(value, keras.KerasTensor) for value in flat):
        raise NotTraceableError("its call() returns something that does not depend on its inputs")
    calls = tuple(keras_internals.recorded_calls(flat, inputs))
    if not all(call.inputs for call in calls):
        raise NotTraceableError("its call() uses symbolic tensors of another model")
    found = Record(inputs=tuple(inputs), outputs=outputs, calls=calls, batch=batch)
    if batch is None and any(_is_vague(tensor) for call in calls for tensor in call.outputs):
        raise NotTraceableError("shapes in its call() stay open")
    return found


def _is_vague(tensor: keras.KerasTensor) -> bool:
    return None in tensor.shape[1:]


def _called(layer: Any, args: tuple, kwargs: Mapping[str, Any], *, seeds: int = 0) -> Any:
    """The layer's code for inference, without the bookkeeping of `__call__`; no state changes.

    Args:
        layer, args, kwargs: the call.
        seeds: added to the state of every generator of random numbers of the layer.
    """
    kwargs = {**kwargs, **({"training": False} if _takes_training(layer) else {})}
    generators = [v for v in layer.variables if v.name == "seed_generator_state"] if seeds else []
    try:
        with keras.StatelessScope([(v, v.value + seeds) for v in generators]):
            return layer.call(*args, **kwargs)
    except Exception as error:  # whatever the user's code raises
        raise NotTraceableError(_why(error)) from error


def _takes_training(layer: Any) -> bool:
    parameters = inspect.signature(layer.call).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def _why(error: Exception) -> str:
    text = f"{type(error).__name__}: {first_line(error)}"[:200]
    if "boolean" in text or "Iterating over a symbolic" in text:
        return f"its call() decides by the values of a tensor ({text})"
    if "A KerasTensor" in text or "__jax_array__" in text or "'KerasTensor' object" in text:
        return f"its call() leaves keras.ops, or has a weight to the left of an operator ({text})"
    return f"its call() fails on symbolic tensors ({text})"


def _refuse_differences(layer: Any, args: tuple, kwargs: Mapping[str, Any], found: Record) -> None:
    """Compare layer and record on random numbers.

    Raises:
        NotTraceableError: they differ: random numbers, or constants that depend on values.
    """
    rng = np.random.default_rng(0)
    values = []
    for tensor in found.inputs:
        number = rng.normal(size=(2, *tensor.shape[1:])) * 2
        values.append(keras.ops.convert_to_tensor(number, dtype=tensor.dtype))
    waiting = iter(values)
    given = _map(
        lambda value: next(waiting) if isinstance(value, keras.KerasTensor) else value, (args, dict(kwargs))
    )
    keras.random.uniform(())  # so that the generator of all others has moved on as well
    expected = _called(layer, *given, seeds=1)
    try:
        with keras.StatelessScope():
            actual = found.run(values)
    except Exception as error:  # the operations raise what they raise on shapes that do not fit
        raise NotTraceableError(_why(error)) from error
    for a, b in zip(_arrays(actual), _arrays(expected), strict=True):
        scale = np.abs(b[np.isfinite(b)]).max(initial=0)
        if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=_TOLERANCE * scale, equal_nan=True):
            raise NotTraceableError(
                "its call() gives another result each time, or depends on values in Python"
            )


def _arrays(structure: Any) -> Iterator[np.ndarray]:
    for value in _flatten(structure):
        yield np.asarray(keras.ops.convert_to_numpy(value), np.float64)


def _flatten(structure: Any) -> list[Any]:
    return keras.tree.flatten(structure) or []


def _map(function: Callable[[Any], Any], structure: Any) -> Any:
    return keras.tree.map_structure(function, structure)
