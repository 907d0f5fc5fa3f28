"""What came out on data, in bounded size: which classes are confused, or how far numbers are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hgqify.scoring import classes, label_classes

MOST_CLASSES = 64
"""Of a confusion matrix; more are told by accuracy alone."""

BINS = 41
POINTS = 300
"""Most samples of a plot of residuals."""


class Outputs(Protocol):
    """Outputs of two models on the same samples, see `quality.Outputs`."""

    @property
    def floats(self) -> Sequence[np.ndarray]: ...
    @property
    def fixed(self) -> Sequence[np.ndarray]: ...
    @property
    def labels(self) -> np.ndarray | None: ...


def outcomes(outputs: Outputs, logits: Sequence[bool]) -> Mapping[str, Any] | None:
    """Confusion of the first output that names classes, else residuals of the first that labels fit.

    Args:
        outputs: of both models.
        logits: for each output, whether it holds class scores.

    Returns:
        ``kind`` 'classes': ``against`` is 'labels' or 'float model'; ``quantized`` and, against labels,
        ``float`` are counts [true class][named class].
        ``kind`` 'numbers': ``against`` the same; ``rms`` and ``float_rms``, errors' root mean square;
        ``high``: the bins of ``counts`` and ``float_counts`` divide the errors from -high to high;
        ``points``: [wanted, float error, quantized error] of some elements.
        None for more than `MOST_CLASSES` classes.
    """
    for is_logits, y, q in zip(logits, outputs.floats, outputs.fixed, strict=True):
        wanted, found = classes(y, logits=is_logits), classes(q, logits=is_logits)
        if wanted is not None and found is not None:
            count = max(y.shape[1], 2)
            return _confusion(wanted, found, outputs.labels, count)
    truth = fitting_numbers(outputs)
    if truth is None:
        return _errors(outputs.floats[0], outputs.floats[0], outputs.fixed[0], against="float model")
    position, labels = truth
    return _errors(labels, outputs.floats[position], outputs.fixed[position], against="labels")


def fitting_numbers(outputs: Outputs) -> tuple[int, np.ndarray] | None:
    """The first output that the labels are numbers for, and these in its shape; None if there is none."""
    if outputs.labels is None:
        return None
    labels = np.asarray(outputs.labels)
    for position, output in enumerate(outputs.floats):
        if labels.dtype.kind in "fiu" and labels.size == output.size and len(labels) == len(output):
            return position, labels.reshape(output.shape).astype(np.float64)
    return None


def rms(errors: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def _confusion(
    wanted: np.ndarray, found: np.ndarray, labels: np.ndarray | None, count: int
) -> Mapping[str, Any] | None:
    truth = None if labels is None else label_classes(labels)
    if truth is not None and (len(truth) != len(wanted) or np.any(truth < 0) or np.any(truth >= count)):
        truth = None
    if count > MOST_CLASSES:
        return None
    if truth is None:
        return {"kind": "classes", "against": "float model", "quantized": _counts(wanted, found, count)}
    return {
        "kind": "classes",
        "against": "labels",
        "quantized": _counts(truth, found, count),
        "float": _counts(truth, wanted, count),
    }


def _counts(truth: np.ndarray, named: np.ndarray, count: int) -> list[list[int]]:
    flat = np.bincount(truth * count + named, minlength=count * count)
    return flat.reshape(count, count).tolist()


def _errors(truth: np.ndarray, y: np.ndarray, q: np.ndarray, *, against: str) -> Mapping[str, Any]:
    truth, before, after = (np.ravel(a).astype(np.float64) for a in (truth, y - truth, q - truth))
    high = float(np.max(np.abs(np.concatenate([before, after])), initial=0.0)) or 1.0
    counts = [np.histogram(e, bins=BINS, range=(-high, high))[0].tolist() for e in (after, before)]
    shown = np.unique(np.linspace(0, len(truth) - 1, min(POINTS, len(truth))).astype(int))
    return {
        "kind": "numbers",
        "against": against,
        "rms": rms(after),
        "float_rms": rms(before),
        "high": high,
        "counts": counts[0],
        "float_counts": counts[1],
        "points": [[float(truth[n]), float(before[n]), float(after[n])] for n in shown],
    }
