"""One training: its stages, the best model so far, the archive, and its state on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hgqify.finetune.archive import Archive, Entry, Stage
from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.callbacks import Collapse
from hgqify.finetune.checkpoint import TrainingState
from hgqify.finetune.devices import Placement, place
from hgqify.finetune.interrupt import between_steps
from hgqify.finetune.judge import Judge, Look
from hgqify.finetune.loop import Loop
from hgqify.finetune.report import FinetuneReport
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.stages import (
    END_RATE,
    StageEnd,
    TrainingStage,
    WeightStage,
    WidthStage,
    begun,
    restore,
    values_of,
)
from hgqify.finetune.storage import Storage, TrainingFolder, fingerprint, numbered, taken
from hgqify.finetune.task import Batches, Lesson
from hgqify.layers import total_ebops
from hgqify.progress import Event, Progress
from hgqify.version import hgqify_version

_RATE = 1e-3
_BUDGET_RATE = 1e-2
_ENTRIES = 16  # of the archive, at most
_DROP_LOOKS = 3  # so many times the evaluations, where every one moves the EBOPs aimed at
_STORE_EVERY = 1.0  # seconds, at least, between two states at the ends of epochs


@dataclass(kw_only=True, eq=False)
class Training:
    """One run.

    Attributes:
        model, clone: quantized, and float with the same layers.
        lesson: what to train on.
        settings: of the fine-tuning.
        settle: brings the model into the state it is deployed in.
        budget: to be kept; None for none.
        storage: where the state is kept; None to keep none.
        progress: hears of every step.
        archive: of the models it passed through, under a budget.
    """

    model: keras.Model
    clone: keras.Model
    lesson: Lesson
    settings: FinetuneSettings
    settle: Callable[[keras.Model], object]
    budget: TrainingBudget | None
    storage: Storage | None
    progress: Progress
    archive: Archive = field(init=False)
    _judge: Judge = field(init=False)
    _placement: Placement = field(init=False)
    _folder: TrainingFolder | None = field(init=False, default=None)
    _stored: float = field(init=False, default=0.0)
    _best: list[np.ndarray] = field(init=False)
    _best_look: Look = field(init=False)
    _ebops: int = field(init=False)  # when it was settled last: between looks constants are stale
    _step: int = field(init=False, default=0)
    _resumed_at: int | None = field(init=False, default=None)
    _looks: list[Look] = field(init=False, default_factory=list)
    _collapses: list[Collapse] = field(init=False, default_factory=list)

    def run(self) -> FinetuneReport:
        """Train, and leave the best weights in the model."""
        budget = self.budget
        self._placement = place(self.settings.devices, min(self.settings.batch_size, len(self.lesson.train)))
        self._judge = Judge(
            lesson=self.lesson,
            batch_size=max(self.settings.batch_size, 256),
            count=None if budget is None else budget.count,
            drops=budget is not None and budget.max_drop is not None,
        )
        self.archive = Archive(limit=_ENTRIES, budget=None if budget is None else budget.target_ebops)
        self.settle(self.model)
        self._ebops = total_ebops(self.model)
        state = self._open()
        if state is None:
            self._best_look = self._judge.look(self.model, step=0, stage=Stage.START)
            self._best = values_of(self.model.variables)
            self._noted(self._best_look)
        else:
            self._take_up(state)
        interrupted = False
        steps = self.settings.steps
        width_steps = 0 if budget is None else round(self.settings.width_steps * steps)
        try:
            if budget is not None and width_steps and not _is_at(state, Stage.WEIGHTS):
                self._train(self._width_stage(budget, width_steps), 0, width_steps, state)
                state = None
            restore(self.model.variables, self._best if state is None else begun(state.arrays))
            self._train(self._weight_stage(width_steps), width_steps, steps, state)
        except KeyboardInterrupt:
            interrupted = True
        restore(self.model.variables, self._best)
        self.settle(self.model)
        return FinetuneReport(
            steps=self._step,
            best_step=self._best_look.step,
            start_loss=self._looks[0].loss,
            loss=self._best_look.loss,
            losses=tuple((look.step, look.loss) for look in self._looks),
            samples=len(self.lesson.train),
            holdout=len(self.lesson.holdout),
            width_steps=min(width_steps, self._step),
            lost=self._best_look.lost,
            looks=() if budget is None else tuple(self._looks),
            collapses=tuple(self._collapses),
            interrupted=interrupted,
            resumed_at=self._resumed_at,
        )

    def _train(self, stage: TrainingStage, first: int, last: int, state: TrainingState | None) -> None:
        """The steps of one stage, from its first or from a state in it, with a look now and then."""
        evaluations = self.settings.evaluations
        if self._judge.drops and stage.name is Stage.WIDTHS:
            evaluations *= _DROP_LOOKS
        count = max(1, round(evaluations * (last - first) / self.settings.steps))
        marks = {first + round((last - first) * n / count) for n in range(1, count + 1)}
        own = self.lesson.own
        change = None if own.augment is None else self.lesson.renewed
        batches = Batches(self.lesson.train, self.settings.batch_size, self.settings.seed, change)

        def after(step: int, loss: float) -> None:
            self._step = step
            stage.stepped(step, loss)
            if step in marks:
                self._consider(stage)
            if step in marks or (step % batches.per_epoch == 0 and self._is_due()):
                self._store(stage)
            values = {"loss": loss, "held out": self._looks[-1].loss, "EBOPs": float(self._ebops)}
            self.progress(Event(stage="finetune", done=step, total=self.settings.steps, values=values))
            interrupt()

        # A Ctrl-C that waits is asked for at the end, also of a stage that ends by itself.
        with between_steps() as interrupt, contextlib.suppress(StageEnd), stage.prepared() as trainer:
            if state is not None:
                stage.resume(state.record["stage state"], state.arrays)
                first = self._step
            loop = Loop(
                trainer=trainer,
                batches=batches,
                callbacks=stage.callbacks,
                after=after,
                placement=self._placement,
            )
            loop.run(first, last)

    def _consider(self, stage: TrainingStage) -> None:
        """Keep the model as it would be deployed now if it is the best so far, and allowed."""
        stage.deploy(self.settle)
        look = self._judge.look(self.model, step=self._step, stage=stage.name)
        self._ebops = total_ebops(self.model) if look.ebops is None else look.ebops
        self._noted(look)
        budget, best = self.budget, self._best_look
        if budget is None:
            better = look.loss < best.loss
        else:
            better = budget.allows(look.ebops, look.lost) and budget.better(look, best)
        if better:
            self._best, self._best_look = values_of(self.model.variables), look
        stage.looked(look)

    def _noted(self, look: Look) -> None:
        self._looks.append(look)
        if look.ebops is not None:
            self.archive = self.archive.consider(
                Entry(
                    step=look.step,
                    stage=look.stage,
                    ebops=look.ebops,
                    loss=look.loss,
                    accuracy=look.accuracy,
                    agreement=look.agreement,
                    weights=tuple(values_of(self.model.variables)),
                )
            )

    def _open(self) -> TrainingState | None:
        """The folder of this very training, and the state in it that is to be taken up."""
        if self.storage is None:
            return None
        budget, lesson = self.budget, self.lesson
        settings = {**dataclasses.asdict(self.settings)}
        if budget is not None:
            settings |= {"target_ebops": budget.target_ebops, "max_drop": budget.max_drop}
        tasks = (lesson.train, lesson.holdout)
        self._folder = TrainingFolder(
            self.storage,
            {
                "model": fingerprint(values_of([*self.model.variables, *self.clone.variables])),
                "settings": repr(sorted(settings.items())),
                "optimizer": lesson.own.optimizer_text(),
                "features": repr(sorted(lesson.own.features.items())),
                "data": fingerprint(
                    array for task in tasks for array in (*task.inputs, *task.targets, task.weights)
                ),
                "version of hgqify": hgqify_version(),
            },
        )
        found = self._folder.load(self.archive)
        if found is None:
            return None
        state, self.archive = found
        return state

    def _take_up(self, state: TrainingState) -> None:
        record = state.record
        self._step = self._resumed_at = record["step"]
        self._looks = [_look(entry) for entry in record["looks"]]
        self._ebops = self._looks[-1].ebops or self._ebops
        self._best_look = _look(record["best"])
        self._best = taken("best", state.arrays)
        self._collapses = [Collapse(**entry) for entry in record["collapses"]]

    def _is_due(self) -> bool:
        return time.monotonic() - self._stored > _STORE_EVERY

    def _store(self, stage: TrainingStage) -> None:
        if self._folder is None:
            return
        record = {
            "step": self._step,
            "stage": stage.name.value,
            "stage state": stage.record(),
            "looks": [_plain(look) for look in self._looks],
            "best": _plain(self._best_look),
            "collapses": [dataclasses.asdict(collapse) for collapse in self._collapses],
        }
        self._folder.save(record, stage.arrays() | numbered("best", self._best), self.archive)
        self._stored = time.monotonic()

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
            own=self.lesson.own,
            rate=self._rate,
            steps=steps,
            collapses=self._collapses,
            placement=self._placement,
        )

    def _weight_stage(self, before: int) -> WeightStage:
        return WeightStage(
            model=self.model,
            losses=self.lesson.losses,
            settings=self.settings,
            own=self.lesson.own,
            rate=self._rate * (END_RATE if before else 1.0),
            steps=max(self.settings.steps - before, 1),
            placement=self._placement,
        )


def _is_at(state: TrainingState | None, stage: Stage) -> bool:
    return state is not None and state.record["stage"] == stage.value


def _plain(look: Look) -> dict[str, Any]:
    return {**dataclasses.asdict(look), "stage": look.stage.value}


def _look(record: Mapping[str, Any]) -> Look:
    return Look(**{**record, "stage": Stage(record["stage"])})
