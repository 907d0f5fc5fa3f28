"""A layer that stays in float within a quantized model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

TENSOR = "tensor"
"""Key of the entries of `KeptFloat`'s arguments that stand for its inputs, by number."""


@keras.saving.register_keras_serializable("hgqify")
class KeptFloat(keras.layers.Layer):
    """``y = layer(x)`` in float32, as at inference, with weights that are not trained.

    It marks where the exact arithmetic ends: what it reads and what it gives are real numbers to the fixed
    program, which has an output for the one and an input for the other (see `hgqify.precision.Kept`).
    Gradients go through it as through the layer itself.

    Args:
        layer: a Keras layer or operation, or its serialized form.
        arguments: how it is called, where that is not ``layer(x)`` or ``layer([x, y, ...])``:
            ``{"args": [...], "kwargs": {...}}`` with ``{"tensor": n}`` for input number n.
        **kwargs: of the Keras layer.
    """

    def __init__(self, layer: Any, arguments: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        kwargs.pop("trainable", None)  # it never is
        super().__init__(**kwargs, trainable=False)
        self.layer: Any = keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
        if isinstance(self.layer, keras.layers.Layer):
            self.layer.trainable = False
        self._arguments = None if arguments is None else dict(arguments)

    @property
    def kind(self) -> str:
        """Class of the layer."""
        return type(self.layer).__name__

    def _call_of(self, inputs: Any, **context: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the call."""
        if self._arguments is None:
            return (inputs,), context
        tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        args = _filled(self._arguments["args"], tensors)
        return tuple(args), {**_filled(self._arguments["kwargs"], tensors), **context}

    def call(self, inputs: Any) -> Any:
        """What the layer gives at inference: its dropout, if any, drops nothing."""
        inference = {"training": False} if isinstance(self.layer, keras.layers.Layer) else {}
        args, kwargs = self._call_of(inputs, **inference)
        return self.layer(*args, **kwargs)

    def compute_output_spec(self, inputs: Any) -> Any:
        """What the layer itself says."""
        args, kwargs = self._call_of(inputs)
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: masks end here, as they do at quantizers."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, serialized."""
        config = super().get_config()
        config.pop("trainable")
        config["layer"] = keras.saving.serialize_keras_object(self.layer)
        config["arguments"] = keras.saving.serialize_keras_object(self._arguments)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KeptFloat:
        """The inverse; the class of the layer must be known to Keras."""
        return cls(**{**config, "arguments": keras.saving.deserialize_keras_object(config["arguments"])})

    def copy(self) -> KeptFloat:
        """The same layer anew, not built. Unlike through the config, its class need not be registered."""
        return KeptFloat(
            remade(self.layer),
            self._arguments,
            name=self.name,
            dtype=self.dtype_policy,
        )


def remade(layer: Any) -> Any:
    """A layer or operation anew from its config, by its own class."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.Lambda):  # its function is in memory: no code is loaded
        return keras.layers.Lambda.from_config(config, safe_mode=False)
    return type(layer).from_config(config)


def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer anew, for `keras.models.clone_model`; also one that is kept float and known to nobody else."""
    return layer.copy() if isinstance(layer, KeptFloat) else type(layer).from_config(layer.get_config())


def _filled(template: Any, tensors: list[Any]) -> Any:
    if isinstance(template, Mapping):
        if set(template) == {TENSOR}:
            return tensors[template[TENSOR]]
        return {key: _filled(value, tensors) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return type(template)(_filled(value, tensors) for value in template)
    return template
