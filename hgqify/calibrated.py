"""Where a conversion stands between its calibration and what is made of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras

from hgqify.calibrate import Adjustment, BiasReport, CalibrateSettings, CalibrationReport, renewed
from hgqify.convert import Conversion, ConvertSettings
from hgqify.data import Source
from hgqify.equalizing import EqualizeReport
from hgqify.export import ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrated:
    """A calibrated conversion and what the later stages need.

    Attributes:
        conversion: its model is calibrated.
        source: the calibration data.
        calibration: what calibration saw and set.
        equalized, corrected: what equalisation and bias correction did, if they were asked for.
        logits: for each output, whether it holds class scores.
        settings: of the conversion.
        training: of the fine-tuning.
        project: how the firmware is written.
        settle: brings a model of this conversion into the state it is deployed in.
        calibrating: how ranges became formats.
        seed: of all randomness.
        seconds: what each stage took.
        recipe: what it was made from; None for a model that the recipe would not make again.
    """

    conversion: Conversion
    source: Source
    calibration: CalibrationReport
    equalized: EqualizeReport | None
    corrected: BiasReport | None
    logits: Sequence[bool]
    settings: ConvertSettings
    training: FinetuneSettings
    project: ProjectOptions
    settle: Callable[[keras.Model], tuple[Adjustment, ...]]
    calibrating: CalibrateSettings
    seed: int
    seconds: dict[str, float]
    recipe: Recipe | None = None

    def allocated(self, conversion: Conversion, adjustments: tuple[Adjustment, ...]) -> Calibrated:
        """The same with the formats that an allocation gave the model of ``conversion``."""
        report = renewed(self.calibration, conversion.model, adjustments)
        return dataclasses.replace(self, conversion=conversion, calibration=report)


@contextlib.contextmanager
def timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long the block takes, in seconds, under the stage's name."""
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)
