"""Read a Keras model into a `Graph`.

Nested models are inlined here: their layers get path names ('block/conv1'), and so do layers and models with
a `call` of their own, which is traced. Shared layers give one node per call, with a common `Node.shared` key.
Layers of any kind become nodes; whether they can be converted is decided later, so that all that cannot be
are reported at once.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import keras_internals, trace
from hgqify.graph.borrowed import find_borrowed
from hgqify.graph.describe import (
    config_of,
    kind_of,
    output_shape,
    output_specs,
    refuse_not_finite,
    weights_of,
)
from hgqify.graph.functional import flatten, run_functional
from hgqify.graph.interface import input_tensors
from hgqify.graph.model import INPUT, SELECT, Call, Graph, Node, Ref

# Call arguments that do not change a model at inference. Whatever `training` a layer was called with,
# a functional model overrides it by its own; the others change nothing at these values.
_NEUTRAL_ARGUMENTS = {
    "training": (None, False, True),
    "mask": (None,),
    "return_attention_scores": (False,),
}


def read(model: keras.Model, *, opened: bool = True, safe_mode: bool = True) -> Graph:
    """Read a model: Sequential, functional, or with a `call` of its own.

    Layers and models whose class is not part of Keras are opened: their `call` runs on symbolic tensors,
    and the layers and `keras.ops` it calls become nodes. What cannot be opened stays one node, and
    `Node.closed` says why.

    Args:
        model: a built model with a fixed input shape (all but the batch dimension).
        opened: False leaves foreign layers as they are.
        safe_mode: leave Lambda layers closed.

    Returns:
        The graph, with nested models inlined.

    Raises:
        UnsupportedLayerError: the model has no input shape, a dynamic one, or a `call` of its own that
            cannot be opened; or an operation mixes the samples of a batch.
    """
    reader = _Reader(opened=opened, safe_mode=safe_mode)
    structure = input_tensors(model)
    inputs = _map(lambda tensor: reader.add_input(model, tensor), structure)
    outputs = reader.read_model(model, inputs, prefix="")
    graph = Graph(
        nodes=tuple(_mark_shared(reader.nodes, reader.layers)),
        input_structure=_map(lambda tensor: tensor.name, inputs),
        output_structure=_map(lambda tensor: tensor.name, outputs),
        name=model.name,
        borrowed=find_borrowed(reader.nodes, reader.layers, model),
    )
    graph.validate()
    return graph


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor while reading: the node that makes it, and its symbolic shape with the batch dimension."""

    name: str
    spec: keras.KerasTensor


class _Reader:
    """Collects nodes; layers are identified by object, so a layer shared across models stays one."""

    def __init__(self, *, opened: bool, safe_mode: bool) -> None:
        self._opened = opened
        self._safe_mode = safe_mode
        self._depth = 0
        self.nodes: list[Node] = []
        self.layers: dict[str, keras.layers.Layer] = {}
        self._paths: dict[int, str] = {}
        self._names: set[str] = set()
        self._alive: list[keras.Operation] = []  # ids stay unique only while the objects live

    def add_input(self, model: keras.Model, tensor: keras.KerasTensor) -> _Tensor:
        shape = tuple(tensor.shape[1:])
        if None in shape:
            raise UnsupportedLayerError(
                "the input shape is dynamic, firmware needs a fixed one",
                where=f"{model.name}/{tensor.name}",
                received=tuple(tensor.shape),
                remedy="build the model again with keras.Input of a full shape, such as (28, 28, 1), and "
                "carry the weights over with new.set_weights(old.get_weights())",
            )
        if 0 in shape:
            raise UnsupportedLayerError(
                "the input is empty: one of its dimensions is 0",
                where=f"{model.name}/{tensor.name}",
                received=tuple(tensor.shape),
                remedy="build the model again with the shape of its samples",
            )
        # Keras names tensors of unnamed inputs 'keras_tensor_7', counting over the whole process.
        unnamed = tensor.name.startswith("keras_tensor")
        name = self._unique("input_layer" if unnamed else tensor.name)
        config = {"batch_shape": (None, *shape), "dtype": keras.backend.standardize_dtype(tensor.dtype)}
        self._append(Node(name=name, kind=INPUT, config=config, shape=shape), None)
        return _Tensor(name, keras.KerasTensor((None, *shape), dtype=tensor.dtype))

    def read_model(self, model: keras.Model, inputs: Any, *, prefix: str) -> Any:
        """Inline a model; returns the structure of its outputs."""
        if keras_internals.is_sequential(model):
            return self._read_sequential(model, inputs, prefix)
        if keras_internals.is_functional(model):
            return self._read_functional(model, inputs, prefix)
        try:
            return self._open(model, (inputs,), {}, prefix)
        except trace.NotTraceableError as error:
            raise UnsupportedLayerError(
                f"a model with a call() of its own cannot be opened: {error}",
                where=prefix.rstrip("/") or model.name,
                received=type(model).__name__,
                remedy="write its call() with Keras layers and keras.ops only, or rebuild it as a functional "
                "model: keras.Model(inputs, outputs)",
            ) from error

    def _open(self, layer: Any, args: tuple, kwargs: dict[str, Any], prefix: str) -> Any:
        """Inline what a layer's own `call` does; returns the structure of its outputs.

        Raises:
            NotTraceableError: it cannot be told.
        """
        tensors = [value for value in flatten((args, kwargs)) if isinstance(value, _Tensor)]
        specs = _map(lambda value: value.spec if isinstance(value, _Tensor) else value, (args, kwargs))
        found = trace.record(layer, *specs, verified=self._depth == 0)
        values = {id(given): tensor for given, tensor in zip(found.inputs, tensors, strict=True)}

        def actual(value: Any) -> Any:
            return values[id(value)] if isinstance(value, keras.KerasTensor) else found.constant(value)

        self._depth += 1
        try:
            for call in found.calls:
                shapes = [tuple(values[id(given)].spec.shape) for given in call.inputs]
                operation = found.unbatched(call, shapes)
                given, named = _map(actual, (call.args, dict(call.kwargs)))
                label = operation.name
                if not isinstance(operation, keras.layers.Layer):
                    label = re.sub(r"_\d+$", "", label)  # Keras numbers them over the whole process
                result = flatten(self._apply(operation, given, named, prefix, label))
                values.update((id(made), tensor) for made, tensor in zip(call.outputs, result, strict=True))
        finally:
            self._depth -= 1
        return _map(actual, found.outputs)

    def _closed(self, operation: keras.Operation) -> str | None:
        """Why a layer must not be opened; None if there is nothing to open, '' if it may be."""
        if not self._opened:
            return None
        if isinstance(operation, keras.layers.Lambda):
            return "a Lambda holds Python code, which is run with safe_mode=False only" * self._safe_mode
        return "" if trace.is_foreign(operation) else None

    def _read_sequential(self, model: keras.Model, inputs: Any, prefix: str) -> Any:
        current = inputs
        for layer in model.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                current = self._apply(layer, (current,), {}, prefix)
        return current

    def _read_functional(self, model: keras.Model, inputs: Any, prefix: str) -> Any:
        def apply(operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
            return self._apply(operation, args, kwargs, prefix)

        return run_functional(model, inputs, apply, where=prefix.rstrip("/") or model.name)

    def _apply(
        self, operation: keras.Operation, args: tuple, kwargs: dict[str, Any], prefix: str, label: str = ""
    ) -> Any:
        """Append the node of one call (or inline a nested model); returns its output structure.

        Args:
            operation: layer, operation or nested model.
            args, kwargs: of the call; tensors as `_Tensor`s.
            prefix: path of the model it is called in.
            label: the operation's name there; empty for the one it has.
        """
        label = label or operation.name
        self._alive.append(operation)
        kwargs = {
            key: value
            for key, value in kwargs.items()
            if not (key in _NEUTRAL_ARGUMENTS and _is_in(value, _NEUTRAL_ARGUMENTS[key]))
        }
        if keras_internals.is_plain_model(operation):
            inputs = args[0] if args else kwargs.pop("inputs", None)
            inner = self._unique(prefix + label) + "/"
            return self.read_model(operation, inputs, prefix=inner)  # type: ignore[arg-type]
        name = self._unique(prefix + label)
        path = self._paths.setdefault(id(operation), name)
        closed = self._closed(operation)
        if closed == "":
            before = len(self.nodes)
            try:
                return self._open(operation, args, kwargs, f"{name}/")
            except (trace.NotTraceableError, UnsupportedLayerError) as error:
                closed = str(error)
                for node in self.nodes[before:]:
                    self.layers.pop(node.name, None)
                del self.nodes[before:]

        refs: list[_Tensor] = []

        def placeholder(value: Any) -> Any:
            if isinstance(value, _Tensor):
                refs.append(value)
                return Ref(len(refs) - 1)
            return value

        template_args, template_kwargs = _map(placeholder, (args, kwargs))
        specs = _map(lambda value: value.spec if isinstance(value, _Tensor) else value, (args, kwargs))
        result = output_specs(operation, name, *specs)
        flat = flatten(result)
        shapes = [output_shape(name, operation, tensor) for tensor in flat]
        kind, source = kind_of(operation)
        weights = weights_of(operation)
        if self._opened:  # else a model of quantizers, which may hold what only training reads
            refuse_not_finite(weights, name)
        node = Node(
            name=name,
            kind=kind,
            source=source,
            config=config_of(operation, name),
            weights=weights,
            inputs=tuple(tensor.name for tensor in refs),
            shape=shapes[0],
            origin=(path,),
            call=_call(template_args, template_kwargs, len(refs)),
            outputs=len(flat),
            closed=closed or "",
        )
        self._append(node, operation)
        if len(flat) == 1 and isinstance(result, keras.KerasTensor):
            return _Tensor(name, result)
        tensors = []
        for index, (tensor, shape) in enumerate(zip(flat, shapes, strict=True)):
            part = self._unique(f"{name}/{index}")
            select = Node(
                name=part, kind=SELECT, config={"index": index}, inputs=(name,), shape=shape, origin=(path,)
            )
            self._append(select, None)
            tensors.append(_Tensor(part, tensor))
        return keras.tree.pack_sequence_as(result, tensors)

    def _append(self, node: Node, operation: keras.Operation | None) -> None:
        self.nodes.append(node)
        if isinstance(operation, keras.layers.Layer):
            self.layers[node.name] = operation

    def _unique(self, name: str) -> str:
        candidate, call = name, 1
        while candidate in self._names:
            call += 1
            candidate = f"{name}@{call}"
        self._names.add(candidate)
        return candidate


def _mark_shared(nodes: list[Node], layers: dict[str, keras.layers.Layer]) -> list[Node]:
    calls: dict[int, list[str]] = {}
    for name, layer in layers.items():
        calls.setdefault(id(layer), []).append(name)
    shared = {name: names[0] for names in calls.values() if len(names) > 1 for name in names}
    return [node.with_(shared=shared[node.name]) if node.name in shared else node for node in nodes]


def _map(function: Callable[[Any], Any], structure: Any) -> Any:
    return keras.tree.map_structure(function, structure)


def _is_in(value: Any, options: tuple[Any, ...]) -> bool:
    return any(value is option for option in options)


def _call(args: tuple, kwargs: dict[str, Any], count: int) -> Call | None:
    if not kwargs and len(args) == 1:
        # No comparison of the arguments themselves: they may be arrays.
        given = args[0] if count > 1 and isinstance(args[0], list | tuple) else args
        if len(given) == count and all(
            isinstance(value, Ref) and value.index == index for index, value in enumerate(given)
        ):
            return None
    return Call(args=args, kwargs=kwargs)
