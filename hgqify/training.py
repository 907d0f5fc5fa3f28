"""What training has to keep of an allocation."""

from __future__ import annotations

import keras
import numpy as np

from hgqify.allocating import Allocated
from hgqify.finetune import Limits, TrainingBudget
from hgqify.precision import lower, total_ebops


def training_budget(allocated: Allocated) -> TrainingBudget:
    """The budget of a model whose widths were allocated, for `finetune`.

    Where the fewest EBOPs within a drop were asked for, training starts from those found.
    """
    fitted, report = allocated.fitted, allocated.report
    allocator = fitted.allocator
    limits = {}
    for layer in allocator.layers:
        weights, data = allocator.weights[layer.name], allocator.data[layer.name]
        limits[layer.name] = Limits(
            kernel_f=weights.finest,
            kernel_bits=int(layer.kq.config.b0),
            data_f=np.max(data.f, axis=0),
            data_bits=np.max(data.bits, axis=0),
        )
    return TrainingBudget(
        target_ebops=fitted.ebops if report.target_ebops is None else report.target_ebops,
        price=fitted.allocation.price,
        limits=limits,
        count=exact_ebops,
        max_drop=report.max_drop,
    )


def exact_ebops(model: keras.Model) -> int:
    """EBOPs of what the firmware would compute with a settled model."""
    return total_ebops(lower(model))
