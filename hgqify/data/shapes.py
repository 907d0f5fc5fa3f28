"""Does the data fit the model?"""

from collections.abc import Sequence

from hgqify.data.source import Source
from hgqify.errors import DataError


def check_against(
    source: Source, input_shapes: Sequence[Sequence[int | None]], names: Sequence[str] | None = None
) -> None:
    """Check a source against the inputs of a model.

    Args:
        source: the data.
        input_shapes: shape of each model input without the batch axis; None fits any length.
        names: names of the inputs, for the message.

    Raises:
        DataError: another number of inputs, or another shape; says what was expected and received.
    """
    expected = [tuple(shape) for shape in input_shapes]
    received = [tuple(shape) for shape in source.shapes]
    if len(expected) != len(received):
        shapes = ", ".join(map(str, received[:3])) + (", ..." if len(received) > 3 else "")
        remedy = "give one array per input, as a list, a dict by input name, or named arrays in a file"
        if len(expected) == 1:
            remedy = "if the arrays are single samples, stack them: numpy.stack(data)"
        raise DataError(
            f"the model has {_count(len(expected), 'input')}",
            where=source.where,
            received=f"{_count(len(received), 'array')} with samples of shape {shapes}",
            remedy=remedy,
        )
    for number, (want, have) in enumerate(zip(expected, received, strict=True)):
        if len(want) == len(have) and all(w is None or w == h for w, h in zip(want, have, strict=True)):
            continue
        name = f"input {names[number]!r}" if names else f"input {number}"
        raise DataError(
            f"{name} expects samples of shape {want}",
            where=source.where,
            received=str(have),
            remedy=_remedy(want, have, source.samples),
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _remedy(want: tuple[int | None, ...], have: tuple[int, ...], samples: int | None) -> str:
    if want == (*have, 1):
        return "add the channel axis: x[..., None]"
    if (*want, 1) == have:
        return "remove the last axis: x[..., 0]"
    if (samples, *have) == want:
        return "this looks like a single sample: add the sample axis, x[None]"
    if len(want) == len(have) > 1 and None not in want and sorted(map(str, want)) == sorted(map(str, have)):
        order = _order(want, have)
        return f"its axes stand in another order: x.transpose({', '.join(map(str, (0, *order)))})"
    if None not in want and _size(want) == _size(have):
        return f"the sizes agree: reshape to (samples, {', '.join(map(str, want))})"
    return "give data of the model's input shape, prepared as it was for training"


def _order(want: tuple[int | None, ...], have: tuple[int, ...]) -> list[int]:
    """Axes of the data, batch axis counted, in the order of the model's; channels first as channels last."""
    if (*have[1:], have[0]) == want:
        return [*range(2, len(have) + 1), 1]
    left = [*range(len(have))]
    order = []
    for size in want:
        axis = next(n for n in left if have[n] == size)
        left.remove(axis)
        order.append(axis + 1)
    return order


def _size(shape: tuple[int | None, ...]) -> int:
    size = 1
    for n in shape:
        size *= n or 1
    return size
