"""How right the integers are about labels: one figure, the larger the better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hgqify.data import Source
from hgqify.errors import DataError
from hgqify.scoring import label_classes, names_classes, unfit_labels
from hgqify.whole_model import WholeModel

ACCURACY = "accuracy"
R2 = "R2"
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit.

    Attributes:
        name: 'accuracy', the share of samples whose class is the label's; or 'R2', the coefficient of
            determination 1 - sum (y - f)^2 / sum (y - mean y)^2 of numbers y and outputs f.
        value: at most 1.
        samples: it was measured on.
    """

    name: str
    value: float
    samples: int


class Meter:
    """The metric of the first output that the labels fit, batch by batch.

    Labels that name classes (whole numbers from 0 on, or one-hot rows) fit an output (C,) of scores, the
    largest of which names the class, and an output (1,), a probability or, with values outside [0, 1], a
    logit. Other numbers fit an output of their own shape.

    Args:
        where: name of the data, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._sums: _Sums | None = None
        self._position = 0

    def add(self, outputs: Sequence[np.ndarray], labels: Any) -> None:
        """Look at one batch: every output of the model, and the labels.

        Raises:
            DataError: the labels fit no output.
        """
        labels = np.asarray(labels)
        if self._sums is None:
            self._position, self._sums = _fitting(outputs, labels, self._where)
        self._sums.add(outputs[self._position], labels)

    def metric(self) -> Metric:
        """Of all that was seen.

        Raises:
            DataError: nothing was.
        """
        if self._sums is None:
            raise DataError("there are no samples", where=self._where, remedy="give data with samples")
        return self._sums.metric()


def measure_metric(model: WholeModel, source: Source, *, limit: int | None, batch: int) -> Metric:
    """The metric of a model on data, see `Meter`; streamed.

    Args:
        model: gives the outputs.
        source: data with labels.
        limit: the first so many samples.
        batch: samples at once.

    Raises:
        DataError: there are no labels, or they fit no output.
    """
    if not source.has_labels:
        raise DataError(
            "a limit on the metric needs labels",
            where=source.where,
            remedy="give --labels (labels=...), or data with an array y beside x",
        )
    meter = Meter(source.where)
    for part in source.batches(batch, limit=limit):
        meter.add(model(part.inputs), part.labels)
    return meter.metric()


class _Sums(Protocol):
    """What is summed over batches."""

    def add(self, outputs: np.ndarray, labels: np.ndarray, /) -> None: ...

    def metric(self) -> Metric: ...


@dataclass
class _Classes:
    right: int = 0
    samples: int = 0

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        named = label_classes(labels)
        if named is not None:
            self.right += int(np.count_nonzero(outputs.argmax(axis=1) == named))
        self.samples += len(outputs)

    def metric(self) -> Metric:
        return Metric(name=ACCURACY, value=self.right / self.samples, samples=self.samples)


@dataclass
class _Sides:
    """One output of two classes: what lies above one half, or above zero if it is a logit."""

    outputs: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        self.outputs.append(outputs.reshape(-1))
        self.labels.append(labels.reshape(-1))

    def metric(self) -> Metric:
        y, labels = np.concatenate(self.outputs), np.concatenate(self.labels)
        threshold = _HALF if np.all((y >= 0) & (y <= 1)) else 0.0
        right = np.mean((y > threshold) == (labels > _HALF))
        return Metric(name=ACCURACY, value=float(right), samples=len(y))


@dataclass
class _Squares:
    error: float = 0.0
    total: float = 0.0
    square: float = 0.0
    numbers: int = 0
    samples: int = 0

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        y = labels.reshape(outputs.shape).astype(np.float64)
        self.error += float(np.sum((y - outputs) ** 2))
        self.total += float(np.sum(y))
        self.square += float(np.sum(y**2))
        self.numbers += y.size
        self.samples += len(y)

    def metric(self) -> Metric:
        spread = self.square - self.total**2 / self.numbers
        value = 1 - self.error / spread if spread > 0 else float("-inf") if self.error else 1.0
        return Metric(name=R2, value=value, samples=self.samples)


def _fitting(outputs: Sequence[np.ndarray], labels: np.ndarray, where: str) -> tuple[int, _Sums]:
    """The first output that labels fit, and the sums that compare them.

    Raises:
        DataError: there is none.
    """
    single = labels.size == len(labels)
    binary = bool(np.all(np.isin(labels, (0, 1))))
    for position, output in enumerate(outputs):
        if output.ndim == 2 and output.shape[1] > 1 and names_classes(labels, output.shape[1]):
            return position, _Classes()
        if output.ndim == 2 and output.shape[1] == 1 and single and binary:
            return position, _Sides()
    for position, output in enumerate(outputs):
        if labels.size == output.size:
            return position, _Squares()
    raise unfit_labels(labels, [tuple(output.shape[1:]) for output in outputs], where)
