"""What the user brings to a training: a loss, an optimizer, callbacks, augmentation, weights, features."""

from __future__ import annotations

import difflib
import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hgqify.errors import DataError, RuleError


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTraining:
    """The user's own parts of a fine-tuning; each may be left out.

    Attributes:
        loss: of labels and outputs: a name, a `keras.losses.Loss`, or a function of ``(labels, outputs)``
            with one value for each sample or more. It takes the place of the labels' cross-entropy, with its
            weight (`FinetuneSettings.label_weight`; 1 leaves the teacher out). A model whose softmax is left
            to the host gives logits: say ``from_logits=True``.
        optimizer: of the weights, with its own learning rate; a copy is made for each stage. Widths keep
            theirs.
        callbacks: of Keras; told of every step and epoch of each stage. ``model.stop_training`` ends it.
        augment: changes the inputs of a batch: function of the array (a list for several inputs) and a
            `numpy.random.Generator`; shapes stay. The teacher sees what it returns, and is asked anew.
        class_weight: weight in the loss by class of the label; 1 for classes that are left out.
        features: weight by layer name: such layers' outputs are to be the float model's too, by squared error
            over variance.

    Raises:
        RuleError: something of the wrong kind.
    """

    loss: Any = None
    optimizer: keras.optimizers.Optimizer | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    augment: Callable[[Any, np.random.Generator], Any] | None = None
    class_weight: Mapping[int, float] | None = None
    features: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.optimizer is not None and not isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise _wrong("optimizer", self.optimizer, "a keras.optimizers.Optimizer")
        if not isinstance(self.callbacks, Sequence):
            raise _wrong("callbacks", self.callbacks, "a list of keras.callbacks.Callback objects")
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise _wrong("callbacks", callback, "keras.callbacks.Callback objects")
        if self.augment is not None and not callable(self.augment):
            raise _wrong("augment", self.augment, "a function of inputs and a numpy.random.Generator")
        weighted: tuple[tuple[str, Any, type, str], ...] = (
            ("class_weight", self.class_weight, numbers.Real, "weights by class number, as {0: 2.0}"),
            ("features", self.features, str, "weights by layer name, as {'dense': 1.0}"),
        )
        for name, weights, kind, wanted in weighted:
            if weights is None:
                continue
            if not isinstance(weights, Mapping) or not all(isinstance(key, kind) for key in weights):
                raise _wrong(name, weights, wanted)
            for weight in weights.values():
                if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight >= 0):
                    raise _wrong(name, weight, "weights that are finite and not negative")
        if self.loss is not None:
            self.loss_function()

    def loss_function(self) -> Callable[[Any, Any], Any]:
        """The loss of labels and outputs, not yet averaged over the samples.

        Raises:
            RuleError: it is none.
        """
        try:
            found: Any = keras.losses.get(self.loss)
        except (ValueError, TypeError) as error:
            raise _wrong("loss", self.loss, "the name of a Keras loss, a Loss, or a function") from error
        # A Loss as a whole averages over the batch, where weights of samples could not reach any more.
        return found.call if isinstance(found, keras.losses.Loss) else found

    def copied_optimizer(self) -> keras.optimizers.Optimizer | None:
        """A new optimizer like the user's; None without one."""
        if self.optimizer is None:
            return None
        kind: Any = type(self.optimizer)
        return kind.from_config(self.optimizer.get_config())

    def optimizer_text(self) -> str:
        """The same for optimizers that train alike, and for no others; their names do not count."""
        if self.optimizer is None:
            return "none"
        found: Any = keras.optimizers.serialize(self.optimizer)
        found["config"].pop("name", None)
        return json.dumps(found, sort_keys=True, default=lambda value: type(value).__name__)

    def augmented(self, inputs: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """A batch as `augment` changes it.

        Raises:
            DataError: it changes shapes or the number of inputs.
        """
        if self.augment is None:
            return inputs
        single = len(inputs) == 1
        found = self.augment(inputs[0].copy() if single else [x.copy() for x in inputs], rng)
        found = [np.asarray(found)] if single else [np.asarray(x) for x in found]
        shapes, wanted = [x.shape for x in found], [x.shape for x in inputs]
        if shapes != wanted:
            raise DataError(
                "augment must return inputs of the shapes it was given",
                received=str(shapes),
                remedy=f"return {wanted}",
            )
        return [x.astype(old.dtype, copy=False) for x, old in zip(found, inputs, strict=True)]

    def sample_weights(self, truth: np.ndarray | None) -> np.ndarray | None:
        """Weight of every sample by its class; None without class weights.

        Raises:
            DataError: there are no labels, or none that name classes.
        """
        if self.class_weight is None:
            return None
        if truth is None:
            raise DataError(
                "class_weight needs labels that name the classes of an output",
                received="none",
                remedy="give labels, or leave class_weight out",
            )
        return np.array([self.class_weight.get(int(c), 1.0) for c in truth], np.float32)

    def feature_outputs(self, model: keras.Model) -> list[Any]:
        """The outputs of a model's layers that `features` names.

        Raises:
            RuleError: there is no such layer, or it has several outputs; names the nearest.
        """
        found = []
        names = [layer.name for layer in model.layers]
        for name in self.features:
            output = model.get_layer(name).output if name in names else None
            if not isinstance(output, keras.KerasTensor):
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
                raise RuleError(
                    "features names no layer with one output",
                    received=name,
                    remedy=f"did you mean {near[0]}?",
                )
            found.append(output)
        return found


def _wrong(name: str, received: object, wanted: str) -> RuleError:
    return RuleError(f"{name} is not what it must be", received=repr(received), remedy=f"give {wanted}")
