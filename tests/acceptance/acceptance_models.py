"""Small models and data files that only the acceptance tests need."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers
from tiny_zoo import tiny_models


def drawn(model: keras.Model, seed: int = 1) -> keras.Model:
    """The model with weights drawn from the seed."""
    tiny_models.randomize(model, seed)
    return model


def classifier(*, softmax: bool = True) -> keras.Model:
    """Four features, three classes, a softmax at the end or not."""
    last = layers.Dense(3, activation="softmax" if softmax else None)
    return drawn(
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(5, activation="relu"), last],
            name="tiny",
        )
    )


def all_activations() -> keras.Model:
    """Every activation of the zoo that has a fixed-point form, and the others in their place."""
    names = (
        "tanh sigmoid gelu silu elu selu softplus softsign exponential hard_sigmoid relu6 leaky_relu "
        "mish log_sigmoid hard_silu hard_tanh"
    )
    x = keras.Input((6,))
    y = layers.Dense(4)(x)
    parts: list[Any] = [layers.Activation(name)(y) for name in names.split()]
    parts += [layers.LeakyReLU(negative_slope=0.25)(x), layers.ELU(alpha=0.7)(x), layers.ReLU(max_value=2)(x)]
    return drawn(keras.Model(x, layers.Concatenate()(parts), name="all_activations"))


def recurrent() -> keras.Model:
    """Two directions of one cell, then another cell."""
    x = keras.Input((3, 2))
    y = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
    return drawn(keras.Model(x, layers.Dense(2)(layers.GRU(2)(y)), name="recurrent"))


def samples(count: int = 200, features: int = 4, seed: int = 0) -> np.ndarray:
    """Random normal samples."""
    return np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)


def layer_paths(model: keras.Model, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """Path of every layer and operation of a model but its inputs, nested models opened."""
    for operation in model.layers if isinstance(model, keras.Sequential) else model.operations:
        if isinstance(operation, keras.Model):
            yield from layer_paths(operation, (*prefix, operation.name))
        elif not isinstance(operation, layers.InputLayer):
            yield "/".join((*prefix, operation.name))
