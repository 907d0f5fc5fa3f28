"""What every data source offers: a shape, perhaps a size, and any number of passes over batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some samples: one array per model input, and their labels if the source has any.

    Attributes:
        inputs: finite float32 arrays of shape (samples, *shape), C-contiguous, owned by the batch.
        labels: array of shape (samples, ...), or None. Integers keep their type, floats are float32.
    """

    inputs: tuple[np.ndarray, ...]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.inputs[0].shape[0])


@runtime_checkable
class Source(Protocol):
    """Data that can be read in batches, again and again.

    Attributes:
        where: file name or description, for messages.
        shapes: shape of each input without the batch axis.
        names: name of each input where the user gave some (dicts, named arrays), else None.
        samples: number of samples, or None where only a full pass would tell. `len(source)` gives
            the same number and raises TypeError where it is unknown.
        has_labels: whether batches carry labels.
    """

    @property
    def where(self) -> str: ...

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]: ...

    @property
    def names(self) -> tuple[str, ...] | None: ...

    @property
    def samples(self) -> int | None: ...

    @property
    def has_labels(self) -> bool: ...

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, seed: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """One pass over the data.

        Args:
            batch_size: samples per batch; only the last batch may be smaller.
            seed: shuffles the pass, the same way for the same seed; None keeps the order of the data.
            limit: stop after this many samples.

        Raises:
            DataError: a NaN or infinity (the message names the sample), changing shapes, no samples.
        """
        ...
