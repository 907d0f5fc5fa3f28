"""What a model is worth at a moment of its training: on held-out samples, as it would be deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calling import predict_all
from hgqify.finetune.losses import OutputLoss
from hgqify.finetune.task import Task


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a model.

    Attributes:
        step: optimizer steps taken; 0 before training.
        stage: what was trained: 'start', 'widths' or 'weights'.
        loss: on the held-out samples.
        ebops: exact; None where nobody counts them.
    """

    step: int
    stage: str
    loss: float
    ebops: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Measures a model.

    Attributes:
        holdout: samples with targets.
        losses: of each output.
        batch_size: samples predicted at once.
        count: exact EBOPs of a settled model; None to count none.
    """

    holdout: Task
    losses: Sequence[OutputLoss]
    batch_size: int
    count: Callable[[keras.Model], int] | None = None

    def look(self, model: keras.Model, *, step: int, stage: str) -> Look:
        """Judge a settled model."""
        outputs = predict_all(model, self.holdout.inputs, self.batch_size)
        tensor = keras.ops.convert_to_tensor
        parts = [
            np.mean(np.asarray(loss(tensor(t), tensor(y))))
            for loss, t, y in zip(self.losses, self.holdout.targets, outputs, strict=True)
        ]
        ebops = None if self.count is None else self.count(model)
        return Look(step=step, stage=stage, loss=float(sum(parts)), ebops=ebops)
