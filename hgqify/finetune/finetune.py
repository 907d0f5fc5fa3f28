"""A short quantization-aware training with the float model as teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.data import Source
from hgqify.finetune.archive import Archive
from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.own import OwnTraining
from hgqify.finetune.report import FinetuneReport
from hgqify.finetune.run import Training
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.storage import Storage
from hgqify.finetune.task import prepare
from hgqify.layers import refresh
from hgqify.progress import Progress, no_progress


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What `finetune` gives besides the trained model.

    Attributes:
        report: what it did.
        archive: the models it passed through, under a budget; empty otherwise.
    """

    report: FinetuneReport
    archive: Archive


def finetune(
    model: keras.Model,
    teacher: keras.Model,
    source: Source,
    *,
    logits: Sequence[bool] | None = None,
    settings: FinetuneSettings | None = None,
    settle: Callable[[keras.Model], object] = refresh,
    budget: TrainingBudget | None = None,
    own: OwnTraining | None = None,
    storage: Storage | None = None,
    progress: Progress = no_progress,
) -> Finetuned:
    """Train a calibrated model to give what the float model gives.

    Without a budget weights are trained and formats stay. Under a budget widths are trained first, at a price
    of EBOPs that is steered to keep it, then weights alone; only what keeps the budget is ever chosen.

    A part of the data is held out and measured now and then; the best weights by it are kept, and those
    the model came with if nothing is better, so that the result is never worse there than the start.
    Ctrl-C ends the training and keeps the best so far. The same seed gives the same weights, also where the
    training was killed and went on from what it had stored: that loses at most the steps since the last epoch
    or second, whichever is longer.

    Args:
        model: calibrated quantized model; changed in place, its compiled state untouched.
        teacher: float model with the same inputs and outputs, and under a budget the same layers.
        source: data; its labels, if any, take part in the loss of the first output of logits.
        logits: for each output, whether it holds classification logits; None for none.
        settings: None for the defaults.
        settle: brings the model into the state it is deployed in after its weights moved, each time
            before it is judged: stored tables at least; `calibrate.settle` keeps float32 exact too.
        budget: to be kept; the model has widths allocated within it.
        own: parts of the user's; None for none. Their inner state is not stored.
        storage: where the state is kept, and taken up; None to keep none.
        progress: hears of every step.

    Returns:
        The report and the archive. Stored tables are fresh afterwards.

    Raises:
        DataError: data or labels that do not fit the model.
        RuleError: a part of the user's that does not fit it.
        ExportError: the state cannot be stored, or there is one of another training.
    """
    settings = FinetuneSettings() if settings is None else settings
    lesson = prepare(teacher, source, logits, settings, own)
    if settings.steps == 0 or not len(lesson.train):
        samples = len(lesson.train) or source.samples
        note = "no steps" if settings.steps == 0 else f"{samples} samples are too few to train on"
        settle(model)
        report = FinetuneReport(
            steps=0, best_step=0, start_loss=np.nan, loss=np.nan, losses=(), samples=0, holdout=0, note=note
        )
        return Finetuned(report=report, archive=Archive())
    training = Training(
        model=model,
        clone=teacher,
        lesson=lesson,
        settings=settings,
        settle=settle,
        budget=budget,
        storage=storage,
        progress=progress,
    )
    report = training.run()
    return Finetuned(report=report, archive=training.archive)
