"""More callbacks for `keras.Model.fit` on quantized models: an archive of the best, and progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from hgqify.errors import BudgetError, RuleError
from hgqify.finetune.archive import Archive, ArchiveFolder, Entry, Stage
from hgqify.finetune.callbacks import counted_ebops, trained_model
from hgqify.layers import quantized_layers, refresh, total_ebops
from hgqify.progress import Event, Progress


class ParetoArchive(keras.callbacks.Callback):
    """Keeps all models of a training of which none is as good as another in EBOPs and loss, or better.

    At the end of every epoch the model becomes an `Entry`: its exact EBOPs, the loss ``val_loss`` (``loss``
    without validation data) and the accuracy of a metric. Its ``step`` counts the batches of all fits with
    this callback. Choose by budget afterwards:

        archive = ParetoArchive()
        model.fit(x, y, validation_split=0.1, epochs=50, callbacks=[BudgetController(8000), archive])
        archive.restore(8000)

    Without validation data the loss is the mean over the epoch's batches, of weights as they were at each:
    not that of the weights in the entry.

    Args:
        archive: to start from, with its limit and budget; None for an empty one that keeps all.
        accuracy: name in the logs of a metric from 0 to 1 that entries tell as ``accuracy`` in per cent, with
            'val_' before it where that is there too; None for none.
        folder: stores every entry as it comes, whole or not at all, and removes what it dominates. What the
            folder holds already is taken up; None keeps the archive in memory only.

    Raises:
        RuleError: ``accuracy`` is not in the logs; they are named.
        BudgetError: the model holds nothing that counts EBOPs; `restore` finds no entry, or the model is not
            that of the archive.
        PrecisionError: a layer that cannot count its EBOPs, see `hgqify.layers.total_ebops`.
        ExportError: an entry cannot be stored; those stored before are intact.
    """

    def __init__(
        self,
        archive: Archive | None = None,
        *,
        accuracy: str | None = None,
        folder: ArchiveFolder | None = None,
    ) -> None:
        super().__init__()
        self._archive = Archive() if archive is None else archive
        self._accuracy = accuracy
        self._folder = folder
        if folder is not None:
            for entry in folder.load().front:
                self._archive = self._archive.consider(entry)
        self._step = max((entry.step for entry in self._archive.front), default=0)

    @property
    def archive(self) -> Archive:
        """The entries so far. Immutable: that of this moment stays as it is."""
        return self._archive

    def on_train_begin(self, logs: Any = None) -> None:
        """Refuse a model without EBOPs."""
        if not quantized_layers(trained_model(self)):
            raise BudgetError(
                "nothing in this model counts EBOPs",
                where=trained_model(self).name,
                remedy="give ParetoArchive a model of quantized layers",
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step."""
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Consider the model as it is now."""
        logs = {} if logs is None else logs
        loss, accuracy = float(logs.get("val_loss", logs.get("loss", np.nan))), self._accuracy_in(logs)
        if np.isnan(loss):
            return  # no result; nor are the EBOPs of such weights
        model = trained_model(self)
        refresh(model)
        entry = Entry(
            step=self._step,
            stage=Stage.WIDTHS,
            ebops=total_ebops(model),
            loss=loss,
            accuracy=accuracy,
            agreement=None,
            weights=tuple(np.array(keras.ops.convert_to_numpy(v)) for v in model.variables),
        )
        before, self._archive = self._archive, self._archive.consider(entry)
        if self._folder is not None and self._archive is not before:
            self._folder.save(self._archive)
            self._folder.prune(self._archive)

    def restore(self, ebops: float, model: keras.Model | None = None) -> Entry:
        """Give a model the weights and widths of the entry of least loss within a budget.

        Args:
            ebops: at most so many EBOPs.
            model: of the same layers as the trained one; None for the trained one itself.

        Returns:
            The entry.

        Raises:
            BudgetError: there is no such entry, no model was trained yet and none given, or it has other
                variables.
        """
        chosen = self._archive.best(ebops)
        if chosen is None:
            fewest = min((entry.ebops for entry in self._archive.front), default=None)
            raise BudgetError(
                "the archive has no model within this budget",
                received=f"{ebops:,} EBOPs",
                remedy="train first" if fewest is None else f"the fewest are {fewest:,}",
            )
        target = self.model if model is None else model
        if target is None:
            raise BudgetError("no model was trained with this callback yet", remedy="give restore a model")
        variables = target.variables
        shapes = [tuple(v.shape) for v in variables], [w.shape for w in chosen.weights]
        if shapes[0] != shapes[1]:
            raise BudgetError(
                "the model is not the one whose weights the archive holds",
                where=target.name,
                received=f"{len(shapes[0])} variables; in the archive: {len(shapes[1])}",
                remedy="give a model of the same layers and granularity",
            )
        for variable, value in zip(variables, chosen.weights, strict=True):
            variable.assign(value)
        return chosen

    def _accuracy_in(self, logs: Mapping[str, Any]) -> float | None:
        if self._accuracy is None:
            return None
        for name in (f"val_{self._accuracy}", self._accuracy):
            if name in logs:
                return 100 * float(logs[name])
        raise RuleError(
            "the logs of this training have no such metric",
            received=self._accuracy,
            remedy=f"they have {', '.join(sorted(logs)) or 'nothing'}; pass metrics to compile",
        )


class TrainingProgress(keras.callbacks.Callback):
    """Tells a `Progress` of every step of `fit`, as the stages of a conversion do.

    An event has the stage 'fit', steps done and in all, and as values the loss (as Keras tells it: the mean
    over the epoch so far) and, where layers have a price of EBOPs, ``EBOPs`` as they counted them at the last
    look. A training that ends before its last step says so by a milestone.

        model.fit(x, y, epochs=5, verbose=0, callbacks=[TrainingProgress(TextProgress())])

    Args:
        progress: hears of the events.
        every: steps between two looks at the EBOPs: each waits for the device.

    Raises:
        RuleError: ``every`` is not a whole number from 1.
    """

    def __init__(self, progress: Progress, *, every: int = 10) -> None:
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise RuleError("every must be a whole number, at least 1", received=repr(every))
        self._progress = progress
        self._every = every
        self._done = 0
        self._first_epoch: int | None = None
        self._values: dict[str, float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Start to count."""
        self._done, self._first_epoch, self._values = 0, None, {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note where the training goes on."""
        if self._first_epoch is None:
            self._first_epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tell of the step."""
        self._done += 1
        if logs is not None and "loss" in logs:
            self._values["loss"] = float(logs["loss"])
        due = self._done == 1 or self._done % self._every == 0
        if due and (found := counted_ebops(trained_model(self))):
            self._values["EBOPs"] = sum(found.values())
        self._tell()

    def on_train_end(self, logs: Any = None) -> None:
        """Tell of an end that no step announced."""
        if self._total is None or self._done < self._total:
            self._tell(milestone=True)

    def _tell(self, *, milestone: bool = False) -> None:
        self._progress(
            Event(
                stage="fit", done=self._done, total=self._total, values={**self._values}, milestone=milestone
            )
        )

    @property
    def _total(self) -> int | None:
        """Steps in all; None where Keras does not know how many an epoch has."""
        params: Mapping[str, Any] = self.params or {}
        steps, epochs = params.get("steps"), params.get("epochs")
        return None if not steps or not epochs else int(steps) * (int(epochs) - (self._first_epoch or 0))
