"""A source over columns that can be indexed: arrays, memory maps, HDF5 data sets."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hgqify.data.source import Batch
from hgqify.data.values import check_dtype, clean_labels, finite_float32
from hgqify.errors import DataError


class ArraySource:
    """Samples along the first axis of one column per input.

    A column is anything with `shape`, `dtype` and indexing by slices and by increasing integer
    arrays. Only the rows of a batch are read. A shuffled pass draws a permutation of all rows (8
    bytes a sample) and reads each batch's rows in increasing order, as HDF5 demands.

    Args:
        columns: one per input, all with the same number of rows.
        labels: column of labels, or None.
        names: one name per input, or None.
        where: file name or description, for messages.

    Raises:
        DataError: no rows, rows that differ in number, or columns that hold no real numbers.
    """

    def __init__(
        self,
        columns: Sequence[Any],
        *,
        labels: Any = None,
        names: Sequence[str] | None = None,
        where: str = "data",
    ) -> None:
        self._columns = tuple(columns)
        self._labels = labels
        self.names = tuple(names) if names is not None else None
        self.where = where
        if not self._columns:
            raise DataError("there is no input array", where=where, remedy="give one array per model input")
        described = self._described()
        for column, label in zip(self._columns, described, strict=True):
            self._check_column(column, label)
        rows = [int(column.shape[0]) for column in self._columns]
        if len(set(rows)) > 1:
            raise DataError(
                "all inputs must have the same number of samples",
                where=where,
                received=", ".join(
                    f"{d.removeprefix(f'{where}, ')}: {r}" for d, r in zip(described, rows, strict=True)
                ),
            )
        self.samples = rows[0]
        if labels is not None:
            self._check_labels(labels)

    def _described(self) -> list[str]:
        if len(self._columns) == 1:
            return [self.where]
        names = self.names or [str(n) for n in range(len(self._columns))]
        return [f"{self.where}, input {name}" for name in names]

    @staticmethod
    def _check_column(column: Any, where: str) -> None:
        check_dtype(np.dtype(column.dtype), where)
        if column.shape is None:  # HDF5 has data sets without any
            raise DataError("the data is empty", where=where, remedy="give at least one sample")
        shape = tuple(column.shape)
        if not shape:
            raise DataError(
                "a single number is not a set of samples",
                where=where,
                received="shape ()",
                remedy="the first axis counts the samples",
            )
        if 0 in shape:
            raise DataError(
                "the data is empty", where=where, received=f"shape {shape}", remedy="give at least one sample"
            )

    def _check_labels(self, labels: Any) -> None:
        where = f"{self.where} (labels)"
        check_dtype(np.dtype(labels.dtype), where)
        shape = tuple(labels.shape)
        if not shape or shape[0] != self.samples:
            raise DataError(
                "there must be one label per sample",
                where=where,
                received=f"labels of shape {shape} for {self.samples} samples",
                remedy="pass labels of the same samples, in the same order",
            )

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(n) for n in column.shape[1:]) for column in self._columns)

    @property
    def has_labels(self) -> bool:
        return self._labels is not None

    def __len__(self) -> int:
        return self.samples

    def batches(
        self, batch_size: int, *, seed: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        if batch_size < 1:
            raise DataError("a batch needs at least one sample", received=f"batch_size={batch_size}")
        stop = self.samples if limit is None else min(limit, self.samples)
        order = None if seed is None else np.random.default_rng(seed).permutation(self.samples)
        for start in range(0, stop, batch_size):
            end = min(start + batch_size, stop)
            yield self._read(range(start, end) if order is None else order[start:end])

    def _read(self, indices: range | np.ndarray) -> Batch:
        inputs = tuple(
            finite_float32(_rows(column, indices, label), indices, label)
            for column, label in zip(self._columns, self._described(), strict=True)
        )
        if self._labels is None:
            return Batch(inputs=inputs)
        labels = _rows(self._labels, indices, f"{self.where} (labels)")
        return Batch(inputs=inputs, labels=clean_labels(labels, indices, self.where))


def _rows(column: Any, indices: range | np.ndarray, where: str) -> np.ndarray:
    try:
        if isinstance(indices, range):
            return np.asarray(column[indices.start : indices.stop])
        by_position = np.argsort(indices)
        rows = np.empty((len(indices), *column.shape[1:]), dtype=column.dtype)
        rows[by_position] = column[indices[by_position]]
    except OSError as error:  # HDF5 finds damage only when it reads
        raise DataError(
            f"samples cannot be read ({error})", where=where, remedy="copy or write the file again"
        ) from error
    return rows
