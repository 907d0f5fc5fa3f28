"""The two stages of a training: widths together with weights, then weights in formats that stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np

from hgqify.finetune.archive import Stage
from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.callbacks import BudgetController, Collapse
from hgqify.finetune.controller import PriceController
from hgqify.finetune.deploy import deploy_within
from hgqify.finetune.devices import Placement
from hgqify.finetune.freeze import frozen_widths
from hgqify.finetune.judge import Look
from hgqify.finetune.losses import OutputLoss
from hgqify.finetune.optimizer import RelativeAdam, SplitOptimizer
from hgqify.finetune.own import OwnTraining
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.storage import numbered, taken
from hgqify.finetune.task import with_features
from hgqify.finetune.twin import make_twin
from hgqify.layers import copied, quantized_layers

END_RATE = 0.1
"""Where the learning rate of one stage ends and that of the next begins, as a part of the first."""

_AIM = 0.985  # of the budget: what is controlled is a count without settling
_WIDTH_MEMORY = 0.99  # of Adam's squares while widths move: gradients change as widths do
_COLLAPSES = 6  # so many, and widths stay as they are
_FEWER, _MORE = 0.85, 1.08  # times the EBOPs tried so far, where a drop allows them or not


class StageEnd(Exception):
    """A stage cannot go on; the next one can."""


class TrainingStage(Protocol):
    """What both stages have in common."""

    name: Stage
    callbacks: Sequence[keras.callbacks.Callback]

    def prepared(self) -> AbstractContextManager[keras.Model]: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def deploy(self, settle: Callable[[keras.Model], object]) -> None: ...
    def looked(self, look: Look) -> None: ...
    def record(self) -> dict[str, Any]: ...
    def arrays(self) -> dict[str, np.ndarray]: ...
    def resume(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None: ...


@dataclass(kw_only=True, eq=False)
class WeightStage:
    """Weights are trained in the model that will be deployed; its formats stay.

    Attributes:
        model: settled quantized model.
        losses: of each output and feature.
        settings: of the fine-tuning.
        own: the user's parts.
        rate: learning rate at the start.
        steps: in all.
        placement: where it is trained; on several devices that is a copy.
    """

    model: keras.Model
    losses: Sequence[OutputLoss]
    settings: FinetuneSettings
    own: OwnTraining
    rate: float
    steps: int
    placement: Placement
    name: Stage = Stage.WEIGHTS
    callbacks: Sequence[keras.callbacks.Callback] = field(init=False)
    _trained: keras.Model = field(init=False)
    _start: list[np.ndarray] = field(init=False, default_factory=list)
    _optimizer: keras.optimizers.Optimizer | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.callbacks = self.own.callbacks
        self._trained = self.model

    @contextmanager
    def prepared(self) -> Iterator[keras.Model]:
        """Within the block: a compiled model that shares the layers; the user's own stays as it was."""
        self._start = values_of(self.model.variables)
        if self.placement.distribution is not None:
            with self.placement.scope():
                self._trained = keras.models.clone_model(self.model, clone_function=copied)
            restore(self._trained.variables, self._start)
        with frozen_widths(self._trained):
            with self.placement.scope():
                trainer = self._compiled()
            yield trainer

    def _compiled(self) -> keras.Model:
        model = self._trained
        trainer = with_features(keras.Model(model.inputs, model.outputs), self.own)
        trained = trainer.trainable_variables
        schedule: Any = keras.optimizers.schedules.CosineDecay(self.rate, self.steps, alpha=0.01)
        optimizer = self.own.copied_optimizer()
        if optimizer is None:
            clip = self.settings.clip_norm
            optimizer = RelativeAdam(trained, learning_rate=schedule, global_clipnorm=clip)
        self._optimizer = optimizer
        compile_for(trainer, optimizer, self.losses)
        optimizer.build(trained)
        return trainer

    def stepped(self, step: int, loss: float) -> None:
        """See `WidthStage.stepped`."""

    def looked(self, look: Look) -> None:
        """Nothing to come back to: formats cannot be lost here."""

    def deploy(self, settle: Callable[[keras.Model], object]) -> None:
        """The model as it would be deployed now."""
        if self._trained is self.model:
            settle(self.model)
            return
        restore(self.model.variables, values_of(self._trained.variables))
        settle(self.model)
        restore(self._trained.variables, values_of(self.model.variables))

    def record(self) -> dict[str, Any]:
        """All of its state that is no array."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Its state, with the weights it began with: steps are relative to these."""
        return numbered("start", self._start) | numbered("now", values_of(self._state()))

    def resume(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a state; the model held the values of `begun` when this was prepared."""
        restore(self._state(), taken("now", arrays))

    def _state(self) -> list[keras.Variable]:
        optimizer: Any = self._optimizer
        return [*self._trained.variables, *optimizer.variables]


def begun(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The model's values at the beginning of the stage whose state this is; none of a `WidthStage`."""
    return taken("start", arrays)


@dataclass(kw_only=True, eq=False)
class WidthStage:
    """Widths and weights are trained in the twin of the model.

    Where a layer loses all of its bits, training goes back to the last look, at a tenth of the price. Where
    the budget is a drop, every look says whether fewer EBOPs are tried next, or more.

    Attributes:
        model: settled quantized model with allocated widths.
        clone: float model with the same layers.
        budget: to be kept.
        losses: of each output and feature.
        settings: of the fine-tuning.
        own: the user's parts.
        rate: learning rate at the start.
        steps: in all.
        collapses: what was trained away, and given back.
        placement: where it is trained.
    """

    model: keras.Model
    clone: keras.Model
    budget: TrainingBudget
    losses: Sequence[OutputLoss]
    settings: FinetuneSettings
    own: OwnTraining
    rate: float
    steps: int
    collapses: list[Collapse]
    placement: Placement
    name: Stage = Stage.WIDTHS
    twin: keras.Model = field(init=False)
    controller: BudgetController = field(init=False)
    callbacks: Sequence[keras.callbacks.Callback] = field(init=False)
    _fixed: int = field(init=False)
    _target: float = field(init=False)
    _fallen: Collapse | None = field(init=False, default=None)
    _kept: list[np.ndarray] = field(init=False, default_factory=list)
    _optimizer: keras.optimizers.Optimizer | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        with self.placement.scope():
            self.twin = make_twin(
                self.model,
                self.clone,
                self.budget.limits,
                seed=self.settings.seed,
                stochastic_rounding=self.settings.stochastic_rounding,
                width_gradient_part=1 if self.placement.distribution else self.settings.width_gradient_part,
            )
        self._target = float(self.budget.target_ebops)
        self._fixed = sum(
            layer.ebops() for layer in quantized_layers(self.model) if layer.name not in self.budget.limits
        )
        self.controller = BudgetController(
            self._wanted(),
            controller=PriceController(base=max(self.budget.price, 1e-12)),
            collapsed=self._fall,
        )
        self.callbacks = (self.controller, *self.own.callbacks)

    @contextmanager
    def prepared(self) -> Iterator[keras.Model]:
        """Within the block: the twin, compiled."""
        with self.placement.scope():
            trainer = self._compiled()
        self._kept = values_of(self._state())
        yield trainer

    def _compiled(self) -> keras.Model:
        rate = self.rate
        schedule: Any = keras.optimizers.schedules.CosineDecay(rate, self.steps, alpha=END_RATE)
        widths = [
            v.path
            for layer in quantized_layers(self.twin)
            if layer.name in self.budget.limits
            for quantizer in (layer.kq, *layer.iqs)
            for v in quantizer.trainable_variables
        ]
        trained = self.twin.trainable_variables
        scale = self.settings.width_rate / rate
        optimizer: keras.optimizers.Optimizer = RelativeAdam(
            trained, dict.fromkeys(widths, scale), learning_rate=schedule, beta_2=_WIDTH_MEMORY
        )
        others = self.own.copied_optimizer()
        if others is not None:
            optimizer = SplitOptimizer(others, optimizer, widths)
        trainer = with_features(self.twin, self.own)
        compile_for(trainer, optimizer, self.losses)
        optimizer.build(trained)
        self._optimizer = optimizer
        return trainer

    def looked(self, look: Look) -> None:
        """Remember this moment, to come back to; where a drop decides, aim at other EBOPs."""
        self._kept = values_of(self._state())
        if self.budget.max_drop is not None:
            factor = _FEWER if self.budget.allows(look.ebops, look.lost) else _MORE
            # What it started from is allowed: more EBOPs are of no use.
            self._target = min(self._target * factor, float(self.budget.target_ebops))
            self.controller.target_ebops = self._wanted()

    def stepped(self, step: int, loss: float) -> None:
        """Go back to the moment kept if this step ruined the model.

        Raises:
            StageEnd: it did so again and again.
        """
        if not math.isfinite(loss):
            self._fallen = Collapse(step=step, layer="")
        if self._fallen is None:
            return
        self.collapses.append(self._fallen)
        self._fallen = None
        restore(self._state(), self._kept)
        self.controller.calm()
        if len(self.collapses) >= _COLLAPSES:
            raise StageEnd

    def deploy(self, settle: Callable[[keras.Model], object]) -> None:
        """The model as it would be deployed now."""

        def settled() -> int:
            settle(self.model)
            return self.budget.count(self.model)

        deploy_within(self.twin, self.model, self.budget.limits, round(self._target), settled)

    def record(self) -> dict[str, Any]:
        """All of its state that is no array."""
        return {"controller": self.controller.record(), "target": self._target}

    def arrays(self) -> dict[str, np.ndarray]:
        """Its state, and the moment to come back to."""
        return numbered("now", values_of(self._state())) | numbered("kept", self._kept)

    def resume(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a state, prepared."""
        self._target = record["target"]
        self.controller.resume(record["controller"])
        self._kept = taken("kept", arrays)
        restore(self._state(), taken("now", arrays))

    def _fall(self, collapse: Collapse) -> None:
        self._fallen = collapse

    def _wanted(self) -> float:
        return max(_AIM * self._target - self._fixed, 1.0)

    def _state(self) -> list[keras.Variable]:
        optimizer: Any = self._optimizer
        return [*self.twin.variables, *optimizer.variables]


def compile_for(trainer: keras.Model, optimizer: Any, losses: Sequence[OutputLoss]) -> None:
    """Compile a model for the losses of its outputs."""
    functions = list(losses)
    trainer.compile(optimizer=optimizer, loss=functions if len(functions) > 1 else functions[0])


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copies: a backend may hand out the buffer that the next step overwrites."""
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def restore(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Give variables their values back."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
