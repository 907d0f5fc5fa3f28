"""A bounded number of samples as arrays."""

import numpy as np

from hgqify.data.source import Batch, Source


def collect(source: Source, limit: int | None = None, *, seed: int | None = None) -> Batch:
    """The first `limit` samples (or a shuffled choice, with a seed) as one batch in memory.

    Raises:
        DataError: as `Source.batches`.
    """
    parts = list(source.batches(256, seed=seed, limit=limit))
    labels = [part.labels for part in parts if part.labels is not None]
    return Batch(
        inputs=tuple(np.concatenate(columns) for columns in zip(*(p.inputs for p in parts), strict=True)),
        labels=np.concatenate(labels) if labels else None,
    )
