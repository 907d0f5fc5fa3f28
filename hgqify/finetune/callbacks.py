"""Keras callbacks of training under a budget; each works with `keras.Model.fit` too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.errors import BudgetError, RuleError
from hgqify.finetune.controller import PriceController, PriceState, advance, first
from hgqify.layers import EbopsPenalty, quantized_layers


def trained_model(callback: keras.callbacks.Callback) -> keras.Model:
    """The model that is trained with a callback: Keras types it as if there might be none."""
    model: Any = callback.model
    return model


def penalties(model: keras.Model) -> dict[str, EbopsPenalty]:
    """The prices of EBOPs in a model, by the name of the layer."""
    return {layer.name: layer.penalty for layer in quantized_layers(model) if layer.penalty is not None}


def counted_ebops(model: keras.Model) -> dict[str, float]:
    """EBOPs of every layer with a price, as counted in the last training step."""
    return {
        name: float(np.asarray(penalty.counted))
        for name, penalty in penalties(model).items()
        if penalty.trainable
    }


def set_price(model: keras.Model, price: float) -> None:
    """Give every layer the same price of one EBOP, in units of the loss."""
    for penalty in penalties(model).values():
        penalty.beta.assign(price)


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """A layer that lost all of its bits in training.

    Attributes:
        step: when.
        layer: its name.
    """

    step: int
    layer: str


class BudgetController(keras.callbacks.Callback):
    """Steers the price of EBOPs so that training stays at a budget.

    Every layer with ``enable_ebops`` adds ``beta * EBOPs`` to the loss; this sets beta. An optimizer with a
    short memory follows it sooner: Adam with ``beta_2=0.99``.

    Args:
        target_ebops: EBOPs wanted, as the layers count them.
        price: of one EBOP at the start, in units of the loss; None for one that makes EBOPs weigh 0.1 of a
            unit of the loss.
        every: steps between two changes of the price.
        ramp: steps over which what is wanted goes, evenly in logarithm, from the EBOPs at the start to the
            target. Bits that a high price takes all at once hardly come back: give some hundreds where the
            start is far from the target.
        controller: its settings; None for the defaults.
        collapsed: hears of a layer that lost all bits; None raises.

    Raises:
        RuleError: EBOPs or a price that are not positive, steps that are not whole numbers.
        BudgetError: nothing in the model has a price, or a layer collapsed.
    """

    def __init__(
        self,
        target_ebops: float,
        *,
        price: float | None = None,
        every: int = 1,
        ramp: int = 0,
        controller: PriceController | None = None,
        collapsed: Callable[[Collapse], None] | None = None,
    ) -> None:
        super().__init__()
        self.target_ebops = float(target_ebops)
        if not (math.isfinite(self.target_ebops) and self.target_ebops > 0):
            raise RuleError("the EBOPs wanted must be positive", received=repr(target_ebops))
        base = 0.1 / self.target_ebops if price is None else price
        self.controller = PriceController(base=base) if controller is None else controller
        self.every = _whole("every", every, 1)
        self.ramp = _whole("ramp", ramp, 0)
        self.state: PriceState | None = None
        self.step = 0
        self._collapsed = collapsed
        self._alive: set[str] = set()
        self._start = self.target_ebops

    def on_train_begin(self, logs: Any = None) -> None:
        """Set the first price."""
        if not penalties(trained_model(self)):
            raise BudgetError(
                "nothing in this model has a price of EBOPs",
                where=trained_model(self).name,
                remedy="make its layers with enable_ebops=True",
            )
        set_price(trained_model(self), self.controller.base if self.state is None else self.state.price)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count, and set the next price."""
        self.step += 1
        if self.step % self.every and self.state is not None:
            return
        found = counted_ebops(trained_model(self))
        total = sum(found.values())
        if self.state is None:
            self.state = first(self.controller, total)
            self._start = max(total, 1.0)
            self._alive |= {name for name, ebops in found.items() if ebops > 0}
        dead = sorted(name for name in self._alive if found[name] <= 0)
        if dead:
            self._report(Collapse(step=self.step, layer=dead[0]))
            return
        self.state = advance(self.controller, self.state, total, self._wanted(), self.every)
        set_price(trained_model(self), self.state.price)

    def calm(self) -> None:
        """Start anew from a tenth of the first price."""
        # Optimizers that normalize gradients hardly see a price halved once it is all there is.
        self.controller = dataclasses.replace(self.controller, base=self.controller.base / 10)
        self.state = None
        set_price(trained_model(self), self.controller.base)

    def record(self) -> dict[str, Any]:
        """Where it is, as numbers, texts and lists."""
        return {
            "target_ebops": self.target_ebops,
            "base": self.controller.base,
            "state": None if self.state is None else dataclasses.asdict(self.state),
            "step": self.step,
            "start": self._start,
            "alive": sorted(self._alive),
        }

    def resume(self, record: Mapping[str, Any]) -> None:
        """Go on from what `record` told."""
        self.target_ebops = record["target_ebops"]
        self.controller = dataclasses.replace(self.controller, base=record["base"])
        self.state = None if record["state"] is None else PriceState(**record["state"])
        self.step, self._start, self._alive = record["step"], record["start"], {*record["alive"]}

    def _wanted(self) -> float:
        """EBOPs wanted now."""
        part = min(1.0, self.step / self.ramp) if self.ramp else 1.0
        return self._start ** (1 - part) * self.target_ebops**part

    def _report(self, collapse: Collapse) -> None:
        if self._collapsed is None:
            raise BudgetError(
                f"all bits of a layer were trained away at step {collapse.step}",
                where=collapse.layer,
                remedy="start from a lower price, train widths more slowly, or raise the budget",
            )
        self._collapsed(collapse)


def _whole(name: str, value: int, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise RuleError(f"{name} must be a whole number, at least {low}", received=repr(value))
    return value


class EbopsLog(keras.callbacks.Callback):
    """Adds ``ebops`` to the logs of every epoch, as the layers counted them in its last step."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write into the logs, where History and others read."""
        if logs is not None:
            logs["ebops"] = sum(counted_ebops(trained_model(self)).values())
