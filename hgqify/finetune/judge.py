"""What a model is worth at a moment of its training: on held-out samples, as it would be deployed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calling import predict_all
from hgqify.finetune.archive import Stage
from hgqify.finetune.task import Lesson, Task
from hgqify.scoring import classes


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a model.

    Attributes:
        step: optimizer steps taken; 0 before training.
        stage: what was trained.
        loss: on the held-out samples.
        ebops: exact; None where nobody counts them.
        accuracy: per cent of held-out labels; None without labels.
        agreement: per cent of held-out samples with the class of the float model; None without classes.
        lost: percentage points lost against the float model, of accuracy with labels, else of agreement: on
            held-out samples or on up to 2,000 of all, whichever is more; None where no drop is asked for.
    """

    step: int
    stage: Stage
    loss: float
    ebops: int | None = None
    accuracy: float | None = None
    agreement: float | None = None
    lost: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Measures a model.

    Attributes:
        lesson: samples with targets, and their losses.
        batch_size: samples predicted at once.
        count: exact EBOPs of a settled model; None to count none.
        drops: whether points lost are to be measured.
    """

    lesson: Lesson
    batch_size: int
    count: Callable[[keras.Model], int] | None = None
    drops: bool = False

    def look(self, model: keras.Model, *, step: int, stage: Stage) -> Look:
        """Judge a settled model."""
        task, lesson = self.lesson.holdout, self.lesson
        outputs = predict_all(model, task.inputs, self.batch_size)
        tensor = keras.ops.convert_to_tensor
        # Held out may be none of the samples that count.
        weights = task.weights if task.weights is not None and task.weights.any() else None
        parts = [
            np.average(np.asarray(loss(tensor(t), tensor(y))), weights=weights)
            for loss, t, y in zip(
                lesson.losses[: lesson.outputs], task.targets[: lesson.outputs], outputs, strict=True
            )
        ]
        accuracy, agreement, lost = self._shares(task, outputs)
        if self.drops:
            judged = predict_all(model, lesson.judged.inputs, self.batch_size)
            lost = max(_number(lost), _number(self._shares(lesson.judged, judged)[2]))
        return Look(
            step=step,
            stage=stage,
            loss=float(sum(parts)),
            ebops=None if self.count is None else self.count(model),
            accuracy=accuracy,
            agreement=agreement,
            lost=lost if self.drops else None,
        )

    def _shares(
        self, task: Task, outputs: list[np.ndarray]
    ) -> tuple[float | None, float | None, float | None]:
        """Accuracy and agreement in per cent, and points lost."""
        if self.lesson.scored is None or task.taught is None:
            return None, None, None
        position, is_logits = self.lesson.scored
        found = classes(outputs[position], logits=is_logits)
        if found is None:
            return None, None, None
        agreement = 100 * float(np.mean(found == task.taught))
        if task.truth is None:
            return None, agreement, 100 - agreement
        accuracy = 100 * float(np.mean(found == task.truth))
        return accuracy, agreement, 100 * float(np.mean(task.taught == task.truth)) - accuracy


def _number(lost: float | None) -> float:
    return np.inf if lost is None else lost
