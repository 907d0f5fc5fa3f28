"""What the student should learn from the teacher, on Keras tensors and on NumPy arrays alike.

Targets are arrays that hold everything a loss needs, so that Keras can pass them along as ``y_true``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from hgqify.errors import DataError, RuleError

ops: Any = keras.ops  # typed as if every operation could return None


class Loss(enum.StrEnum):
    """How an output is compared with the teacher's.

    ===  ======================================================================================
    KL   divergence of the teacher's class probabilities from the student's, both softmax of logits
    MSE  squared error over the variance of the teacher's output
    ===  ======================================================================================
    """

    KL = "KL"
    MSE = "MSE"


class OutputLoss(Protocol):
    """The loss of one output: how its targets are made, and how the student is measured."""

    def targets(self, teacher: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray: ...
    def __call__(self, targets: Any, student: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """``(1 - w) KL(p || q) + w CE(labels, q)`` with p, q the softmax over the last axis, summed over it.

    Attributes:
        label_weight: w, where there are labels.
    """

    label_weight: float = 0.0

    def targets(self, teacher: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """The teacher's logits, mixed with the labels to one distribution's worth of probabilities.

        The loss is linear in the target probabilities but for a constant, so that teacher and labels need
        one target only: t = (1 - w) p + w labels, followed by that constant, the entropy of p.
        """
        p = _softmax(np.asarray(teacher, np.float64))
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1, keepdims=True)
        w = 0.0 if labels is None else self.label_weight
        mixed = p if labels is None else (1 - w) * p + w * class_probabilities(labels, p.shape)
        return np.concatenate([mixed, (1 - w) * entropy], axis=-1).astype(np.float32)

    def __call__(self, targets: Any, student: Any) -> Any:
        """Loss of each sample."""
        log_q = ops.log_softmax(student, axis=-1)
        mixed, entropy = targets[..., :-1], targets[..., -1]
        loss = -ops.sum(mixed * log_q, axis=-1) - entropy
        return ops.mean(ops.reshape(loss, (ops.shape(loss)[0], -1)), axis=-1)


@dataclass(frozen=True, kw_only=True)
class NormalizedError:
    """``mean (y - t)^2 / variance(t)``.

    Attributes:
        variance: of the teacher's output over all samples and elements.
    """

    variance: float

    def targets(self, teacher: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """The teacher's output; labels take no part."""
        return np.asarray(teacher, np.float32)

    def __call__(self, targets: Any, student: Any) -> Any:
        """Loss of each sample."""
        error = ops.square(student - targets) / self.variance
        return ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=-1)


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A loss times a constant.

    Attributes:
        loss: the loss.
        weight: the constant.
    """

    loss: OutputLoss
    weight: float

    def targets(self, teacher: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Those of the loss."""
        return self.loss.targets(teacher, labels)

    def __call__(self, targets: Any, student: Any) -> Any:
        """Loss of each sample."""
        return self.weight * self.loss(targets, student)


@dataclass(frozen=True, kw_only=True)
class WithOwn:
    """``(1 - w) loss(teacher, student) + w own(labels, student)``: the user's loss beside the teacher's.

    Attributes:
        taught: the loss by the teacher.
        own: of labels and outputs, as Keras calls losses.
        weight: w.
        taught_shape, label_shape: of one sample's targets by the teacher, and of one label.

    Raises:
        RuleError: when called, if ``own`` gives one value for the whole batch.
    """

    taught: OutputLoss
    own: Callable[[Any, Any], Any]
    weight: float
    taught_shape: tuple[int, ...]
    label_shape: tuple[int, ...]

    def targets(self, teacher: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Those of the teacher, and the labels, in one row."""
        count = len(teacher)
        parts = [self.taught.targets(teacher).reshape(count, -1), np.asarray(labels).reshape(count, -1)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def __call__(self, targets: Any, student: Any) -> Any:
        """Loss of each sample."""
        count = math.prod(self.taught_shape)
        taught = ops.reshape(targets[:, :count], (-1, *self.taught_shape))
        labels = ops.reshape(targets[:, count:], (-1, *self.label_shape))
        own = ops.convert_to_tensor(self.own(labels, student))
        if len(own.shape) == 0:  # a TensorShape is true without axes, too
            raise RuleError(
                "a loss of your own gives one value for each sample or more",
                received="one for the whole batch",
                remedy="leave its mean out",
            )
        own = ops.mean(ops.reshape(own, (ops.shape(student)[0], -1)), axis=-1)
        return (1 - self.weight) * self.taught(taught, student) + self.weight * own


def make_loss(kind: Loss, teacher: np.ndarray, label_weight: float = 0.0) -> OutputLoss:
    """The loss of one output.

    Args:
        kind: what to compare.
        teacher: the teacher's output, (samples, ...).
        label_weight: share of the labels, where there are some.
    """
    if kind is Loss.KL:
        return Distillation(label_weight=label_weight)
    variance = float(np.var(np.asarray(teacher, np.float64)))
    # A constant output has no scale of its own; its error counts as it is.
    return NormalizedError(variance=variance if variance > 0 else 1.0)


def class_probabilities(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels as probabilities of the output's shape.

    Raises:
        DataError: neither class numbers in range nor probabilities of that shape.
    """
    labels, classes = np.asarray(labels), shape[-1]
    if labels.shape == shape:
        return labels.astype(np.float64)
    if labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    numbers = labels.astype(np.int64) if labels.shape == shape[:-1] else None
    fits = numbers is not None and np.array_equal(numbers, labels)
    if numbers is None or not fits or numbers.min() < 0 or numbers.max() >= classes:
        raise DataError(
            f"labels must be class numbers from 0 to {classes - 1}, or {classes} probabilities per sample",
            received=f"{labels.dtype} of shape {labels.shape}",
            remedy="leave the labels out to learn from the float model alone",
        )
    return np.eye(classes)[numbers]


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
