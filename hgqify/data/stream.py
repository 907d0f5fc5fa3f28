"""A source over an iterable of ready-made batches: PyDataset, tf.data, DataLoader, generator functions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hgqify.data.source import Batch
from hgqify.data.values import clean_labels, finite_float32, to_array
from hgqify.errors import DataError

_POOL = 16  # a shuffled pass draws from a pool of this many batches


class StreamSource:
    """Batches that somebody else makes, cut anew to the size asked for.

    Args:
        passes: called with a seed or None for each pass; gives the items x, (x,), (x, y) or
            (x, y, sample weights), where x is an array, a list or a dict of arrays.
        where: description, for messages.
        names: the model's input names, which order dict items; None keeps the dict's order.
        lists_are_pairs: items of list type mean (x, y), as torch's DataLoader makes them.

    A shuffled pass fills a pool of 16 batches and permutes that, so memory stays bounded.

    Raises:
        DataError: no batch, shapes that change, labels that come and go, a second pass that is empty.
    """

    def __init__(
        self,
        passes: Callable[[int | None], Iterable[Any]],
        *,
        where: str,
        names: Sequence[str] | None = None,
        lists_are_pairs: bool = False,
    ) -> None:
        self._passes = passes
        self.where = where
        self._model_names = tuple(names) if names else None
        self._lists_are_pairs = lists_are_pairs
        self.names: tuple[str, ...] | None = None
        first = next(iter(passes(None)), None)
        if first is None:
            raise DataError("the data is empty", where=where, remedy="give at least one batch")
        columns, labels = self._split(first)
        self.shapes = tuple(tuple(int(n) for n in column.shape[1:]) for column in columns)
        self.has_labels = labels is not None
        self.samples = None

    def __len__(self) -> int:
        raise TypeError(f"{self.where}: the number of samples is known only after a pass")

    def batches(
        self, batch_size: int, *, seed: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        if batch_size < 1:
            raise DataError("a batch needs at least one sample", received=f"batch_size={batch_size}")
        random = None if seed is None else np.random.default_rng(seed)
        left = limit
        for batch in _recut(self._checked(seed), batch_size, random):
            if left is None:
                yield batch
                continue
            if left <= 0:
                return
            if len(batch) > left:
                batch = _slice(batch, 0, left)
            yield batch
            left -= len(batch)

    def _checked(self, seed: int | None) -> Iterator[Batch]:
        seen = 0
        for item in self._passes(seed):
            columns, labels = self._split(item)
            shapes = tuple(tuple(column.shape[1:]) for column in columns)
            if shapes != self.shapes or (labels is not None) != self.has_labels:
                raise DataError(
                    "all batches must have the structure of the first",
                    where=f"{self.where}, sample {seen}",
                    received=f"shapes {shapes}{'' if labels is None else ' with labels'} after {self.shapes}"
                    f"{' with labels' if self.has_labels else ''}",
                )
            rows = range(seen, seen + len(columns[0]))
            yield Batch(
                inputs=tuple(finite_float32(column, rows, self.where) for column in columns),
                labels=None if labels is None else clean_labels(labels, rows, self.where),
            )
            seen = rows.stop
        if not seen:
            raise DataError(
                "the data gave nothing on a later pass: it can be read only once",
                where=self.where,
                remedy="pass an object that can be iterated again, or a function that returns a new one",
            )

    def _split(self, item: Any) -> tuple[list[np.ndarray], np.ndarray | None]:
        labels = None
        if isinstance(item, tuple) or (self._lists_are_pairs and isinstance(item, list)):
            parts = list(item)
            if not 1 <= len(parts) <= 3:
                raise DataError(
                    "a batch must be x, (x, y) or (x, y, weights)",
                    where=self.where,
                    received=f"a tuple of {len(parts)}",
                    remedy="put several inputs into a list or dict: ([a, b], y)",
                )
            labels = parts[1] if len(parts) > 1 else None
            item = parts[0]
        if isinstance(item, Mapping):
            item = self._ordered(item)
        parts = list(item) if isinstance(item, list | tuple) else [item]
        columns = [to_array(part, self.where) for part in parts]
        if labels is not None:
            labels = to_array(labels, f"{self.where} (labels)")
        rows = {column.shape[0] if column.ndim else 0 for column in columns}
        if len(rows) != 1 or any(column.size == 0 for column in columns) or 0 in rows:
            raise DataError(
                "the arrays of a batch must hold the same number of samples, at least one",
                where=self.where,
                received=f"shapes {[column.shape for column in columns]}",
            )
        if labels is not None and (labels.ndim == 0 or len(labels) != len(columns[0])):
            raise DataError(
                "there must be one label per sample",
                where=self.where,
                received=f"labels of shape {labels.shape} for {len(columns[0])} samples",
            )
        return columns, labels

    def _ordered(self, item: Mapping[str, Any]) -> list[Any]:
        self.names = self._model_names or tuple(item)
        if set(item) != set(self.names):
            raise DataError(
                "the arrays of a batch must be named like the inputs",
                where=self.where,
                received=f"{sorted(item)} for inputs {sorted(self.names)}",
            )
        return [item[name] for name in self.names]


def batch_count(dataset: Any) -> int | None:
    """Number of batches of a keras PyDataset; None where it has no end or does not say."""
    try:
        return dataset.num_batches
    except NotImplementedError:
        return None


def dataset_passes(dataset: Any) -> Callable[[int | None], Iterator[Any]]:
    """Passes over a keras PyDataset: item by item, in an order permuted by the seed."""

    def passes(seed: int | None) -> Iterator[Any]:
        count = batch_count(dataset) or 0
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        for position in order:
            yield dataset[int(position)]

    return passes


def _recut(batches: Iterator[Batch], size: int, random: np.random.Generator | None) -> Iterator[Batch]:
    goal = size if random is None else size * _POOL
    pool: list[Batch] = []
    for batch in batches:
        pool.append(batch)
        if sum(map(len, pool)) < goal:
            continue
        joined = _shuffled(_join(pool), random)
        whole = len(joined) - len(joined) % size
        yield from (_slice(joined, start, start + size) for start in range(0, whole, size))
        pool = [_slice(joined, whole, len(joined))] if whole < len(joined) else []
    if pool:
        joined = _shuffled(_join(pool), random)
        yield from (_slice(joined, start, start + size) for start in range(0, len(joined), size))


def _join(pool: list[Batch]) -> Batch:
    if len(pool) == 1:
        return pool[0]
    inputs = tuple(np.concatenate(columns) for columns in zip(*(b.inputs for b in pool), strict=True))
    labels = [b.labels for b in pool if b.labels is not None]
    return Batch(inputs=inputs, labels=np.concatenate(labels) if labels else None)


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(
        inputs=tuple(column[start:stop].copy() for column in batch.inputs),
        labels=None if batch.labels is None else batch.labels[start:stop].copy(),
    )


def _shuffled(batch: Batch, random: np.random.Generator | None) -> Batch:
    if random is None:
        return batch
    order = random.permutation(len(batch))
    return Batch(
        inputs=tuple(column[order] for column in batch.inputs),
        labels=None if batch.labels is None else batch.labels[order],
    )
