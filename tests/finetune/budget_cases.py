"""Small models with widths allocated under a budget, as fine-tuning meets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.allocating import allocate
from hgqify.beginning import calibrated
from hgqify.budget import Budget
from hgqify.finetune import TrainingBudget
from hgqify.finetune.twin import make_twin
from hgqify.layers import QLinear, quantized_layers
from hgqify.training import training_budget

layers = keras.layers


def mlp(seed: int = 1) -> keras.Model:
    """8 features, 3 classes."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((8,), name="x")
    x = layers.Dense(16, activation="relu", name="a")(given)
    x = layers.Dense(12, activation="relu", name="b")(x)
    return keras.Model(given, layers.Dense(3, activation="softmax", name="c")(x))


def cnn(seed: int = 1) -> keras.Model:
    """Images of 6 x 6 x 2, 3 classes; strides, depthwise kernel."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((6, 6, 2), name="x")
    x = layers.Conv2D(4, 3, activation="relu", padding="same", name="a")(given)
    x = layers.DepthwiseConv2D(3, strides=2, activation="relu", name="b")(x)
    x = layers.Flatten()(x)
    return keras.Model(given, layers.Dense(3, name="c")(x))


def normalized(seed: int = 1) -> keras.Model:
    """8 features, 3 classes; a batch normalization between two tables, which stays a layer."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((8,), name="x")
    norm = layers.BatchNormalization(name="norm")
    x = norm(layers.Dense(12, activation="tanh", name="a")(given))
    x = layers.Activation("tanh", name="b")(x)
    model = keras.Model(given, layers.Dense(3, activation="softmax", name="c")(x))
    norm.set_weights(list(np.random.default_rng(seed).uniform(0.5, 1.5, (4, 12))))
    return model


def samples(model: keras.Model, count: int = 400, seed: int = 0) -> np.ndarray:
    """Random inputs of a model with one input."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *model.inputs[0].shape[1:])).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A model with allocated widths, settled.

    Attributes:
        model, clone: quantized, and float with the same layers.
        budget: what training has to keep.
        settle: brings the model into the state it is deployed in.
        x: the calibration data.
    """

    model: keras.Model
    clone: keras.Model
    budget: TrainingBudget
    settle: Callable[[keras.Model], object]
    x: np.ndarray

    def again(self) -> Case:
        """The same with a copy of the model."""
        model = keras.models.clone_model(self.model)
        for old, new in zip(self.model.variables, model.variables, strict=True):
            new.assign(np.array(old))
        return dataclasses.replace(self, model=model)

    def twin(self, seed: int = 0) -> keras.Model:
        """A twin of the model."""
        return make_twin(self.model, self.clone, self.budget.limits, seed=seed)

    def count(self) -> int:
        """Exact EBOPs of the model, settled."""
        self.settle(self.model)
        return self.budget.count(self.model)

    @property
    def linear(self) -> list[QLinear]:
        """The layers whose widths move."""
        found = [layer for layer in quantized_layers(self.model) if layer.name in self.budget.limits]
        return [layer for layer in found if isinstance(layer, QLinear)]


def make_case(
    build: Callable[[], keras.Model] = mlp, part: float = 0.3, *, compensate: bool = True, **settings: Any
) -> Case:
    """A model allocated to a part of what its widest formats take."""
    model = build()
    x = samples(model)
    state = calibrated(model, x, under_budget=True, **settings)
    conversion = state.conversion
    widest = sum(layer.ebops() for layer in quantized_layers(conversion.model))
    allocated = allocate(
        conversion,
        state.source,
        Budget(target_ebops=int(part * widest)),
        logits=state.logits,
        settle=state.settle,
        compensate=compensate,
    )
    budget = training_budget(allocated)
    return Case(model=conversion.model, clone=conversion.clone, budget=budget, settle=state.settle, x=x)


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """The kernels a model computes with, by name of the layer."""
    return {
        layer.name: layer.quantized_weights()["kernel"]
        for layer in quantized_layers(model)
        if isinstance(layer, QLinear)
    }
