"""Which arrays of a file are inputs, and which are labels."""

from collections.abc import Iterable, Sequence

from hgqify.errors import DataError

_INPUT_KEYS = ("x", "x_train", "x_test")
_LABEL_KEYS = frozenset({"y", "y_train", "y_test", "labels"})


def input_keys(
    available: Iterable[str], *, key: str | Sequence[str] | None, names: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Names of the input arrays in a file.

    In this order: what `key` says; the model's input names, if all are there; x, x_train or x_test;
    the only array that is not called like labels.

    Raises:
        DataError: a key that is not there, or a choice that only the user can make.
    """
    keys = tuple(available)
    if key is not None:
        wanted = (key,) if isinstance(key, str) else tuple(key)
        missing = [name for name in wanted if name not in keys]
        if missing:
            raise DataError(
                f"there is no array {missing[0]!r}",
                where=where,
                received=listed(keys),
                remedy="choose one of them" if any(keys) else "leave key (--key) out",
            )
        return wanted
    if names and all(name in keys for name in names):
        return tuple(names)
    for name in _INPUT_KEYS:
        if name in keys:
            return (name,)
    rest = [name for name in keys if name not in _LABEL_KEYS]
    if len(rest) == 1:
        return (rest[0],)
    inputs = f" ({', '.join(map(repr, names))})" if names else ""
    raise DataError(
        "which array holds the inputs is not clear",
        where=where,
        received=listed(keys),
        remedy=f"call it 'x', name the arrays like the model's inputs{inputs}, or say which with key (--key)",
    )


def label_key(available: Iterable[str], inputs: Sequence[str]) -> str | None:
    """The label array that goes with the inputs: y for x, y_train for x_train, else y or labels."""
    keys = set(available) - set(inputs)
    paired = "y" + inputs[0][1:] if inputs[0] in _INPUT_KEYS else "y"
    if paired in keys:
        return paired
    return "labels" if "labels" in keys else None


def listed(keys: Sequence[str]) -> str:
    """The arrays of a file, for `received`."""
    return "arrays " + ", ".join(repr(key) for key in keys) if any(keys) else "one unnamed array"
