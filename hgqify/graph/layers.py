"""Float layers that graphs are written in where Keras has an operation but no layer."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.equations import result_shape


@keras.saving.register_keras_serializable("hgqify")
class Einsum(keras.layers.Layer):
    """``y = einsum(equation, a, b)`` of two tensors, sample by sample.

    Args:
        equation: one letter per axis, without the batch axis: 'tc,sc->ts'.
        **kwargs: of the Keras layer.
    """

    def __init__(self, equation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.equation = equation
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """A mask of places says nothing about the result's places."""

    def call(self, inputs: Any) -> Any:
        """The product of a list of two tensors."""
        return keras.ops.einsum(with_batch(self.equation), *inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Batch, then the sizes of the result's labels."""
        a, b = (tuple(shape) for shape in input_shape)
        return (a[0], *result_shape(self.equation, a[1:], b[1:]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "equation": self.equation}


def with_batch(equation: str) -> str:
    """The equation with the batch axis first everywhere."""
    terms, result = equation.split("->")
    return ",".join("..." + term for term in terms.split(",")) + "->..." + result
