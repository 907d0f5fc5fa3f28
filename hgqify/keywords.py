"""The keywords of `convert`, sorted into the settings of its stages."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from hgqify.calibrate import CalibrateSettings, Ranges
from hgqify.convert import ConvertSettings, with_uniform_bits
from hgqify.errors import RuleError
from hgqify.export import ProjectOptions
from hgqify.finetune import FinetuneSettings

_SETTINGS = {f.name for f in dataclasses.fields(ConvertSettings)}
_CALIBRATION = {f.name for f in dataclasses.fields(CalibrateSettings)}
_TRAINING = {f.name for f in dataclasses.fields(FinetuneSettings)}
PROJECT = {f.name for f in dataclasses.fields(ProjectOptions)}
"""Names of the options of the firmware project, which are no settings."""


def split_settings(
    settings: dict[str, Any], steps: int | None, seed: int
) -> tuple[ConvertSettings, CalibrateSettings, FinetuneSettings]:
    """Settings of the conversion, the calibration and the training from one set of keywords."""
    training = {name: settings[name] for name in settings if name in _TRAINING}
    calibration = {name: settings[name] for name in settings if name in _CALIBRATION}
    conversion = {name: settings[name] for name in settings if name not in _TRAINING | _CALIBRATION}
    if steps is not None:
        training["steps"] = steps
    unknown = [name for name in conversion if name not in {*_SETTINGS, "bits"}]
    if unknown:
        known = sorted(_SETTINGS | _CALIBRATION | _TRAINING | PROJECT)
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
        raise RuleError("unknown setting", received=", ".join(unknown), remedy=f"did you mean {near}?")
    found = (
        ConvertSettings(**with_uniform_bits(conversion)),
        CalibrateSettings(**calibration),
        FinetuneSettings(**{"seed": seed, **training}),
    )
    _refuse_wrapped_clips(*found[:2])
    return found


def _refuse_wrapped_clips(conversion: ConvertSettings, calibration: CalibrateSettings) -> None:
    """Ranges below what was seen are for activations that saturate.

    Raises:
        RuleError: all of them wrap.
    """
    if calibration.ranges is not Ranges.MINMAX and not conversion.overflow.mode.saturates:
        raise RuleError(
            f"ranges={str(calibration.ranges)!r} leaves values out, and "
            f"overflow={str(conversion.overflow)!r} would wrap them around",
            remedy="leave ranges out, or let activations saturate; single layers may wrap by rules, and hold "
            "all values seen",
        )
