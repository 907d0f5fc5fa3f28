"""Products of a tensor and a kernel over any axes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.equations import EquationError, matrices, parse
from hgqify.errors import RuleError
from hgqify.layers.linear import QLinear


@keras.saving.register_keras_serializable("hgqify")
class QEinsumDense(QLinear, keras.layers.EinsumDense):
    """``y = oq(act(einsum(equation, iq(x), kq(kernel)) + bq(bias)))``.

    Every label stands for one axis; ``...`` for axes that only the input and the result have. The batch
    comes first in input and result, and the kernel lacks it. A label of input, kernel and result at once
    is a group with a kernel of its own: ``'btgc,gcd->btgd'``.

    EBOPs are those of every multiplication: one for each assignment of the labels.

    Args:
        equation: such as ``'btc,chd->bthd'``.
        output_shape: of the result, without batch; None where an axis is the input's.
        bias_axes: labels of the result along which there is a bias; None for no bias.
        **kwargs: of `QLinear` and of `keras.layers.EinsumDense`.

    Raises:
        RuleError: the batch is not first, or a label of one operand alone is summed over.
    """

    @property
    def use_bias(self) -> bool:
        """Whether there is a bias."""
        return self.bias_axes is not None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Sizes of the result's labels; those that ``output_shape`` leaves open are the input's."""
        (x, _), result = self._parsed(len(input_shape))
        size = dict(zip(x, input_shape, strict=True))
        own = dict(zip(reversed(result), reversed(self.partial_output_shape), strict=False))
        return tuple(size.get(label, own.get(label)) for label in result)

    def _parsed(self, rank: int) -> tuple[tuple[str, str], str]:
        kernel = self.equation.replace(" ", "").partition("->")[0].split(",")[-1]
        return parse(self.equation, (rank, len(kernel)))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, bias and the quantizers' widths."""
        try:
            (x, kernel), result = self._parsed(len(input_shape))
            if x[0] != result[:1] or x[0] in kernel:
                raise EquationError("the batch axis is not first in input and result")
            matrices(f"{x[1:]},{kernel}->{result[1:]}")
        except ValueError as error:  # an EquationError is one
            raise RuleError(
                f"the equation is no product of samples with a kernel: {error}",
                where=self.path,
                received=f"{self.equation!r} for shape {input_shape}",
                remedy="give one letter per axis, with the batch first, as 'btc,cd->btd'",
            ) from error
        self._labels = (x[1:], kernel, result[1:])
        super().build(input_shape)
        weight: Any = self.kernel
        size: dict[str, int] = dict(zip(kernel, weight.shape, strict=True))
        shape = self.compute_output_shape(input_shape)
        if any(size.get(label, n) != n for label, n in zip(result, shape, strict=True)):
            raise RuleError(
                "output_shape does not fit the equation",
                where=self.path,
                received=f"{self.partial_output_shape} for {self.equation!r}",
                remedy="give the sizes of the labels written out in the result, without batch and ellipsis",
            )

    @property
    def sample_labels(self) -> tuple[str, str, str]:
        """Labels of input, kernel and result, without the batch, known once the layer is built."""
        return self._labels

    def apply_linear(self, x: Any, kernel: Any) -> Any:
        return ops.einsum(self.equation, x, kernel)

    def _bias_shape(self, ndim: int) -> tuple[int, ...]:
        return self._bias_sizes()

    def _over_filters(self, kernel: Any) -> Any:
        x, own, _ = self._labels
        return ops.sum(kernel, axis=tuple(n for n, label in enumerate(own) if label not in x))

    def _met_by_kernel(self, x: Any) -> Any:
        own, kernel, _ = self._labels
        total = ops.sum(x[0], axis=tuple(n for n, label in enumerate(own) if label not in kernel))
        left = [label for label in own if label in kernel]
        return ops.transpose(total, [left.index(label) for label in kernel if label in own])

    def count_ebops(self, bits: np.ndarray, kernel_span: np.ndarray) -> int:
        x, kernel, _ = self._labels
        return int(np.einsum(f"{x},{kernel}->", bits, kernel_span, optimize=True))
