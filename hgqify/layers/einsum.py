"""Products of two tensors over some of their axes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.equations import matrices, result_shape, without_batch
from hgqify.errors import RuleError
from hgqify.layers.full_float32 import full_float32
from hgqify.layers.merge import QMerge


@keras.saving.register_keras_serializable("hgqify")
class QEinsum(QMerge, keras.layers.Layer):
    """``y = oq(einsum(equation, iq_0(a), iq_1(b)))`` of two tensors, sample by sample.

    The sums are exact; EBOPs are those of every multiplication, bits(a) times bits(b).

    Args:
        equation: one letter per axis, ``'tc,sc->ts'`` of samples or ``'btc,bsc->bts'`` of batches, where the
            batch comes first in every term. A label of one operand alone may not be summed over.
        **kwargs: of `QMerge`.

    Raises:
        RuleError: an equation that is not for two operands, or not for the inputs' shapes.
    """

    def __init__(self, equation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.equation = equation

    @property
    def sample_equation(self) -> str:
        """The equation of one sample, known once the layer is built."""
        return self._equation

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of both inputs, without the batch."""
        return tuple(self._shapes)

    def _check_shapes(self) -> None:
        try:
            a, b = self._shapes
            self._equation = _of_sample(self.equation, (len(a), len(b)))
            matrices(self._equation)
            result_shape(self._equation, *self._shapes)
        except ValueError as error:  # an EquationError is one
            raise RuleError(
                f"the equation is no product of the inputs: {error}",
                where=self.path,
                received=f"{self.equation!r} for shapes {self._shapes}",
                remedy="give one letter per axis, with the batch axis first or left out, as 'btc,bsc->bts'",
            ) from error

    def _merge(self, inputs: list[Any]) -> Any:
        with full_float32():
            return ops.einsum(_of_batch(self._equation), *inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Batch, then the sizes of the result's labels."""
        a, b = (tuple(shape) for shape in input_shape)
        equation = _of_sample(self.equation, (len(a) - 1, len(b) - 1))
        return (a[0], *result_shape(equation, a[1:], b[1:]))

    def _output_shape(self) -> tuple[int, ...]:
        return result_shape(self._equation, *self._shapes)

    def ebops(self) -> int:
        """Exact EBOPs of one inference."""
        a, b = (self._input_bits(j, shape) for j, shape in enumerate(self._shapes))
        return int(np.einsum(self._meeting, *self._reduced(a, b, np.sum)))

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        if not self.iqs or self._is_off(*self.iqs):
            return None
        a, b = (self._input_bits_in_graph(j, shape)[0] for j, shape in enumerate(self._shapes))
        with full_float32():
            return ops.einsum(self._meeting, *self._reduced(a, b, ops.sum))

    def _reduced(self, a: Any, b: Any, total: Any) -> tuple[Any, Any]:
        """Both operands summed over the labels of one alone: every product counts, whatever it goes into."""
        left, right = self._equation.split("->")[0].split(",")
        own = [
            tuple(n for n, label in enumerate(x) if label not in y) for x, y in ((left, right), (right, left))
        ]
        return (total(a, axis=own[0]) if own[0] else a), (total(b, axis=own[1]) if own[1] else b)

    @property
    def _meeting(self) -> str:
        left, right = self._equation.split("->")[0].split(",")
        both = ("".join(label for label in x if label in y) for x, y in ((left, right), (right, left)))
        return ",".join(both) + "->"

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "equation": self.equation}


def _of_sample(equation: str, ranks: tuple[int, int]) -> str:
    """The equation of one sample; ``ranks`` without batch."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if "->" in equation and "..." not in equation and tuple(map(len, terms)) == ranks:
        return equation.replace(" ", "")
    return without_batch(equation, (ranks[0] + 1, ranks[1] + 1))


def _of_batch(equation: str) -> str:
    terms, result = equation.split("->")
    a, b = terms.split(",")
    return f"...{a},...{b}->...{result}"
