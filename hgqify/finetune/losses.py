"""What the student should learn from the teacher, on Keras tensors and on NumPy arrays alike.

Targets are arrays that hold everything a loss needs, so that Keras can pass them along as ``y_true``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from hgqify.errors import DataError

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

    def targets(self, teacher: np.ndarray) -> np.ndarray: ...
    def __call__(self, targets: Any, student: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """``(1 - w) KL(p || q) + w CE(labels, q)`` with p, q the softmax over the last axis, summed over it.

    Attributes:
        labels: class probabilities (samples, classes) of all samples, or None.
        label_weight: w; 0 without labels.
    """

    labels: np.ndarray | None = None
    label_weight: float = 0.0

    def targets(self, teacher: np.ndarray) -> np.ndarray:
        """The teacher's logits, mixed with the labels to one distribution's worth of probabilities.

        The loss is linear in the target probabilities but for a constant, so that teacher and labels need
        one target only: t = (1 - w) p + w labels, followed by that constant, the entropy of p.
        """
        p = _softmax(np.asarray(teacher, np.float64))
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1, keepdims=True)
        w = 0.0 if self.labels is None else self.label_weight
        mixed = p if self.labels is None else (1 - w) * p + w * self.labels
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

    def targets(self, teacher: np.ndarray) -> np.ndarray:
        """The teacher's output."""
        return np.asarray(teacher, np.float32)

    def __call__(self, targets: Any, student: Any) -> Any:
        """Loss of each sample."""
        error = ops.square(student - targets) / self.variance
        return ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=-1)


def make_loss(kind: Loss, teacher: np.ndarray, labels: np.ndarray | None, label_weight: float) -> OutputLoss:
    """The loss of one output.

    Args:
        kind: what to compare.
        teacher: the teacher's output, (samples, ...).
        labels: classes (samples,) or (samples, 1), probabilities (samples, classes), or None.
        label_weight: share of the labels.

    Raises:
        DataError: labels that do not fit the output.
    """
    if kind is Loss.KL:
        probabilities = None if labels is None else class_probabilities(labels, teacher.shape)
        return Distillation(labels=probabilities, label_weight=label_weight)
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
