"""The best models that one training passed through, in memory and on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hgqify.errors import ExportError, RuleError
from hgqify.files import check_file_target, check_target, remove_partials
from hgqify.finetune.stored import Stored, changes, unpack, write


class Stage(enum.StrEnum):
    """What was trained when a model was looked at."""

    START = "start"
    WIDTHS = "widths"
    WEIGHTS = "weights"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A model that the training passed through.

    Attributes:
        step: optimizer steps taken; 0 before training.
        stage: what was being trained.
        ebops: exact EBOPs.
        loss: on held-out samples.
        accuracy: per cent of held-out labels; None without labels.
        agreement: per cent of held-out samples with the class of the float model; None without classes.
        weights: values of the model's variables, in their order; never changed.
    """

    step: int
    stage: Stage
    ebops: int
    loss: float
    accuracy: float | None
    agreement: float | None
    weights: tuple[np.ndarray, ...]

    @property
    def name(self) -> str:
        """Tells it from all others of a training, and is a name for files."""
        # No two of an archive have the same EBOPs; with step and loss, nor do two at different times.
        return f"{int(self.step):07d}_{Stage(self.stage).value}_{int(self.ebops)}_{float(self.loss)!r}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive:
    """Models of which none is as good as another in EBOPs and loss, or better. Immutable.

    Attributes:
        limit: entries kept at most, at least 3; None for all. Of more, the one goes without which the front
            loses the least hypervolume (of loss and the logarithm of EBOPs). Those with the fewest EBOPs, the
            least loss and the least loss within ``budget`` always stay.
        budget: EBOPs by which one will be chosen; None if not known.
        front: the entries, fewest EBOPs first, and so by falling loss. Start empty, and `consider`.

    Raises:
        RuleError: a limit below 3.
    """

    limit: int | None = None
    budget: int | None = None
    front: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 3:
            raise RuleError("an archive keeps at least 3 entries", received=repr(self.limit))

    def consider(self, entry: Entry) -> Archive:
        """The archive with an entry, and without those that it dominates; itself where another dominates it.

        Of equals the one that was there stays. A loss that is not a number is no result, and never kept.
        """
        if math.isnan(entry.loss) or any(_as_good(other, entry) for other in self.front):
            return self
        kept = [other for other in self.front if not _as_good(entry, other)]
        front = sorted([*kept, entry], key=lambda e: e.ebops)
        if self.limit is not None and len(front) > self.limit:
            del front[_dispensable(front, self.budget)]
        return dataclasses.replace(self, front=tuple(front))

    def best(self, ebops: float, at_least: float = 0.0) -> Entry | None:
        """The entry of least loss within a budget; None if there is none.

        Args:
            ebops: at most so many EBOPs.
            at_least: at least so many. An entry of so many that one of fewer dominates is not in the archive.
        """
        within = [entry for entry in self.front if at_least <= entry.ebops <= ebops]
        return min(within, key=lambda entry: entry.loss, default=None)


def _as_good(one: Entry, other: Entry) -> bool:
    return one.ebops <= other.ebops and one.loss <= other.loss


def _dispensable(front: list[Entry], budget: int | None) -> int:
    """Which entry to drop of a front of at least 4, fewest EBOPs first."""
    chosen = None if budget is None else sum(entry.ebops <= budget for entry in front) - 1

    def contribution(n: int) -> float:
        """Hypervolume that no other entry dominates."""
        return math.log(front[n + 1].ebops / front[n].ebops) * (front[n - 1].loss - front[n].loss)

    return min((n for n in range(1, len(front) - 1) if n != chosen), key=contribution)


_NAME = re.compile(rf"\d+_({'|'.join(Stage)})_\d+_[^_]+")


class ArchiveFolder:
    """The archive of one training on disk: a file for each entry, whole or not at all.

    A state that a crash leaves behind must find just the archive it had. So a training first calls `save`,
    then stores its state and in it ``[entry.name for entry in archive.front]``, and then calls `prune`; going
    on, it gives these names to `load`. One process writes to a folder at a time.

    Args:
        folder: for nothing else; made when the first entry is saved.
        made_from: fingerprints of all that the entries follow from, by what the user calls it.
        force: remove entries that were made from something else, instead of refusing them.

    Raises:
        ExportError: the folder cannot be written to, or holds entries made from something else, and which.
    """

    def __init__(
        self, folder: str | os.PathLike[str], made_from: Mapping[str, str], *, force: bool = False
    ) -> None:
        self._folder = check_target(folder, force=True)
        self._made_from = dict(made_from)
        self._whole: set[str] = set()  # names of files known to be
        if self._folder.is_dir():
            check_file_target(self._folder / "entry.npz")
        remove_partials(self._folder, "*.npz")
        found = {path: stored for path in self._files() if (stored := _read(path)) is not None}
        changed = {path: changes(stored.made_from, made_from) for path, stored in found.items()}
        others = [path for path, names in changed.items() if names]
        if others and not force:
            raise ExportError(
                f"the folder holds models of another training: {changed[others[0]]} changed",
                where=str(self._folder),
                received=f"{len(others)} of {len(found)} models",
                remedy="choose another folder, or start anew with --force (force=True)",
            )
        for path in others:
            path.unlink()

    def save(self, archive: Archive) -> None:
        """Write the entries that are not there yet; nothing is removed.

        Raises:
            ExportError: one cannot be written; those stored before are intact.
        """
        for entry in archive.front:
            if entry.name not in self._whole:
                write(self._path(entry.name), _packed(entry, self._made_from), "a model of the training")
                self._whole.add(entry.name)

    def prune(self, archive: Archive) -> None:
        """Remove the files of all other entries, and damaged ones."""
        names = {entry.name for entry in archive.front}
        for path in self._files():
            if path.stem not in names:
                self._whole.discard(path.stem)
                with contextlib.suppress(OSError):  # a file too many does no harm
                    path.unlink()

    def load(self, empty: Archive | None = None, *, only: Collection[str] | None = None) -> Archive:
        """The archive of the files that are whole.

        Args:
            empty: with the limit and the budget to keep; None for neither.
            only: names of entries; None for all.
        """
        entries: list[Entry] = []
        for path in self._files():
            stored = _read(path) if only is None or path.stem in only else None
            if stored is not None:
                self._whole.add(path.stem)
                entries.append(_entry(stored))
        return _considered(Archive() if empty is None else empty, entries)

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.npz") if _NAME.fullmatch(path.stem))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def _considered(archive: Archive, entries: Iterable[Entry]) -> Archive:
    for entry in sorted(entries, key=lambda entry: entry.step):
        archive = archive.consider(entry)
    return archive


def _packed(entry: Entry, made_from: dict[str, str]) -> Stored:
    record = {
        "step": int(entry.step),
        "stage": Stage(entry.stage).value,
        "ebops": int(entry.ebops),
        "loss": float(entry.loss),
        "accuracy": None if entry.accuracy is None else float(entry.accuracy),
        "agreement": None if entry.agreement is None else float(entry.agreement),
    }
    arrays = {f"weight {n}": array for n, array in enumerate(entry.weights)}
    return Stored(record=record, arrays=arrays, made_from=made_from)


def _entry(stored: Stored) -> Entry:
    record = {**stored.record, "stage": Stage(stored.record["stage"])}
    return Entry(**record, weights=tuple(stored.arrays.values()))


def _read(path: Path) -> Stored | None:
    """What a file holds; None if it is damaged."""
    try:
        return unpack(path.read_bytes())
    except OSError:
        return None
