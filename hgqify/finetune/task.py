"""What is trained on: samples in memory with the teacher's targets, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calling import predict_all
from hgqify.data import Source, check_against, collect
from hgqify.errors import DataError
from hgqify.finetune.losses import Loss, OutputLoss, make_loss
from hgqify.finetune.settings import FinetuneSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Samples with their targets.

    Attributes:
        inputs: arrays, samples first.
        targets: one for each output, see `OutputLoss.targets`.
    """

    inputs: list[np.ndarray]
    targets: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: np.ndarray) -> Task:
        """Some of the samples."""
        return Task(inputs=[x[rows] for x in self.inputs], targets=[t[rows] for t in self.targets])


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What to train on, and what to judge by.

    Attributes:
        train, holdout: disjoint samples; both empty where there are too few.
        losses: of each output.
    """

    train: Task
    holdout: Task
    losses: list[OutputLoss]


def prepare(
    teacher: keras.Model, source: Source, logits: Sequence[bool] | None, settings: FinetuneSettings
) -> Lesson:
    """Samples in memory with their targets, split.

    Args:
        teacher: float model.
        source: data; labels take part in the loss of the first output that scores classes.
        logits: for each output, whether it scores classes; None for none.
        settings: of the fine-tuning.

    Raises:
        DataError: data or labels that do not fit the model.
    """
    check_against(source, [t.shape[1:] for t in teacher.inputs], [t.name for t in teacher.inputs])
    logits = [False] * len(teacher.outputs) if logits is None else list(logits)
    if len(logits) != len(teacher.outputs):
        raise DataError(
            f"the model has {len(teacher.outputs)} outputs, and logits must say so for each",
            received=f"{len(logits)} values",
        )
    many = source.samples is None or source.samples > settings.max_samples
    data = collect(source, settings.max_samples, seed=settings.seed if many else None)
    outputs = predict_all(teacher, data.inputs, settings.batch_size)
    labels = data.labels
    losses: list[OutputLoss] = []
    for is_logits, output in zip(logits, outputs, strict=True):
        kind = Loss.KL if is_logits else Loss.MSE
        losses.append(make_loss(kind, output, labels if is_logits else None, settings.label_weight))
        if is_logits:
            labels = None  # labels name the classes of one output
    targets = [loss.targets(output) for loss, output in zip(losses, outputs, strict=True)]
    task = Task(inputs=list(data.inputs), targets=targets)
    order = np.random.default_rng(settings.seed).permutation(len(task))
    held = max(1, round(len(task) * settings.holdout))
    if len(task) < settings.min_samples:
        order, held = order[:0], 0
    return Lesson(train=task.take(order[held:]), holdout=task.take(order[:held]), losses=losses)


class Batches:
    """Batches of one size by the number of the step; each epoch in another order, its remainder left out.

    What a step sees depends on seed and number alone, so that training can go on in the middle.

    Args:
        task: the samples.
        size: of a batch, at most.
        seed: of the order.
    """

    def __init__(self, task: Task, size: int, seed: int) -> None:
        self._task, self._seed = task, seed
        self._size = min(size, len(task))
        self._epoch, self._order = -1, np.empty(0, np.int64)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass over the samples."""
        return len(self._task) // self._size

    def at(self, step: int) -> Task:
        """The batch of a step, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self._seed, 1, epoch)).permutation(len(self._task))
            self._epoch = epoch
        return self._task.take(self._order[place * self._size : (place + 1) * self._size])
