"""The integers of a model from its inputs to its outputs, through whatever stays in float."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from hgqify.cutting import Taps
from hgqify.precision import Program
from hgqify.reference import Interpreter


class WholeModel:
    """Model outputs for model inputs: the reference computes what is fixed point, Keras what stays in float.

    Args:
        model: of quantized layers, and such that stay in float.
        program: what it was lowered to.
    """

    def __init__(self, model: keras.Model, program: Program) -> None:
        self._interpreter = Interpreter(program)
        # What stays in float gives its numbers in a run of the Keras model.
        self._taps = Taps(model, program) if program.entries else None
        self._outputs = len(program.model_outputs)

    @property
    def batch_size(self) -> int:
        """Samples per batch that keep the working memory at some tens of MiB."""
        return self._interpreter.batch_size

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The values of every model output for one batch.

        Raises:
            DataError: a float layer gives numbers that are not finite.
        """
        entering = inputs if self._taps is None else self._taps(inputs)[0]
        return [np.asarray(o.values) for o in self._interpreter(entering).outputs[: self._outputs]]
