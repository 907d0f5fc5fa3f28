"""Call a Keras model on arrays in flat order, whatever structure it takes and gives."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def structured(model: keras.Model, arrays: Sequence[Any]) -> Any:
    """Arrays, one per input in flat order, in the structure the model is called with."""
    try:
        structure = model.input
    except AttributeError:  # a Sequential that was loaded but never called knows its inputs only
        structure = list(model.inputs)
    arrays = list(arrays)
    if len(arrays) == 1 and not isinstance(structure, dict):
        return arrays[0]
    return keras.tree.pack_sequence_as(structure, arrays)


def predict(model: keras.Model, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model in flat order, for one batch."""
    return [np.asarray(y) for y in keras.tree.flatten(model.predict_on_batch(structured(model, arrays)))]


def predict_all(model: keras.Model, arrays: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Outputs of a model in flat order, for any number of samples, in batches."""
    silent: Any = 0  # Keras declares a string and documents a number
    outputs = model.predict(structured(model, arrays), batch_size=batch_size, verbose=silent)
    return [np.asarray(y) for y in keras.tree.flatten(outputs)]
