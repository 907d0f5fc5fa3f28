"""Which class a sample is in: by a model's output, or by a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hgqify.errors import DataError


def classes(output: np.ndarray, *, logits: bool) -> np.ndarray | None:
    """Class of every sample: the largest logit, or the side of one half of a single probability.

    Returns:
        None for an output that names no classes.
    """
    if output.ndim == 2 and output.shape[1] > 1 and logits:
        return output.argmax(axis=1)
    if output.ndim == 2 and output.shape[1] == 1 and np.all((output >= 0) & (output <= 1)):
        return (output[:, 0] > 0.5).astype(np.int64)
    return None


def label_classes(labels: Any) -> np.ndarray | None:
    """Class of every label: whole numbers, or the largest of a one-hot row; None for other labels."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.argmax(axis=1)
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or np.any(flat != np.round(flat)):
        return None
    return flat[:, 0].astype(np.int64)


def names_classes(labels: np.ndarray, count: int) -> bool:
    """Whether labels name one of so many classes each: one-hot rows, or whole numbers, one for a sample."""
    if labels.ndim == 2 and labels.shape[1] == count:
        return bool(np.all(np.isin(labels, (0, 1))) and np.all(labels.sum(axis=1) == 1))
    numbers = label_classes(labels) if labels.size == len(labels) else None
    return numbers is not None and bool(np.all((numbers >= 0) & (numbers < count)))


def unfit_labels(labels: np.ndarray, shapes: Sequence[tuple[int, ...]], where: str) -> DataError:
    """What is said of labels that fit no output.

    Args:
        labels: of some samples.
        shapes: of the outputs, without the batch axis.
        where: the data.
    """
    found = f"labels of shape {labels.shape[1:]} from {float(labels.min()):g} to {float(labels.max()):g}"
    return DataError(
        "the labels fit no output of the model",
        where=where,
        received=f"{found} for outputs of shape {', '.join(map(str, shapes))}",
        remedy="give classes (whole numbers from 0, or one-hot rows), or numbers of an output's shape",
    )
