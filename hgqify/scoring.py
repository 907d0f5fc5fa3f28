"""Which class a sample is in: by a model's output, or by a label."""

from __future__ import annotations

from typing import Any

import numpy as np


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
