"""Where a training keeps its state and its models, so that it can go on after anything that stopped it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.files import check_target
from hgqify.finetune.archive import Archive, ArchiveFolder
from hgqify.finetune.checkpoint import STATE_FILE, Checkpoints, TrainingState

_MODELS = "models"


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where the state of a training is kept.

    Attributes:
        folder: for nothing else; made when there is something to keep.
        resume: go on from the state that is there, if any.
        force: without ``resume``, replace it; with it, replace what is of another training.
    """

    folder: str | os.PathLike[str]
    resume: bool = False
    force: bool = False

    def check(self) -> None:
        """Refuse what can be known to fail before any work.

        Raises:
            ExportError: the folder cannot be written to, holds something else, or a state that was neither
                asked for nor given up.
        """
        path = check_target(self.folder, force=True)
        state = path / STATE_FILE
        known = {STATE_FILE, _MODELS}
        others = [] if not path.is_dir() else [p.name for p in path.iterdir() if p.name not in known]
        others = [name for name in others if not name.endswith(".partial")]
        if others:
            raise ExportError(
                "the training folder holds something else",
                where=str(path),
                received=", ".join(sorted(others)[:3]),
                remedy="choose another folder",
            )
        if state.exists() and not (self.resume or self.force):
            raise ExportError(
                "there is the state of a training that was stopped",
                where=str(state),
                remedy="go on from it with --resume (resume=True), or start anew with --force (force=True)",
            )


class TrainingFolder:
    """The state and the archive of one training on disk.

    Args:
        storage: where.
        made_from: fingerprints of what the training follows from, by what the user calls it.

    Raises:
        ExportError: as `Checkpoints` and `ArchiveFolder`.
    """

    def __init__(self, storage: Storage, made_from: Mapping[str, str]) -> None:
        storage.check()
        folder = Path(storage.folder)
        self._checkpoints = Checkpoints(folder, made_from, force=storage.force)
        if not storage.resume:
            self._checkpoints.remove()
        self._models = ArchiveFolder(folder / _MODELS, made_from, force=storage.force or not storage.resume)
        if not storage.resume:
            self._models.prune(Archive())

    def load(self, empty: Archive) -> tuple[TrainingState, Archive] | None:
        """The state and the archive as they were at one moment; None without any."""
        state = self._checkpoints.load()
        if state is None:
            return None
        return state, self._models.load(empty, only=state.record["models"])

    def save(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], archive: Archive) -> None:
        """Store a moment, whole or not at all.

        Raises:
            ExportError: it cannot be written; what was stored before is intact.
        """
        self._models.save(archive)
        names = [entry.name for entry in archive.front]
        self._checkpoints.save(TrainingState(record={**record, "models": names}, arrays=arrays))
        self._models.prune(archive)


def fingerprint(arrays: Iterable[np.ndarray | None]) -> str:
    """The same for the same arrays, and for no others."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def numbered(name: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under a common name, for a file."""
    return {f"{name} {n}": array for n, array in enumerate(arrays)}


def taken(name: str, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What `numbered` named, in its order."""
    found = [int(key.removeprefix(f"{name} ")) for key in arrays if key.startswith(f"{name} ")]
    return [arrays[f"{name} {n}"] for n in range(len(found))]
