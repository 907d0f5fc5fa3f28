"""What a model is called with, whatever kind of model it is."""

import inspect
from typing import Any

import keras

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import keras_internals


def with_inputs(model: keras.Model) -> keras.Model:
    """A model with `inputs` of the same names and shapes: itself, if it has a graph.

    Raises:
        UnsupportedLayerError: as `input_tensors`.
    """
    if keras_internals.is_from_tensors(model) or isinstance(model, keras.Sequential):
        return model
    tensors = input_tensors(model)
    return keras.Model(tensors, tensors, name=model.name)


def input_tensors(model: keras.Model) -> Any:
    """Symbolic tensors in the structure a model is called with.

    Raises:
        UnsupportedLayerError: it was never called, or takes several arguments.
    """
    if keras_internals.is_from_tensors(model):
        return model.input
    if not isinstance(model, keras.Sequential):
        return _built_inputs(model)
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):
        inputs = None
    if not inputs:
        raise _without_shape(model)
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _built_inputs(model: keras.Model) -> Any:
    """Inputs of the shapes a subclassed model was last built for; named as in a dict, if it takes one."""
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise _without_shape(model)
    needed = [
        name
        for name, parameter in inspect.signature(model.call).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        raise UnsupportedLayerError(
            "the model's call() takes several tensors as arguments of their own",
            where=model.name,
            received=", ".join(needed),
            remedy="let call() take one list or dict of tensors",
        )

    def symbolic(shape: Any, name: str | None = None) -> Any:
        if isinstance(shape, dict):
            return {key: symbolic(each, str(key)) for key, each in shape.items()}
        if all(size is None or isinstance(size, int) for size in shape):
            return keras.Input(tuple(shape[1:]), name=name)
        return type(shape)(symbolic(each) for each in shape)

    return symbolic(shapes)


def _without_shape(model: keras.Model) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        "the model has no input shape yet",
        where=model.name,
        remedy="put keras.Input((...)) first, call model.build((None, ...)), or call it once on data",
    )
