"""How much the rows that a normalization brings to one size differ before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import keras
import numpy as np

from hgqify.calibrate.ranges import pad
from hgqify.calling import predict
from hgqify.data import Source
from hgqify.graph import Graph, build, float_factory

_SAMPLES = 1024
_OCTAVES = 4
"""Rows of normalizations that use one format lie within so many octaves: a format for the largest has so
many bits less for the smallest, and their squares twice as many."""
_RARE = 0.05
"""Share of the smallest rows that may lie deeper."""
_MOST_OCTAVES = 11
"""Of the table that gives a row's power of two."""
_BIAS = 200  # exponents of float32 from 0 on


class RowsLike(Protocol):
    """What is to be looked at (see `convert.lower_normalization.Rows`)."""

    @property
    def key(self) -> str: ...
    @property
    def tensor(self) -> str: ...
    @property
    def axes(self) -> tuple[int, ...]: ...
    @property
    def epsilon(self) -> float: ...


def row_sizes(
    graph: Graph, rows: Sequence[RowsLike], source: Source, *, batch_size: int = 256
) -> dict[str, tuple[int, int]]:
    """Which rows differ so much that one format cannot serve them, and their sizes.

    A size is ``floor(log2(m))`` of a row's largest magnitude m, at least the root of epsilon.

    Args:
        graph: float graph that has the tensors.
        rows: of its normalizations; those of one key count together.
        source: data; its first samples are looked at.
        batch_size: samples per batch.

    Returns:
        By key, the least and the greatest size that are worth telling apart.
    """
    if not rows:
        return {}
    model = _largest_model(graph, rows)
    counts = np.zeros((len(rows), 2 * _BIAS), np.int64)
    if source.samples is not None:
        batch_size = max(1, min(batch_size, source.samples))
    for batch in source.batches(batch_size, limit=_SAMPLES):
        outputs = predict(model, [pad(x, batch_size) for x in batch.inputs])
        for count, row, largest in zip(counts, rows, outputs, strict=True):
            m = np.maximum(largest[: len(batch)], np.sqrt(row.epsilon))
            _, exponents = np.frexp(m[m > 0])
            count += np.bincount(exponents.ravel() - 1 + _BIAS, minlength=2 * _BIAS)
    keys = dict.fromkeys(row.key for row in rows)
    found = {key: _spread(counts[[row.key == key for row in rows]].sum(axis=0)) for key in keys}
    return {key: sizes for key, sizes in found.items() if sizes is not None}


def _largest_model(graph: Graph, rows: Sequence[RowsLike]) -> keras.Model:
    """The largest magnitude of every row; only those leave the model."""
    model = build(dataclasses.replace(graph, output_structure=[row.tensor for row in rows]), float_factory)
    outputs = [
        keras.ops.max(keras.ops.abs(tensor), axis=row.axes)
        for tensor, row in zip(model.outputs, rows, strict=True)
    ]
    return keras.Model(model.inputs, outputs)


def _spread(counts: np.ndarray) -> tuple[int, int] | None:
    """Least and greatest size, of how many rows have each; None where they are alike."""
    seen = np.flatnonzero(counts)
    if not seen.size:
        return None
    highest = int(seen[-1])
    common = int(np.searchsorted(np.cumsum(counts), _RARE * counts.sum(), side="right"))
    if highest - common < _OCTAVES:
        return None
    lowest = max(int(seen[0]), highest - _MOST_OCTAVES + 1)
    return lowest - _BIAS, highest - _BIAS
