"""From what the user has to a `Source`."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hgqify.data.arrays import ArraySource
from hgqify.data.files import read_columns
from hgqify.data.select import input_keys, label_key, listed
from hgqify.data.source import Source
from hgqify.data.stream import StreamSource, batch_count, dataset_passes
from hgqify.data.values import to_array
from hgqify.errors import DataError


def open_source(
    obj: Any,
    *,
    labels: Any = None,
    key: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    allow_pickle: bool = False,
) -> Source:
    """Open data for reading in batches.

    Args:
        obj: one of
            - path of a .npy, .npz or HDF5 file, told by its content;
            - an array of any framework, or nested lists of numbers;
            - a list or dict of arrays, one per model input;
            - a tuple (x, y), x as above;
            - a keras.utils.PyDataset;
            - an iterable of batches that can be iterated again (tf.data, DataLoader, a list of
              (x, y) tuples), or a function that returns a new iterator each time;
            - a Source, which is returned as it is.
        labels: array, path of a file, or name of an array in the file `obj`. None takes the array y
            (or y_train, y_test, labels) that stands beside x in the file.
        key: name of the input array in a file, or names, one per input.
        names: names of the model's inputs: they select arrays in files and order those of dicts.
        allow_pickle: unpickle arrays of Python objects. This can run code from the file.

    Raises:
        DataError: missing, empty, not readable as real numbers, pickled, or readable only once.
    """
    if isinstance(obj, ArraySource | StreamSource):
        return obj
    if isinstance(obj, str | os.PathLike):
        return _open_file(Path(obj), labels, key, names, allow_pickle)
    if key is not None:
        raise DataError(
            "key names an array in a file",
            received=f"{type(obj).__name__} with key={key!r}",
            remedy="drop key",
        )
    if isinstance(obj, tuple) and len(obj) in (2, 3):
        if labels is not None:
            raise DataError("labels are given twice: in the tuple and as labels", remedy="give them once")
        return open_source(obj[0], labels=obj[1], names=names, allow_pickle=allow_pickle)
    source = _open_arrays(obj, labels, names, allow_pickle)
    if source is not None:
        return source
    if labels is not None:
        raise DataError(
            "labels of a dataset must come with its batches",
            where=type(obj).__name__,
            remedy="let it yield (x, y), and drop labels",
        )
    return _open_stream(obj, names)


def _open_file(
    path: Path,
    labels: Any,
    key: str | Sequence[str] | None,
    names: Sequence[str] | None,
    allow_pickle: bool,
) -> Source:
    columns = read_columns(path, allow_pickle=allow_pickle)
    inputs = input_keys(columns, key=key, names=names, where=str(path))
    if labels is None:
        chosen = label_key(columns, inputs)
        labels = None if chosen is None else columns[chosen]()
    elif isinstance(labels, str) and labels in columns:
        labels = columns[labels]()
    elif isinstance(labels, str) and not Path(labels).suffix and not Path(labels).exists():
        raise DataError(
            f"there is neither an array nor a file {labels!r} for the labels",
            where=str(path),
            received=listed(tuple(columns)),
            remedy="give the name of one of these arrays, or of a file",
        )
    else:
        labels = _labels(labels, allow_pickle)
    return ArraySource(
        [columns[name]() for name in inputs],
        labels=labels,
        names=inputs if len(inputs) > 1 else None,
        where=str(path),
    )


def _labels(labels: Any, allow_pickle: bool) -> Any:
    if labels is None:
        return None
    if not isinstance(labels, str | os.PathLike):
        return to_array(labels, "labels")
    path = Path(labels)
    columns = read_columns(path, allow_pickle=allow_pickle)
    named = [name for name in ("y", "y_train", "y_test", "labels") if name in columns]
    if not named and len(columns) == 1:
        named = list(columns)
    if not named:
        raise DataError(
            "which array holds the labels is not clear",
            where=str(path),
            received="arrays " + ", ".join(repr(name) for name in columns),
            remedy="call it 'y'",
        )
    return columns[named[0]]()


def _open_arrays(obj: Any, labels: Any, names: Sequence[str] | None, allow_pickle: bool) -> Source | None:
    """A source over arrays in memory, or None if `obj` is not made of arrays."""
    order: Sequence[str] | None = None
    if isinstance(obj, Mapping):
        order = _dict_order(obj, names)
        parts = [obj[name] for name in order]
    elif _is_array(obj):
        parts = [obj]
    elif isinstance(obj, list | tuple) and obj and all(_is_array(part) for part in obj):
        parts = list(obj)
    elif isinstance(obj, list) and not any(isinstance(part, tuple | Mapping) for part in obj):
        if any(isinstance(part, list) and any(map(_is_array, part)) for part in obj):
            return None
        parts = [obj]
    else:
        return None
    arrays = [
        to_array(part, "data" if order is None else f"data[{order[n]!r}]") for n, part in enumerate(parts)
    ]
    return ArraySource(arrays, labels=_labels(labels, allow_pickle), names=order)


def _dict_order(obj: Mapping[str, Any], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(obj)
    if set(obj) != set(names):
        raise DataError(
            "the arrays must be named like the model's inputs",
            received=f"{sorted(obj)} for inputs {sorted(names)}",
        )
    return tuple(names)


def _is_array(obj: Any) -> bool:
    return hasattr(obj, "__array__") or (hasattr(obj, "shape") and hasattr(obj, "dtype"))


def _open_stream(obj: Any, names: Sequence[str] | None) -> Source:
    where = getattr(obj, "__name__", type(obj).__name__)
    if hasattr(type(obj), "__getitem__") and hasattr(type(obj), "num_batches"):
        # keras.utils.PyDataset, told by its interface so that Keras need not be imported here.
        if batch_count(obj) is None:
            raise DataError(
                "the dataset has no end", where=where, remedy="implement __len__: the number of batches"
            )
        return StreamSource(dataset_passes(obj), where=where, names=names)
    if isinstance(obj, Iterable):
        _check_repeatable(lambda: iter(obj), where)
        _check_finite(obj, where)
        return StreamSource(
            _fresh(lambda: obj), where=where, names=names, lists_are_pairs=hasattr(obj, "collate_fn")
        )
    if callable(obj):
        make: Callable[[], Any] = obj
        _check_repeatable(make, where)
        return StreamSource(_fresh(make), where=where, names=names)
    raise DataError(
        "cannot be read as data",
        received=type(obj).__name__,
        remedy="give a .npy, .npz or HDF5 file, arrays, a PyDataset or an iterable of batches",
    )


def _fresh(make: Callable[[], Iterable[Any]]) -> Callable[[int | None], Iterable[Any]]:
    return lambda _seed: make()


def _check_repeatable(make: Callable[[], Any], where: str) -> None:
    """Refuse what gives one iterator twice: its second pass would go on where the first one stopped."""
    first, second = make(), make()
    if first is second and iter(first) is first:
        raise DataError(
            "a generator or iterator can be read only once, and conversion reads the data several times",
            where=where,
            remedy="pass the function that makes it, not its result, or a list of batches",
        )


def _check_finite(obj: Any, where: str) -> None:
    """Refuse a tf.data pipeline that repeats for ever; its cardinality is -1 then."""
    cardinality = getattr(obj, "cardinality", None)
    if callable(cardinality) and int(cardinality()) == -1:  # type: ignore[call-overload]
        raise DataError("the dataset has no end", where=where, remedy="use take(n), or drop repeat()")
