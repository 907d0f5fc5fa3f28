"""The two stages of a training: widths together with weights, then weights in formats that stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.callbacks import BudgetController, Collapse, counted_ebops
from hgqify.finetune.controller import PriceController
from hgqify.finetune.deploy import deploy_within
from hgqify.finetune.freeze import frozen_widths
from hgqify.finetune.losses import OutputLoss
from hgqify.finetune.optimizer import RelativeAdam
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.twin import make_twin
from hgqify.layers import quantized_layers, total_ebops

END_RATE = 0.1
"""Where the learning rate of one stage ends and that of the next begins, as a part of the first."""

_AIM = 0.985  # of the budget: what is controlled is a count without settling
_WIDTH_MEMORY = 0.99  # of Adam's squares while widths move: gradients change as widths do


_COLLAPSES = 6  # so many, and widths stay as they are


class StageEnd(Exception):
    """A stage cannot go on; the next one can."""


@dataclass(kw_only=True, eq=False)
class WeightStage:
    """Weights are trained in the model that will be deployed; its formats stay.

    Attributes:
        model: settled quantized model.
        losses: of each output.
        settings: of the fine-tuning.
        rate: learning rate at the start.
        steps: in all.
    """

    model: keras.Model
    losses: Sequence[OutputLoss]
    settings: FinetuneSettings
    rate: float
    steps: int
    name: str = "weights"
    callbacks: Sequence[keras.callbacks.Callback] = ()

    @contextmanager
    def prepared(self) -> Iterator[keras.Model]:
        """Within the block: a compiled model that shares the layers; the user's own stays as it was."""
        with frozen_widths(self.model):
            trainer = keras.Model(self.model.inputs, self.model.outputs)
            schedule: Any = keras.optimizers.schedules.CosineDecay(self.rate, self.steps, alpha=0.01)
            clip = self.settings.clip_norm
            optimizer = RelativeAdam(
                trainer.trainable_variables, learning_rate=schedule, global_clipnorm=clip
            )
            compile_for(trainer, optimizer, self.losses)
            yield trainer

    def keep(self) -> None:
        """Nothing to come back to: formats cannot be lost here."""

    def stepped(self, step: int, loss: float) -> None:
        """See `WidthStage.stepped`."""

    def ebops(self) -> float:
        """EBOPs for the progress."""
        return float(total_ebops(self.model))

    def deploy(self, settle: Callable[[keras.Model], object]) -> None:
        """The model as it would be deployed now."""
        settle(self.model)


@dataclass(kw_only=True, eq=False)
class WidthStage:
    """Widths and weights are trained in the twin of the model.

    Where a layer loses all of its bits, training goes back to the last look, at a tenth of the price.

    Attributes:
        model: settled quantized model with allocated widths.
        clone: float model with the same layers.
        budget: to be kept.
        losses: of each output.
        settings: of the fine-tuning.
        rate: learning rate at the start.
        steps: in all.
        collapses: what was trained away, and given back.
    """

    model: keras.Model
    clone: keras.Model
    budget: TrainingBudget
    losses: Sequence[OutputLoss]
    settings: FinetuneSettings
    rate: float
    steps: int
    collapses: list[Collapse]
    name: str = "widths"
    twin: keras.Model = field(init=False)
    controller: BudgetController = field(init=False)
    callbacks: Sequence[keras.callbacks.Callback] = field(init=False)
    _fallen: Collapse | None = field(init=False, default=None)
    _kept: list[np.ndarray] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.twin = make_twin(self.model, self.clone, self.budget.limits, seed=self.settings.seed)
        fixed = sum(
            layer.ebops() for layer in quantized_layers(self.model) if layer.name not in self.budget.limits
        )
        self.controller = BudgetController(
            max(_AIM * self.budget.target_ebops - fixed, 1.0),
            controller=PriceController(base=max(self.budget.price, 1e-12)),
            collapsed=self._fall,
        )
        self.callbacks = (self.controller,)

    @contextmanager
    def prepared(self) -> Iterator[keras.Model]:
        """Within the block: the twin, compiled."""
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
        optimizer = RelativeAdam(
            trained, dict.fromkeys(widths, scale), learning_rate=schedule, beta_2=_WIDTH_MEMORY
        )
        compile_for(self.twin, optimizer, self.losses)
        optimizer.build(trained)
        self.keep()
        yield self.twin

    def keep(self) -> None:
        """Remember this moment, to come back to."""
        self._kept = values_of(self._state())

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

    def _fall(self, collapse: Collapse) -> None:
        self._fallen = collapse

    def _state(self) -> list[keras.Variable]:
        return [*self.twin.variables, *self.twin.optimizer.variables]

    def ebops(self) -> float:
        """EBOPs for the progress: as counted in the last step."""
        return sum(counted_ebops(self.twin).values())

    def deploy(self, settle: Callable[[keras.Model], object]) -> None:
        """The model as it would be deployed now."""

        def settled() -> int:
            settle(self.model)
            return self.budget.count(self.model)

        deploy_within(self.twin, self.model, self.budget.limits, self.budget.target_ebops, settled)


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
