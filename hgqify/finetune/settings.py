"""How to fine-tune."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from hgqify.errors import RuleError
from hgqify.finetune.devices import Devices

_SEEDS = 2**32
"""Seeds that Keras takes."""

_OF_WIDTHS = ("width_rate", "width_steps", "stochastic_rounding", "width_gradient_part")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """A short training of the weights with the float model as teacher.

    Attributes:
        steps: optimizer steps; 0 for no training.
        batch_size: samples per step.
        learning_rate: of Adam at the start, as a fraction of the size of the weights; falls to 1 % of it
            along a cosine. None: 1e-3, and 1e-2 under a budget, where there is more to be mended.
        width_rate: the same of trained widths, in bits; under a budget only.
        width_steps: share of the steps in which widths are trained, with the weights; then only weights are.
        stochastic_rounding: while widths are trained, weights and activations round up with the probability
            of what is dropped, so that steps smaller than an LSB are seen on average; what is judged and
            deployed rounds as ever. Under a budget only.
        width_gradient_part: 4 takes the gradient of activation widths from a quarter of every batch: steps
            are faster and need less memory, and that gradient is noisier. Under a budget only, and on one
            device: of several, the first would do all of that work.
        clip_norm: bound on the norm of the gradient of all weights.
        label_weight: share of the labels' cross-entropy in the loss, where labels are given; the rest is
            the teacher's.
        holdout: fraction of the data that chooses the best weights instead of training them.
        evaluations: how often the held-out part is looked at.
        min_samples: with fewer samples nothing is trained: the held-out part could not tell gain from luck.
        max_samples: at most this many samples are kept in memory, a random choice if there are more.
        devices: ALL splits every batch over all devices (JAX). Sums of gradients then round differently: the
            same devices give the same weights, others nearly the same.
        seed: of the order of the samples.

    Raises:
        RuleError: a value out of range.
    """

    steps: int = 200
    batch_size: int = 64
    learning_rate: float | None = None
    width_rate: float = 1e-2
    width_steps: float = 0.8
    stochastic_rounding: bool = False
    width_gradient_part: int = 1
    clip_norm: float = 1.0
    label_weight: float = 0.25
    holdout: float = 0.1
    evaluations: int = 8
    min_samples: int = 128
    max_samples: int = 16384
    devices: Devices = Devices.ONE
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (
            ("steps", 0),
            ("batch_size", 1),
            ("evaluations", 1),
            ("width_gradient_part", 1),
            ("min_samples", 2),
            ("max_samples", 2),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < low:
                raise RuleError(f"{name} must be a whole number, at least {low}", received=repr(value))
            object.__setattr__(self, name, int(value))  # NumPy's would not go into JSON
        if self.seed >= _SEEDS:
            raise RuleError("seed must be a whole number below 2**32", received=repr(self.seed))
        if self.devices not in [*Devices]:
            raise RuleError("devices must be 'one' or 'all'", received=repr(self.devices))
        object.__setattr__(self, "devices", Devices(self.devices))
        for name in ("learning_rate", "width_rate", "clip_norm"):
            value = getattr(self, name)
            if value is None and name == "learning_rate":
                continue
            if value is None or not (math.isfinite(value) and value > 0):
                raise RuleError(f"{name} must be a positive number", received=repr(value))
        if not 0 < self.holdout < 1:
            raise RuleError("holdout must lie between 0 and 1", received=repr(self.holdout))
        if not isinstance(self.stochastic_rounding, bool):
            raise RuleError(
                "stochastic_rounding must be true or false", received=repr(self.stochastic_rounding)
            )
        for name in ("label_weight", "width_steps"):
            if not 0 <= getattr(self, name) <= 1:
                raise RuleError(f"{name} must lie from 0 to 1", received=repr(getattr(self, name)))

    def of_widths(self) -> dict[str, Any]:
        """What is not as by default of the settings that only a training of widths, under a budget, reads."""
        chosen = {name: getattr(self, name) for name in _OF_WIDTHS}
        return {name: value for name, value in chosen.items() if value != getattr(type(self), name)}
