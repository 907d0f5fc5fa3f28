"""The price of an EBOP, steered so that training ends at the EBOPs asked for.

A controller on logarithms, so that it acts alike at every scale of loss and model:

    e     = log(EBOPs / target), EBOPs smoothed over some steps
    price = base * exp(gain * e + integral),    integral += rate * e

The power of e is bounded, and the integral stops where it would drive the price beyond (anti-windup): however
long EBOPs were far from the target, the price turns back as soon as they are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hgqify.errors import RuleError


@dataclass(frozen=True, kw_only=True)
class PriceController:
    """Settings of the controller.

    Attributes:
        base: price of one EBOP in units of the loss at which it starts: the allocation's multiplier.
        gain: of the error e.
        rate: of its integral, per step.
        smoothing: weight of the past in the smoothed EBOPs, per step.
        bound: exp(bound) is how far the price may leave the base.

    Raises:
        RuleError: a base that is not positive.
    """

    base: float
    gain: float = 20.0
    rate: float = 0.2
    smoothing: float = 0.9
    bound: float = 9.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.base) and self.base > 0):
            raise RuleError("the first price of an EBOP must be positive", received=repr(self.base))


@dataclass(frozen=True, kw_only=True)
class PriceState:
    """Where the controller is.

    Attributes:
        log_ebops: logarithm of the smoothed EBOPs.
        integral: of the error.
        price: of one EBOP, at present.
    """

    log_ebops: float
    integral: float
    price: float


def first(controller: PriceController, ebops: float) -> PriceState:
    """The state before training.

    Args:
        controller: the settings.
        ebops: at the start.
    """
    return PriceState(log_ebops=math.log(max(ebops, 1.0)), integral=0.0, price=controller.base)


def advance(
    controller: PriceController, state: PriceState, ebops: float, target: float, steps: int = 1
) -> PriceState:
    """The state after some more steps.

    Args:
        controller: the settings.
        state: before.
        ebops: counted now.
        target: EBOPs wanted now.
        steps: taken since.
    """
    past = controller.smoothing**steps
    log_ebops = past * state.log_ebops + (1 - past) * math.log(max(ebops, 1.0))
    e = log_ebops - math.log(target)
    bound = controller.bound
    push = max(-bound, min(bound, controller.gain * e))
    integral = state.integral + steps * controller.rate * e
    # No further than to where the price is at its bound; it does not turn back for the sake of that either.
    if e > 0:
        integral = min(integral, max(state.integral, bound - push))
    else:
        integral = max(integral, min(state.integral, -bound - push))
    power = max(-bound, min(bound, push + integral))
    return PriceState(log_ebops=log_ebops, integral=integral, price=controller.base * math.exp(power))
