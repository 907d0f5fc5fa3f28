"""Checks and casts at the boundary: what leaves here is finite float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hgqify.errors import DataError

_REAL_KINDS = "buif"
_COLUMNS = 3  # of a table that a message names


def check_dtype(dtype: np.dtype, where: str) -> None:
    """Refuse what has no single real value per element.

    Raises:
        DataError: complex, object, string, date or structured arrays.
    """
    if dtype.kind in _REAL_KINDS:
        return
    remedy = {
        "c": "pass real and imaginary part as two channels",
        "O": "stack the samples to one array of numbers, all of one shape",
        "V": "stack its columns to one array: numpy.stack([data[name] for name in names], axis=-1)",
    }.get(dtype.kind, "convert it to numbers first")
    received = f"dtype {dtype}"
    if dtype.names is not None:
        received = "columns " + ", ".join(dtype.names[:_COLUMNS]) + ", ..." * (len(dtype.names) > _COLUMNS)
    raise DataError("the data must be real numbers", where=where, received=received, remedy=remedy)


def to_array(obj: Any, where: str) -> np.ndarray:
    """NumPy view or copy of an array-like (nested lists, tensors of any framework).

    Raises:
        DataError: it is none, is ragged, or holds no real numbers.
    """
    try:
        array = np.asarray(obj)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            "cannot be read as an array of numbers",
            where=where,
            received=f"{type(obj).__name__} ({error})",
            remedy="all samples must have one shape",
        ) from error
    check_dtype(array.dtype, where)
    return array


def finite_float32(array: np.ndarray, indices: Sequence[int] | np.ndarray | range, where: str) -> np.ndarray:
    """A float32 copy of a batch, checked.

    Args:
        array: batch of shape (n, ...), any real dtype.
        indices: position of each of the n samples in the data, for the message.
        where: file or input, for the message.

    Raises:
        DataError: an element is NaN or infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):
        cast = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(cast)
    if finite.all():
        return cast
    position = tuple(int(p) for p in np.argwhere(~finite)[0])
    value = array[position]
    bad = int(np.count_nonzero(~finite.reshape(len(cast), -1).all(axis=1)))
    what = f"sample {indices[position[0]]} holds a value that is not finite in float32"
    if len(position) > 1:
        what += f", at {position[1:]}"
    raise DataError(
        what,
        where=where,
        received=f"{value} ({bad} such sample{'s' if bad > 1 else ''} in this batch)",
        remedy="remove or repair these samples: ranges cannot be taken from them",
    )


def clean_labels(array: np.ndarray, indices: Sequence[int] | np.ndarray | range, where: str) -> np.ndarray:
    """Labels as they are if integer, as finite float32 otherwise."""
    if array.dtype.kind in "bui":
        return np.array(array, order="C")
    return finite_float32(array, indices, f"{where} (labels)")
