"""Finished points on disk, so that an interrupted sweep goes on where it was.

A folder ``points`` holds one file per budget, written whole or not at all: the record as JSON, the variables
of the model as arrays, and the fingerprints of what the point was made from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.budget import AllocationReport
from hgqify.calibrate import Adjustment, Share
from hgqify.calibrated import Calibrated
from hgqify.errors import ExportError
from hgqify.files import atomic_write, check_target
from hgqify.pareto.job import Outcome, Prepared
from hgqify.report import Quality
from hgqify.version import hgqify_version

POINTS_FOLDER = "points"
_FORMATS = "calibrated formats"


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Check, before any work, that a sweep may be written to a folder, or gone on with there.

    Raises:
        ExportError: it holds something else than a sweep, or cannot be written.
    """
    return check_target(folder, force=True, marker=POINTS_FOLDER)


def fingerprint(prepared: Prepared, state: Calibrated) -> dict[str, str]:
    """Hashes of everything a point depends on, by what the user would call it."""
    batch = next(iter(state.source.batches(_HASHED, limit=_HASHED)))
    choices = [
        dataclasses.asdict(state.calibrating),
        state.seed,
        prepared.inputs is not None,
        sorted(prepared.proved),
    ]
    return {
        "version of hgqify": hgqify_version(),
        "model": _hash([prepared.clone.config], prepared.clone.weights),
        "settings": _hash([prepared.model.config, choices, state.logits], ()),
        "calibration data": _hash([], batch.inputs),
        "data judged on": _hash(
            [prepared.data_name, prepared.logits], [*prepared.data.inputs, prepared.data.labels]
        ),
        # What follows from the rest: ranges of all data, rules, how ranges are taken.
        _FORMATS: _hash([], prepared.model.weights),
    }


_HASHED = 512  # samples: those that the sensitivity is measured on


def _hash(values: Iterable[Any], arrays: Iterable[np.ndarray | None]) -> str:
    found = hashlib.sha256(json.dumps(list(values)).encode())
    for array in arrays:
        found.update(f"{None if array is None else (array.dtype.str, array.shape)}".encode())
        if array is not None:
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class Store:
    """The points of one sweep in its folder.

    Args:
        folder: of the sweep.
        made_from: see `fingerprint`.
        force: remove points that were made from something else, instead of refusing them.

    Raises:
        ExportError: the folder holds points that were made from something else; says from what.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, str], *, force: bool = False) -> None:
        self._folder = check_folder(folder) / POINTS_FOLDER
        self._made_from = dict(made_from)
        stored = {path: _made_from(path) for path in sorted(self._folder.glob("*.npz"))}
        others = {path: parts for path, parts in stored.items() if parts not in (None, self._made_from)}
        if others and not force:
            changed = {
                name
                for parts in others.values()
                for name in made_from
                if (parts or {}).get(name) != made_from[name]
            }
            if len(changed) > 1:
                changed.discard(_FORMATS)
            raise ExportError(
                f"the folder holds points of another sweep: the {' and the '.join(sorted(changed))} changed",
                where=str(folder),
                received=f"{len(others)} of {len(stored)} points",
                remedy="choose another output folder, or start anew with --force (force=True)",
            )
        for path in others:
            path.unlink()

    def load(self, target: int) -> Outcome | None:
        """The point of a budget; None if it is not there, or damaged."""
        try:
            with np.load(self._path(target), allow_pickle=False) as file:
                record = json.loads(str(file["record"]))
                weights = tuple(file[f"w{n}"] for n in range(record.pop("weights")))
        except _DAMAGE:
            return None
        allocation, quality = record.pop("allocation"), record.pop("quality")
        if allocation is not None:
            shares = tuple(Share(**share) for share in allocation.pop("shares"))
            allocation = AllocationReport(**allocation, shares=shares)
        adjustments = tuple(Adjustment(**entry) for entry in record.pop("adjustments"))
        return Outcome(
            **record,
            weights=weights,
            allocation=allocation,
            adjustments=adjustments,
            quality=None if quality is None else Quality(**quality),
        )

    def save(self, outcome: Outcome) -> None:
        """Write a point."""
        record = {
            **{f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)},
            "weights": len(outcome.weights),
            "quality": None if outcome.quality is None else dataclasses.asdict(outcome.quality),
            "allocation": None if outcome.allocation is None else dataclasses.asdict(outcome.allocation),
            "adjustments": [dataclasses.asdict(entry) for entry in outcome.adjustments],
        }
        content = io.BytesIO()
        arrays: dict[str, Any] = {f"w{n}": array for n, array in enumerate(outcome.weights)}
        np.savez_compressed(
            content,
            record=np.array(json.dumps(record)),
            made_from=np.array(json.dumps(self._made_from)),
            **arrays,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path(outcome.target_ebops), content.getvalue())

    def _path(self, target: int) -> Path:
        return self._folder / f"{target}.npz"


# What reading a file that is missing, cut off or something else can raise.
_DAMAGE = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile)


def _made_from(path: Path) -> dict[str, str] | None:
    """From what a stored point was made; None for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(str(file["made_from"]))
    except _DAMAGE:
        return None
