"""A short quantization-aware training with the float model as teacher."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from hgqify.data import Source
from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.callbacks import Collapse
from hgqify.finetune.judge import Judge, Look
from hgqify.finetune.loop import Loop
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.stages import END_RATE, StageEnd, WeightStage, WidthStage, restore, values_of
from hgqify.finetune.task import Batches, Lesson, prepare
from hgqify.layers import refresh
from hgqify.progress import Event, Progress, no_progress

_RATE = 1e-3
_BUDGET_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What fine-tuning did.

    Attributes:
        steps: optimizer steps taken.
        best_step: the step whose weights were kept; 0 for those before training.
        start_loss, loss: loss on the held-out samples before, and of the weights kept.
        losses: held-out loss by step, as evaluated.
        samples, holdout: samples trained on, and held out.
        width_steps: the first of the steps, in which widths were trained too.
        looks: every evaluation with its exact EBOPs, under a budget.
        collapses: layers that lost all bits, and were given them back.
        interrupted: whether the user stopped it.
        note: why nothing was trained; empty otherwise.
    """

    steps: int
    best_step: int
    start_loss: float
    loss: float
    losses: tuple[tuple[int, float], ...]
    samples: int
    holdout: int
    width_steps: int = 0
    looks: tuple[Look, ...] = ()
    collapses: tuple[Collapse, ...] = ()
    interrupted: bool = False
    note: str = ""


def finetune(
    model: keras.Model,
    teacher: keras.Model,
    source: Source,
    *,
    logits: Sequence[bool] | None = None,
    settings: FinetuneSettings | None = None,
    settle: Callable[[keras.Model], object] = refresh,
    budget: TrainingBudget | None = None,
    progress: Progress = no_progress,
) -> FinetuneReport:
    """Train a calibrated model to give what the float model gives.

    Without a budget weights are trained and formats stay. Under a budget widths are trained first, at a price
    of EBOPs that is steered to keep it, then weights alone; only what keeps the budget is ever chosen.

    A part of the data is held out and measured now and then; the best weights by it are kept, and those
    the model came with if nothing is better, so that the result is never worse there than the start.
    Ctrl-C ends the training and keeps the best so far. The same seed gives the same weights.

    Args:
        model: calibrated quantized model; changed in place, its compiled state untouched.
        teacher: float model with the same inputs and outputs, and under a budget the same layers.
        source: data; its labels, if any, take part in the loss of the first output of logits.
        logits: for each output, whether it holds classification logits; None for none.
        settings: None for the defaults.
        settle: brings the model into the state it is deployed in after its weights moved, each time
            before it is judged: stored tables at least; `calibrate.settle` keeps float32 exact too.
        budget: to be kept; the model has widths allocated within it.
        progress: hears of every step.

    Returns:
        The report. Stored tables are fresh afterwards.

    Raises:
        DataError: data or labels that do not fit the model.
    """
    settings = FinetuneSettings() if settings is None else settings
    lesson = prepare(teacher, source, logits, settings)
    if settings.steps == 0 or not len(lesson.train):
        samples = len(lesson.train) or source.samples
        note = "no steps" if settings.steps == 0 else f"{samples} samples are too few to train on"
        settle(model)
        return FinetuneReport(
            steps=0, best_step=0, start_loss=np.nan, loss=np.nan, losses=(), samples=0, holdout=0, note=note
        )
    training = _Training(
        model=model,
        clone=teacher,
        lesson=lesson,
        settings=settings,
        settle=settle,
        budget=budget,
        progress=progress,
    )
    return training.run()


@dataclass(kw_only=True, eq=False)
class _Training:
    """One run: the stages, the best weights so far, the report."""

    model: keras.Model
    clone: keras.Model
    lesson: Lesson
    settings: FinetuneSettings
    settle: Callable[[keras.Model], object]
    budget: TrainingBudget | None
    progress: Progress
    judge: Judge = field(init=False)
    best: list[np.ndarray] = field(init=False)
    best_look: Look = field(init=False)
    step: int = field(init=False, default=0)
    looks: list[Look] = field(init=False, default_factory=list)
    collapses: list[Collapse] = field(init=False, default_factory=list)

    def run(self) -> FinetuneReport:
        """Train, and leave the best weights in the model."""
        self.judge = Judge(
            holdout=self.lesson.holdout,
            losses=self.lesson.losses,
            batch_size=max(self.settings.batch_size, 256),
            count=None if self.budget is None else self.budget.count,
        )
        self.settle(self.model)
        self.best_look = self.judge.look(self.model, step=0, stage="start")
        self.best = values_of(self.model.variables)
        self.looks.append(self.best_look)
        interrupted = False
        steps = self.settings.steps
        width_steps = 0 if self.budget is None else round(self.settings.width_steps * steps)
        try:
            if self.budget is not None and width_steps:
                self._train(self._width_stage(self.budget, width_steps), 0, width_steps)
            restore(self.model.variables, self.best)
            self._train(self._weight_stage(width_steps), width_steps, steps)
        except KeyboardInterrupt:
            interrupted = True
        restore(self.model.variables, self.best)
        self.settle(self.model)
        return FinetuneReport(
            steps=self.step,
            best_step=self.best_look.step,
            start_loss=self.looks[0].loss,
            loss=self.best_look.loss,
            losses=tuple((look.step, look.loss) for look in self.looks),
            samples=len(self.lesson.train),
            holdout=len(self.lesson.holdout),
            width_steps=min(width_steps, self.step),
            looks=() if self.budget is None else tuple(self.looks),
            collapses=tuple(self.collapses),
            interrupted=interrupted,
        )

    @property
    def _rate(self) -> float:
        default = _RATE if self.budget is None else _BUDGET_RATE
        return default if self.settings.learning_rate is None else self.settings.learning_rate

    def _width_stage(self, budget: TrainingBudget, steps: int) -> WidthStage:
        return WidthStage(
            model=self.model,
            clone=self.clone,
            budget=budget,
            losses=self.lesson.losses,
            settings=self.settings,
            rate=self._rate,
            steps=steps,
            collapses=self.collapses,
        )

    def _weight_stage(self, before: int) -> WeightStage:
        rate = self._rate * (END_RATE if before else 1.0)
        return WeightStage(
            model=self.model,
            losses=self.lesson.losses,
            settings=self.settings,
            rate=rate,
            steps=max(self.settings.steps - before, 1),
        )

    def _train(self, stage: WidthStage | WeightStage, first: int, last: int) -> None:
        """The steps of one stage, with a look at the model now and then."""
        count = max(1, round(self.settings.evaluations * (last - first) / self.settings.steps))
        marks = {first + round((last - first) * n / count) for n in range(1, count + 1)}
        batches = Batches(self.lesson.train, self.settings.batch_size, self.settings.seed)
        ebops = stage.ebops()

        def after(step: int, loss: float) -> None:
            nonlocal ebops
            self.step = step
            stage.stepped(step, loss)
            if step in marks:
                self._consider(stage)
                stage.keep()
                ebops = stage.ebops()
            values = {"loss": loss, "held out": self.looks[-1].loss, "EBOPs": ebops}
            self.progress(Event(stage="finetune", done=step, total=self.settings.steps, values=values))

        with contextlib.suppress(StageEnd), stage.prepared() as trainer:
            Loop(trainer=trainer, batches=batches, callbacks=stage.callbacks, after=after).run(first, last)

    def _consider(self, stage: WidthStage | WeightStage) -> None:
        """Keep the model as it would be deployed now if it is the best so far, and allowed."""
        stage.deploy(self.settle)
        look = self.judge.look(self.model, step=self.step, stage=stage.name)
        self.looks.append(look)
        allowed = self.budget is None or self.budget.allows(look.ebops)
        if allowed and look.loss < self.best_look.loss:
            self.best, self.best_look = values_of(self.model.variables), look
