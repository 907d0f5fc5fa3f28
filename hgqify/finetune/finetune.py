"""A short quantization-aware training with the float model as teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hgqify.calling import structured
from hgqify.data import Source, check_against, collect
from hgqify.errors import DataError
from hgqify.finetune.freeze import frozen_widths
from hgqify.finetune.losses import Loss, OutputLoss, make_loss
from hgqify.finetune.optimizer import RelativeAdam
from hgqify.finetune.settings import FinetuneSettings
from hgqify.layers import refresh, total_ebops
from hgqify.progress import Event, Progress, no_progress


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What fine-tuning did.

    Attributes:
        steps: optimizer steps taken.
        best_step: the step whose weights were kept; 0 for those before training.
        start_loss, loss: loss on the held-out samples before, and of the weights kept.
        losses: held-out loss by step, as evaluated.
        samples, holdout: samples trained on, and held out.
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
    interrupted: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """Samples with their targets."""

    inputs: list[np.ndarray]
    targets: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: np.ndarray) -> _Task:
        return _Task(inputs=[x[rows] for x in self.inputs], targets=[t[rows] for t in self.targets])


def finetune(
    model: keras.Model,
    teacher: keras.Model,
    source: Source,
    *,
    logits: Sequence[bool] | None = None,
    settings: FinetuneSettings | None = None,
    settle: Callable[[keras.Model], object] = refresh,
    progress: Progress = no_progress,
) -> FinetuneReport:
    """Train the weights of a calibrated model to give what the float model gives; formats stay.

    A part of the data is held out and measured now and then; the best weights by it are kept, and those
    the model came with if nothing is better, so that the result is never worse there than the start.
    Ctrl-C ends the training and keeps the best so far. The same seed gives the same weights.

    Args:
        model: calibrated quantized model; changed in place, its compiled state untouched.
        teacher: float model with the same inputs and outputs.
        source: data; its labels, if any, take part in the loss of the first output of logits.
        logits: for each output, whether it holds classification logits; None for none.
        settings: None for the defaults.
        settle: brings the model into the state it is deployed in after its weights moved, each time
            before it is judged: stored tables at least; `calibrate.settle` keeps float32 exact too.
        progress: hears of every step.

    Returns:
        The report. Stored tables are fresh afterwards.

    Raises:
        DataError: data or labels that do not fit the model.
    """
    settings = FinetuneSettings() if settings is None else settings
    check_against(source, [t.shape[1:] for t in model.inputs], [t.name for t in model.inputs])
    logits = [False] * len(model.outputs) if logits is None else list(logits)
    if len(logits) != len(model.outputs):
        raise DataError(
            f"the model has {len(model.outputs)} outputs, and logits must say so for each",
            received=f"{len(logits)} values",
        )
    task, losses = _prepare(teacher, source, logits, settings)
    if settings.steps == 0 or len(task) < settings.min_samples:
        note = "no steps" if settings.steps == 0 else f"{len(task)} samples are too few to train on"
        settle(model)
        return FinetuneReport(
            steps=0, best_step=0, start_loss=np.nan, loss=np.nan, losses=(), samples=0, holdout=0, note=note
        )
    order = np.random.default_rng(settings.seed).permutation(len(task))
    held = max(1, round(len(task) * settings.holdout))
    return _Training(
        model=model,
        losses=losses,
        train=task.take(order[held:]),
        holdout=task.take(order[:held]),
        settings=settings,
        settle=settle,
        progress=progress,
    ).run()


def _prepare(
    teacher: keras.Model, source: Source, logits: Sequence[bool], settings: FinetuneSettings
) -> tuple[_Task, list[OutputLoss]]:
    """Samples in memory with their targets, and the loss of each output."""
    many = source.samples is None or source.samples > settings.max_samples
    data = collect(source, settings.max_samples, seed=settings.seed if many else None)
    outputs = _predict(teacher, data.inputs, settings.batch_size)
    labels = data.labels
    losses: list[OutputLoss] = []
    for is_logits, output in zip(logits, outputs, strict=True):
        kind = Loss.KL if is_logits else Loss.MSE
        losses.append(make_loss(kind, output, labels if is_logits else None, settings.label_weight))
        if is_logits:
            labels = None  # labels name the classes of one output
    targets = [loss.targets(output) for loss, output in zip(losses, outputs, strict=True)]
    return _Task(inputs=list(data.inputs), targets=targets), losses


@dataclass(kw_only=True, eq=False)
class _Training:
    """One run: the loop, the best weights so far, the report."""

    model: keras.Model
    losses: list[OutputLoss]
    train: _Task
    holdout: _Task
    settings: FinetuneSettings
    settle: Callable[[keras.Model], object]
    progress: Progress
    best: list[np.ndarray] = field(init=False)
    best_loss: float = field(init=False)
    best_step: int = field(init=False, default=0)
    step: int = field(init=False, default=0)
    curve: list[tuple[int, float]] = field(init=False)

    def run(self) -> FinetuneReport:
        """Train, and leave the best weights in the model."""
        self.settle(self.model)
        self.best, self.best_loss = self._weights(), self._holdout_loss()
        self.curve = [(0, self.best_loss)]
        interrupted = False
        try:
            with frozen_widths(self.model), _compiled(self.model, self.losses, self.settings) as trainer:
                self._loop(trainer)
        except KeyboardInterrupt:
            interrupted = True
        self._restore(self.best)
        self.settle(self.model)
        return FinetuneReport(
            steps=self.step,
            best_step=self.best_step,
            start_loss=self.curve[0][1],
            loss=self.best_loss,
            losses=tuple(self.curve),
            samples=len(self.train),
            holdout=len(self.holdout),
            interrupted=interrupted,
        )

    def _loop(self, trainer: keras.Model) -> None:
        steps = self.settings.steps
        count = self.settings.evaluations
        marks = {round(steps * n / count) for n in range(1, count + 1)}
        ebops = float(total_ebops(self.model))
        for batch in self._batches():
            loss = trainer.train_on_batch(structured(trainer, batch.inputs), _one_or_all(batch.targets))
            self.step += 1
            if self.step in marks:
                self._consider()
                ebops = float(total_ebops(self.model))
            values = {"loss": float(np.ravel(loss)[0]), "held out": self.curve[-1][1], "EBOPs": ebops}
            self.progress(Event(stage="finetune", done=self.step, total=steps, values=values))

    def _batches(self) -> Iterator[_Task]:
        """Batches of one size, each epoch in another order; the remainder of an epoch is left out."""
        size = min(self.settings.batch_size, len(self.train))
        rng = np.random.default_rng((self.settings.seed, 1))
        given = 0
        while True:
            order = rng.permutation(len(self.train))
            for first in range(0, len(order) - size + 1, size):
                if given == self.settings.steps:
                    return
                given += 1
                yield self.train.take(order[first : first + size])

    def _consider(self) -> None:
        """Keep the weights as they are if they are the best so far."""
        self.settle(self.model)
        current = self._weights()
        loss = self._holdout_loss()
        self.curve.append((self.step, loss))
        if loss < self.best_loss:
            self.best, self.best_loss, self.best_step = current, loss, self.step

    def _holdout_loss(self) -> float:
        outputs = _predict(self.model, self.holdout.inputs, self.settings.batch_size)
        parts = [
            np.mean(np.asarray(loss(keras.ops.convert_to_tensor(t), keras.ops.convert_to_tensor(y))))
            for loss, t, y in zip(self.losses, self.holdout.targets, outputs, strict=True)
        ]
        return float(sum(parts))

    def _weights(self) -> list[np.ndarray]:
        # Copies: a backend may hand out the buffer that the next step overwrites.
        return [np.array(keras.ops.convert_to_numpy(v)) for v in self.model.variables]

    def _restore(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)


@contextmanager
def _compiled(
    model: keras.Model, losses: Sequence[OutputLoss], settings: FinetuneSettings
) -> Iterator[keras.Model]:
    """A model that shares the layers, compiled for training: the user's own stays as it was."""
    trainer = keras.Model(model.inputs, model.outputs)
    schedule: Any = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps, alpha=0.01)
    optimizer = RelativeAdam(
        trainer.trainable_variables, learning_rate=schedule, global_clipnorm=settings.clip_norm
    )
    functions = list(losses)
    trainer.compile(optimizer=optimizer, loss=functions if len(functions) > 1 else functions[0])
    yield trainer


def _one_or_all(arrays: list[np.ndarray]) -> list[np.ndarray] | np.ndarray:
    return arrays[0] if len(arrays) == 1 else arrays


def _predict(model: keras.Model, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    silent: Any = 0  # Keras declares a string and documents a number
    outputs = model.predict(structured(model, inputs), batch_size=batch_size, verbose=silent)
    return [np.asarray(y) for y in keras.tree.flatten(outputs)]
