"""Under which budget a model is trained, and how EBOPs are counted for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from hgqify.finetune.twin import Limits

LEAST_USE = 0.95
"""Share of the budget that a trained model uses at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBudget:
    """What the training has to keep.

    Attributes:
        target_ebops: exact EBOPs of the deployed model, at most.
        price: of one EBOP in units of the loss, at which allocation ended: where the controller starts.
        limits: by name, of the layers whose widths are trained.
        count: exact EBOPs of a settled model.
    """

    target_ebops: int
    price: float
    limits: Mapping[str, Limits]
    count: Callable[[keras.Model], int]

    def allows(self, ebops: int | None) -> bool:
        """Whether so many EBOPs keep the budget and use it."""
        return ebops is not None and LEAST_USE * self.target_ebops < ebops <= self.target_ebops
