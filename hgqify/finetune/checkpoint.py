"""The state of a training on disk, from which one that was stopped goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.files import check_file_target, check_target, remove_partials
from hgqify.finetune.stored import Stored, changes, unpack, write

STATE_FILE = "training_state.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """All that a training needs to go on as if it had not been stopped.

    Attributes:
        record: numbers (of any size), text, None, and lists and dicts by text of them; no tuples, which
            would come back as lists.
        arrays: booleans, integers and floats of any shape, by name.
    """

    record: dict[str, Any]
    arrays: Mapping[str, np.ndarray]


class Checkpoints:
    """The latest state of one training, a single file in its folder.

    The file is replaced, never written over: a kill, a full disk or a power cut at any moment leaves the
    state before or the state after, whole. One process writes to a folder at a time.

    Args:
        folder: of the training; made when the first state is saved.
        made_from: fingerprints of all that the states follow from, by what the user calls it: "model",
            "settings", "calibration data", "version of hgqify".
        force: remove a state that is damaged or was made from something else, instead of refusing it.

    Raises:
        ExportError: the folder cannot be written to; or the state in it is damaged or was made from something
            else, and which.
    """

    def __init__(
        self, folder: str | os.PathLike[str], made_from: Mapping[str, str], *, force: bool = False
    ) -> None:
        checked = check_target(folder, force=True)
        self.path = checked / STATE_FILE
        self._made_from = dict(made_from)
        if checked.is_dir():
            check_file_target(self.path)
        remove_partials(checked, STATE_FILE)
        if force:
            self._remove_others()
        else:
            self._read()

    def save(self, state: TrainingState) -> None:
        """Replace the stored state; it outlasts everything once this returns.

        Raises:
            ExportError: it cannot be written; the state stored before is intact, and the message says how to
                go on from it.
        """
        stored = Stored(record=state.record, arrays=dict(state.arrays), made_from=self._made_from)
        write(self.path, stored, "the state of the training")

    def load(self) -> TrainingState | None:
        """The stored state, bit for bit; None if there is none.

        Raises:
            ExportError: it is damaged, cannot be read, or was made from something else.
        """
        stored = self._read()
        return None if stored is None else TrainingState(record=stored.record, arrays=stored.arrays)

    def remove(self) -> None:
        """Remove the stored state, if any."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Stored | None:
        content = self._content()
        if content is None:
            return None
        stored = unpack(content)
        if stored is None:
            raise ExportError(
                "the state of the training is damaged",
                where=str(self.path),
                received=f"{len(content):,} bytes that do not fit their checksum",
                remedy=_ANEW,
            )
        changed = changes(stored.made_from, self._made_from)
        if changed:
            raise ExportError(
                f"the folder holds the state of another training: {changed} changed",
                where=str(self.path),
                remedy=_ANEW,
            )
        return stored

    def _content(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ExportError(
                f"the state of the training cannot be read ({error.strerror})",
                where=str(self.path),
                remedy="make it readable, or choose another folder",
            ) from error

    def _remove_others(self) -> None:
        content = self._content()
        stored = None if content is None else unpack(content)
        if stored is None or changes(stored.made_from, self._made_from):
            self.remove()


_ANEW = "choose another folder, or start anew with --force (force=True)"
