"""Callbacks for `keras.Model.fit`: the price of EBOPs by schedule, and when a training ends.

EBOPs are exact counts of one inference, in bits times bits; a price (beta) is in units of the loss for one
EBOP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from hgqify.errors import BudgetError, RuleError
from hgqify.finetune.callbacks import penalties, set_price, trained_model
from hgqify.layers import refresh, total_ebops

Schedule = Callable[[int], float]
"""From the number of epochs (or steps) done to the price of one EBOP."""


def log_ramp(start: float, end: float, over: int) -> Schedule:
    """``start * (end / start) ** (n / over)``, and ``end`` from n = ``over`` on.

    Args:
        start, end: prices, in units of the loss for one EBOP.
        over: epochs (or steps) from one to the other.

    Raises:
        RuleError: a price that is not positive, or nothing to ramp over.
    """
    if not (start > 0 and end > 0 and math.isfinite(start) and math.isfinite(end)):
        raise RuleError("a ramp goes between positive prices", received=f"{start} to {end}")
    if isinstance(over, bool) or not isinstance(over, int) or over < 1:
        raise RuleError("a ramp takes a whole number of epochs, at least 1", received=repr(over))
    return lambda n: float(start * (end / start) ** min(n / over, 1.0))


def steps(prices: Mapping[int, float]) -> Schedule:
    """A price that holds until the next one: ``{0: 1e-7, 50: 1e-6}``.

    Args:
        prices: from the epoch (or step) at which a price begins to the price, 0 among them.

    Raises:
        RuleError: no price at 0, or a negative one.
    """
    found = dict(sorted(prices.items()))
    if 0 not in found:
        raise RuleError("the first price begins at 0", received=dict(prices), remedy="add one: {0: ...}")
    if not all(price >= 0 and math.isfinite(price) for price in found.values()):
        raise RuleError("prices are finite and not negative", received=dict(prices))
    return lambda n: float(found[max(begin for begin in found if begin <= n)])


class BetaSchedule(keras.callbacks.Callback):
    """Sets the price of one EBOP by a schedule, before every epoch or step.

        model.fit(x, y, epochs=100, callbacks=[BetaSchedule(log_ramp(1e-8, 1e-5, 100))])

    The logs of every epoch get ``beta``.

    Args:
        schedule: from the number of epochs (steps) done, from 0, to the price in units of the loss.
        by_step: count steps of all fits with this callback instead of epochs.

    Raises:
        BudgetError: nothing in the model has a price.
        RuleError: the schedule gives a negative number or none.
    """

    def __init__(self, schedule: Schedule, *, by_step: bool = False) -> None:
        super().__init__()
        if not callable(schedule):
            raise RuleError(
                "a schedule is a function of the epoch",
                received=repr(schedule),
                remedy="use log_ramp or steps",
            )
        self._schedule = schedule
        self._by_step = by_step
        self._step = 0
        self.price: float | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """See that there is a price to set."""
        if not penalties(trained_model(self)):
            raise BudgetError(
                "nothing in this model has a price of EBOPs",
                where=trained_model(self).name,
                remedy="make its layers with enable_ebops=True",
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the epoch's price."""
        if not self._by_step:
            self._set(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the step's price."""
        if self._by_step:
            self._set(self._step)
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the price into the logs."""
        if logs is not None and self.price is not None:
            logs["beta"] = self.price

    def _set(self, done: int) -> None:
        price = float(self._schedule(done))
        if not (math.isfinite(price) and price >= 0):
            raise RuleError(
                "prices are finite and not negative", where=f"BetaSchedule at {done}", received=price
            )
        if price != self.price:
            set_price(trained_model(self), price)
            self.price = price


class StopAtEbops(keras.callbacks.Callback):
    """Ends the training after the first epoch whose model has no more than so many EBOPs.

    Args:
        ebops: the threshold, by the exact count.

    Raises:
        RuleError: a threshold that is not positive.
    """

    def __init__(self, ebops: float) -> None:
        super().__init__()
        self._limit = _positive(ebops)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count."""
        if _counted(trained_model(self)) <= self._limit:
            trained_model(self).stop_training = True


class EarlyStoppingUnderEbops(keras.callbacks.EarlyStopping):
    """`keras.callbacks.EarlyStopping` that looks only at epochs within a budget of EBOPs.

    Epochs above it are no improvement, do not count towards ``patience`` and are not restored: a training
    neither ends nor goes back to weights while widths are still on their way down.

    Args:
        ebops: the budget, by the exact count.
        **kwargs: of `keras.callbacks.EarlyStopping`.

    Raises:
        RuleError: a budget that is not positive.
    """

    def __init__(self, ebops: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._limit = _positive(ebops)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at this epoch if it is within the budget."""
        if _counted(trained_model(self)) <= self._limit:
            super().on_epoch_end(epoch, logs)


def _counted(model: keras.Model) -> int:
    """EBOPs after a training step, which leaves stored constants older than the weights."""
    refresh(model)
    return total_ebops(model)


def _positive(ebops: float) -> float:
    if not (math.isfinite(ebops) and ebops > 0):
        raise RuleError("a number of EBOPs is positive and finite", received=repr(ebops))
    return float(ebops)
