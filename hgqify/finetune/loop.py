"""Optimizer steps on a compiled model, with Keras callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hgqify.calling import structured
from hgqify.finetune.devices import Placement
from hgqify.finetune.task import Batches


@dataclass(kw_only=True, eq=False)
class Loop:
    """Trains a compiled model from one step to another.

    Attributes:
        trainer: compiled; holds its newest state after every step.
        batches: what each step sees.
        callbacks: Keras callbacks, told of batches and epochs.
        after: called after every step with its number, counted from 1, and the loss.
        placement: of the trainer.
    """

    trainer: keras.Model
    batches: Batches
    after: Callable[[int, float], None]
    callbacks: Sequence[keras.callbacks.Callback] = field(default_factory=tuple)
    placement: Placement = field(default_factory=Placement)

    def run(self, first: int, last: int) -> None:
        """Take the steps from number ``first`` (counted from 0) up to ``last``, exclusive.

        Ends sooner where a callback sets ``model.stop_training``.
        """
        self.trainer.stop_training = False
        told = keras.callbacks.CallbackList(list(self.callbacks), model=self.trainer)
        told.on_train_begin()
        per_epoch = self.batches.per_epoch
        for step in range(first, last):
            epoch, place = divmod(step, per_epoch)
            if place == 0 or step == first:
                told.on_epoch_begin(epoch)
            batch = self.batches.at(step)
            told.on_train_batch_begin(place)
            targets: Any = batch.targets if len(batch.targets) > 1 else batch.targets[0]
            inputs = structured(self.trainer, batch.inputs)
            with self.placement.scope():
                result = self.trainer.train_on_batch(inputs, targets, sample_weight=batch.weights)
            loss = float(np.ravel(result)[0])
            told.on_train_batch_end(place, {"loss": loss})
            if place == per_epoch - 1:
                told.on_epoch_end(epoch, {"loss": loss})
            self.after(step + 1, loss)
            if self.trainer.stop_training:
                break
        told.on_train_end()
