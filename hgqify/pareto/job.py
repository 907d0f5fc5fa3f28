"""One point of a sweep as a job that any process can do.

A job gets a `Prepared`, plain data that holds everything, and a budget; it builds the models anew from it.
What it gives depends on these two alone: not on the process, nor on the points done before.
"""

from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.budget import AllocationReport, Budget
from hgqify.calibrate import Adjustment, Allocator, Sensitivity, measure_sensitivity
from hgqify.calibrated import Calibrated
from hgqify.data import Batch, open_source
from hgqify.errors import BudgetError, ModelLoadError
from hgqify.fitting import Fitter, fitting_inputs, make_fitter
from hgqify.progress import Progress
from hgqify.quality import measure
from hgqify.report import Quality
from hgqify.settling import settle


@dataclass(frozen=True, kw_only=True, eq=False)
class Blueprint:
    """A Keras model as plain data.

    Attributes:
        config: its structure as JSON.
        weights: all its variables.
    """

    config: str
    weights: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, model: keras.Model) -> Blueprint:
        """What ``build`` needs to make a model like this one."""
        return cls(config=model.to_json(), weights=tuple(model.get_weights()))

    def build(self, weights: Sequence[np.ndarray] | None = None) -> keras.Model:
        """A new model; with other values of its variables if given.

        Raises:
            ModelLoadError: a function or layer of the model is not known in this process.
        """
        try:
            model = keras.models.model_from_json(self.config)
        except (TypeError, ValueError) as error:
            raise ModelLoadError(
                "the model cannot be built anew for a point of the sweep",
                received=str(error).strip().splitlines()[-1],
                remedy="register its own functions with keras.saving.register_keras_serializable, in a "
                "module that every worker imports",
            ) from error
        model.set_weights(list(self.weights if weights is None else weights))
        return model


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What calibration and sensitivity found, for all points.

    Attributes:
        model: calibrated quantized model: the widest formats.
        clone: float model with the same layers.
        sensitivity: of the loss.
        limit_ebops: of the widest formats, as the allocation counts them.
        inputs: samples that weights are refitted to; None to leave them as they are.
        proved: layers that must not overflow.
        margin: as calibrated with.
        logits: for each output, whether it holds class scores, told by the data judged on.
        data: the samples judged on.
        data_name: what they are.
    """

    model: Blueprint
    clone: Blueprint
    sensitivity: Sensitivity
    limit_ebops: int
    inputs: tuple[np.ndarray, ...] | None
    proved: frozenset[str]
    margin: int
    logits: tuple[bool, ...]
    data: Batch
    data_name: str

    def quality(self, clone: keras.Model, model: keras.Model) -> Quality:
        """How well a model does on the data judged on."""
        source = open_source(list(self.data.inputs), labels=self.data.labels)
        return measure(clone, model, source, logits=self.logits, limit=len(self.data), name=self.data_name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a job gives.

    Attributes:
        target_ebops: its budget.
        reason: why the budget cannot be met; empty if it was, and then there is the rest:
        quality: on the data judged on.
        allocation: how the bits were allocated.
        adjustments: what settling narrowed.
        weights: all variables of the model, formats included.
        seconds: of work.
    """

    target_ebops: int
    seconds: float
    reason: str = ""
    quality: Quality | None = None
    allocation: AllocationReport | None = None
    adjustments: tuple[Adjustment, ...] = ()
    weights: tuple[np.ndarray, ...] = ()


def prepare(
    state: Calibrated,
    *,
    logits: Sequence[bool],
    data: Batch,
    data_name: str,
    compensate: bool,
    progress: Progress,
) -> Prepared:
    """Measure what all points share.

    Args:
        state: a calibrated conversion; its model is not changed.
        logits, data, data_name: as in `Prepared`.
        compensate: refit weights.
        progress: hears of every batch.

    Raises:
        BudgetError: the model has nothing to allocate.
    """
    conversion = state.conversion
    measured = functools.partial(
        measure_sensitivity,
        conversion.clone,
        state.source,
        logits=state.logits,
        seed=state.seed,
        progress=progress,
    )
    allocator = Allocator(
        conversion.model, lambda found: measured(candidates=found), margin=state.calibrating.margin
    )
    return Prepared(
        model=Blueprint.of(conversion.model),
        clone=Blueprint.of(conversion.clone),
        sensitivity=allocator.sensitivity,
        limit_ebops=allocator.at_limits().ebops,
        inputs=fitting_inputs(state.conversion.clone, state.source) if compensate else None,
        proved=frozenset(conversion.proved),
        margin=state.calibrating.margin,
        logits=tuple(logits),
        data=data,
        data_name=data_name,
    )


class Worker:
    """Does points one after another; each starts from the calibrated model."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.model, self.clone = prepared.model.build(), prepared.clone.build()
        self.fitter: Fitter = make_fitter(
            self.model,
            self.clone,
            lambda _: prepared.sensitivity,
            inputs=prepared.inputs,
            settle=functools.partial(settle, proved=prepared.proved),
            margin=prepared.margin,
        )

    def point(self, target: int) -> Outcome:
        """The model under one budget, judged."""
        start = time.monotonic()
        # Settling narrows formats that no allocation sets: nothing of the point before may stay.
        self.model.set_weights(list(self.prepared.model.weights))
        try:
            fitted = self.fitter.fit(target)
            allocation = self.fitter.report(fitted, Budget(target_ebops=target))
        except BudgetError as error:
            return Outcome(target_ebops=target, reason=str(error), seconds=time.monotonic() - start)
        return Outcome(
            target_ebops=target,
            quality=self.prepared.quality(self.clone, self.model),
            allocation=allocation,
            adjustments=fitted.adjustments,
            weights=tuple(self.model.get_weights()),
            seconds=time.monotonic() - start,
        )


def packed(prepared: Prepared) -> np.ndarray:
    """As bytes in an array: joblib's backends send a large array to each worker once, not with each job."""
    return np.frombuffer(pickle.dumps(prepared), np.uint8)


def do_point(prepared: np.ndarray, target: int) -> Outcome:
    """One job: a budget, and what `packed` gave."""
    return Worker(pickle.loads(prepared.tobytes())).point(target)
