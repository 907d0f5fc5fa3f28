"""What is trained on: samples in memory with the teacher's targets, and batches of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calling import predict, predict_all
from hgqify.data import Source, check_against, collect
from hgqify.errors import DataError
from hgqify.finetune.losses import Loss, OutputLoss, Scaled, WithOwn, make_loss
from hgqify.finetune.own import OwnTraining
from hgqify.finetune.settings import FinetuneSettings
from hgqify.scoring import classes, label_classes

_JUDGED = 2000  # samples that a drop is measured on, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Samples with their targets, each array with samples first.

    Attributes:
        inputs: of the model.
        targets: one for each output, see `OutputLoss.targets`; then those of features.
        labels: as the loss of the labelled output takes them; None without.
        weights: of each sample in the loss; None where all are alike.
        taught: class by the teacher; None where its outputs name none.
        truth: class by the label; None without.
    """

    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None
    taught: np.ndarray | None = None
    truth: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: np.ndarray) -> Task:
        """Some of the samples."""
        single = {name: getattr(self, name) for name in ("labels", "weights", "taught", "truth")}
        return Task(
            inputs=[x[rows] for x in self.inputs],
            targets=[t[rows] for t in self.targets],
            **{name: None if array is None else array[rows] for name, array in single.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What to train on, and what to judge by.

    Attributes:
        train, holdout: disjoint samples; both empty where there are too few.
        judged: samples of both, that a drop is measured on besides.
        losses: of each output, then of each feature.
        outputs: how many outputs there are without features.
        scored: the first output that names classes, and whether by logits; None if none does.
        labelled: the output that labels belong to; None without labels.
        teacher: gives the outputs and features.
        own: the user's parts.
    """

    train: Task
    holdout: Task
    judged: Task
    losses: list[OutputLoss]
    outputs: int
    scored: tuple[int, bool] | None
    labelled: int | None
    teacher: keras.Model
    own: OwnTraining

    def renewed(self, task: Task, rng: np.random.Generator) -> Task:
        """A batch as the user augments it, with what the teacher says of that."""
        inputs = self.own.augmented(task.inputs, rng)
        targets = _targets(self.losses, predict(self.teacher, inputs), task.labels, self.labelled)
        return dataclasses.replace(task, inputs=inputs, targets=targets)


def prepare(
    teacher: keras.Model,
    source: Source,
    logits: Sequence[bool] | None,
    settings: FinetuneSettings,
    own: OwnTraining | None = None,
) -> Lesson:
    """Samples in memory with their targets, split.

    Args:
        teacher: float model.
        source: data; labels take part in the loss of the first output that scores classes; in a loss of the
            user's, of the first output if none does.
        logits: for each output, whether it scores classes; None for none.
        settings: of the fine-tuning.
        own: the user's parts; None for none.

    Raises:
        DataError: data or labels that do not fit the model.
        RuleError: a part of the user's that does not fit it.
    """
    own = OwnTraining() if own is None else own
    check_against(source, [t.shape[1:] for t in teacher.inputs], [t.name for t in teacher.inputs])
    logits = [False] * len(teacher.outputs) if logits is None else list(logits)
    if len(logits) != len(teacher.outputs):
        raise DataError(
            f"the model has {len(teacher.outputs)} outputs, and logits must say so for each",
            received=f"{len(logits)} values",
        )
    many = source.samples is None or source.samples > settings.max_samples
    data = collect(source, settings.max_samples, seed=settings.seed if many else None)
    if own.loss is not None and data.labels is None:
        raise DataError(
            "a loss of your own compares outputs with labels, and there are none", remedy="give labels"
        )
    labelled = next((n for n, is_logits in enumerate(logits) if is_logits), None)
    if own.loss is not None and labelled is None:
        labelled = 0
    labels = None if labelled is None or data.labels is None else np.asarray(data.labels)
    labelled = None if labels is None else labelled
    featured = with_features(teacher, own)
    outputs = predict_all(featured, data.inputs, settings.batch_size)
    losses: list[OutputLoss] = [
        make_loss(Loss.KL if is_logits else Loss.MSE, output, settings.label_weight)
        for is_logits, output in zip(logits, outputs, strict=False)
    ]
    if own.loss is not None and labelled is not None and labels is not None:
        taught = losses[labelled].targets(outputs[labelled][:1])
        losses[labelled] = WithOwn(
            taught=losses[labelled],
            own=own.loss_function(),
            weight=settings.label_weight,
            taught_shape=taught.shape[1:],
            label_shape=labels.shape[1:],
        )
    weights = own.features.values()
    for weight, output in zip(weights, outputs[len(logits) :], strict=True):
        losses.append(Scaled(loss=make_loss(Loss.MSE, output), weight=float(weight)))
    scored, found = _scored(outputs[: len(logits)], logits)
    truth = label_classes(data.labels) if data.labels is not None and found is not None else None
    truth = truth if truth is not None and found is not None and truth.shape == found.shape else None
    task = Task(
        inputs=list(data.inputs),
        targets=_targets(losses, outputs, labels, labelled),
        labels=labels,
        weights=own.sample_weights(truth),
        taught=found,
        truth=truth,
    )
    order = np.random.default_rng(settings.seed).permutation(len(task))
    held = max(1, round(len(task) * settings.holdout))
    if len(task) < settings.min_samples:
        order, held = order[:0], 0
    return Lesson(
        train=task.take(order[held:]),
        holdout=task.take(order[:held]),
        judged=task.take(order[:_JUDGED]),
        losses=losses,
        outputs=len(logits),
        scored=scored,
        labelled=labelled,
        teacher=featured,
        own=own,
    )


def with_features(model: keras.Model, own: OwnTraining) -> keras.Model:
    """A model that gives the features beside its outputs; the model itself without features."""
    if not own.features:
        return model
    return keras.Model(model.inputs, [*model.outputs, *own.feature_outputs(model)])


def _scored(
    outputs: Sequence[np.ndarray], logits: Sequence[bool]
) -> tuple[tuple[int, bool] | None, np.ndarray | None]:
    for n, (output, is_logits) in enumerate(zip(outputs, logits, strict=True)):
        found = classes(output, logits=is_logits)
        if found is not None:
            return (n, is_logits), found
    return None, None


def _targets(
    losses: Sequence[OutputLoss],
    outputs: Sequence[np.ndarray],
    labels: np.ndarray | None,
    labelled: int | None,
) -> list[np.ndarray]:
    return [
        loss.targets(output, labels if n == labelled else None)
        for n, (loss, output) in enumerate(zip(losses, outputs, strict=True))
    ]


class Batches:
    """Batches of one size by the number of the step; each epoch in another order, its remainder left out.

    What a step sees depends on seed and number alone, so that training can go on in the middle.

    Args:
        task: the samples.
        size: of a batch, at most.
        seed: of the order.
        change: made to every batch, with randomness of its own; None for none.
    """

    def __init__(
        self,
        task: Task,
        size: int,
        seed: int,
        change: Callable[[Task, np.random.Generator], Task] | None = None,
    ) -> None:
        self._task, self._seed, self._change = task, seed, change
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
        batch = self._task.take(self._order[place * self._size : (place + 1) * self._size])
        if self._change is None:
            return batch
        return self._change(batch, np.random.default_rng((self._seed, 3, step)))
