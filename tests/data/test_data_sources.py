"""Arrays and datasets in memory, shape checks, and the values that are refused."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from hgqify.data import Source, check_against, collect, open_source
from hgqify.errors import DataError

X = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
Y = np.arange(10)


class Batches(keras.utils.PyDataset):
    def __init__(self, size: int = 4, labels: bool = True) -> None:
        super().__init__()
        self.size, self.labels = size, labels

    def __len__(self) -> int:
        return (len(X) + self.size - 1) // self.size

    def __getitem__(self, index: int):
        rows = slice(index * self.size, (index + 1) * self.size)
        return (X[rows], Y[rows]) if self.labels else X[rows]


class Again:
    """Iterates its items anew each time, as tf.data does."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        return iter(self.items)


def generator() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, 10, 3):
        yield X[start : start + 3], Y[start : start + 3]


SOURCES = {
    "tuple": (X, Y),
    "tuple of lists": ([X], Y),
    "dataset": Batches(),
    "re-iterable": Again((X[:7], Y[:7]), (X[7:], Y[7:])),
    "weighted": Again((X, Y, np.ones(10))),
    "list of batches": [(X[:5], Y[:5]), (X[5:], Y[5:])],
    "generator function": generator,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_all_kinds_give_the_same_passes(kind: str) -> None:
    source = open_source(SOURCES[kind])
    assert isinstance(source, Source)
    assert source.shapes == ((3, 2),)
    assert source.has_labels
    for _ in range(2):
        batches = list(source.batches(4))
        assert [len(batch) for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([b.inputs[0] for b in batches]), X)
        np.testing.assert_array_equal(np.concatenate([b.labels for b in batches]), Y)


@pytest.mark.parametrize("kind", SOURCES)
def test_all_kinds_shuffle_by_seed(kind: str) -> None:
    source = open_source(SOURCES[kind])
    first, again, other = (collect(source, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()
    np.testing.assert_array_equal(np.sort(first.labels), Y)
    np.testing.assert_array_equal(first.inputs[0], X[first.labels])


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("limit", [1, 4, 6, 50])
def test_limit(kind: str, limit: int) -> None:
    assert len(collect(open_source(SOURCES[kind]), limit)) == min(limit, 10)


def test_a_stream_is_cut_without_holding_it() -> None:
    """At most the pool is drawn ahead of what was asked for."""
    drawn = []

    def long() -> Iterator[np.ndarray]:
        for number in range(100):
            drawn.append(number)
            yield np.full((8, 2), number, np.float32)

    source = open_source(long)
    drawn.clear()
    next(source.batches(8))
    assert len(drawn) == 1
    drawn.clear()
    next(source.batches(8, seed=0))
    assert len(drawn) == 16


def test_several_inputs() -> None:
    other = np.ones((10, 5), np.float32)
    for obj in ([X, other], {"a": X, "b": other}, Again([X, other]), Again({"a": X, "b": other})):
        batch = collect(open_source(obj))
        np.testing.assert_array_equal(batch.inputs[0], X)
        np.testing.assert_array_equal(batch.inputs[1], other)
    for obj in ({"a": X, "b": other}, Again({"a": X, "b": other})):
        source = open_source(obj, names=("b", "a"))
        assert source.shapes == ((5,), (3, 2))
        assert source.names == ("b", "a")
        with pytest.raises(DataError, match="named like the"):
            open_source(obj, names=("b", "c"))
    with pytest.raises(DataError, match="same number of samples"):
        open_source([X, other[:4]])


def test_a_data_loader_gives_pairs_as_lists() -> None:
    class Loader(Again):
        collate_fn = None

    batch = collect(open_source(Loader([X[:4], Y[:4]], [X[4:], Y[4:]])))
    np.testing.assert_array_equal(batch.inputs[0], X)
    np.testing.assert_array_equal(batch.labels, Y)


def test_opening_a_source_returns_it() -> None:
    source = open_source(X)
    assert open_source(source) is source


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64", "bool"])
def test_real_numbers_become_float32(dtype: str) -> None:
    data = np.array([[0, 1], [1, 0]], dtype)
    batch = collect(open_source(data))
    assert batch.inputs[0].dtype == np.float32
    np.testing.assert_array_equal(batch.inputs[0], data.astype(np.float32))


def test_nested_lists_of_numbers() -> None:
    np.testing.assert_array_equal(collect(open_source([[1, 2], [3, 4]])).inputs[0], [[1, 2], [3, 4]])
    with pytest.raises(DataError, match="cannot be read as an array"):
        open_source([[1, 2], [3]])


def test_integer_labels_keep_their_type_and_floats_are_checked() -> None:
    assert collect(open_source(X, labels=Y.astype(np.uint8))).labels.dtype == np.uint8
    assert collect(open_source(X, labels=np.ones((10, 2)))).labels.dtype == np.float32
    with pytest.raises(DataError, match=r"sample 3 .*"):
        collect(open_source(X, labels=np.where(Y == 3, np.nan, 1.0)))
    with pytest.raises(DataError, match=r"one label per sample.*9.*10 samples"):
        open_source(X, labels=Y[:9])


@pytest.mark.parametrize(
    "data",
    [
        np.ones((2, 3), complex),
        np.array([["a", "b"]]),
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.zeros(2, [("a", "f4")]),
    ],
)
def test_other_types_are_refused(data: np.ndarray) -> None:
    with pytest.raises(DataError, match="real numbers"):
        open_source(data)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("seed", [None, 5])
def test_not_finite_values_name_the_sample(value: float, seed: int | None) -> None:
    bad = X.astype(np.float64)
    bad[7, 2, 1] = value
    for obj in (bad, Again(bad[:4], bad[4:])):
        source = open_source(obj)
        with pytest.raises(DataError, match=r"sample 7 .*at \(2, 1\)") as caught:
            list(source.batches(4, seed=seed))
        assert f"received: {value}" in str(caught.value)


@pytest.mark.parametrize("obj", [generator(), iter([X]), map(abs, [X])])
def test_what_can_be_read_once_is_refused(obj: object) -> None:
    with pytest.raises(DataError, match=r"only once.*Pass the function"):
        open_source(obj)


def test_one_iterator_given_twice_is_refused() -> None:
    items = iter([X, X])

    class Once:
        def __iter__(self) -> Iterator[np.ndarray]:
            return items

    for obj in (Once(), lambda: items):
        with pytest.raises(DataError, match="only once"):
            open_source(obj)


def test_a_second_pass_that_is_empty_is_refused() -> None:
    items = [X, X]

    class Drained:
        def __iter__(self) -> Iterator[np.ndarray]:
            while items:
                yield items.pop()

    source = open_source(Drained())
    collect(source)
    with pytest.raises(DataError, match="only once"):
        collect(source)


def test_streams_without_end_are_refused() -> None:
    class Repeated(Again):
        def cardinality(self) -> int:
            return -1

    class Endless(keras.utils.PyDataset):
        def __getitem__(self, index: int) -> np.ndarray:
            return X

    for obj in (Repeated(X), Endless()):
        with pytest.raises(DataError, match="no end"):
            open_source(obj)


@pytest.mark.parametrize(
    ("obj", "match"),
    [
        (Again(), "empty"),
        ([], "empty"),
        (X[:0], "empty"),
        (np.float32(3), "single number"),
        ({}, "no input array"),
        (42, "cannot be read as data"),
        (Again((X, Y, Y, Y)), "x, \\(x, y\\)"),
        (Again((X, Y[:3])), "one label per sample"),
        (Again([X, X[:2]]), "same number of samples"),
        (Again(X[:0]), "same number of samples, at least one"),
    ],
)
def test_malformed_data(obj: object, match: str) -> None:
    with pytest.raises(DataError, match=match):
        open_source(obj)


@pytest.mark.parametrize("second", [(X[:, :2], Y), X])
def test_batches_that_change_are_refused(second: object) -> None:
    source = open_source(Again((X, Y), second))
    with pytest.raises(DataError, match=r"structure of the first|sample 10"):
        collect(source)


def test_contradicting_arguments() -> None:
    with pytest.raises(DataError, match="given twice"):
        open_source((X, Y), labels=Y)
    with pytest.raises(DataError, match="come with its batches"):
        open_source(Batches(), labels=Y)
    with pytest.raises(DataError, match="key names an array"):
        open_source(X, key="x")
    with pytest.raises(DataError, match="batch_size=0"):
        list(open_source(X).batches(0))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((3, 2, 1), r"Add the channel axis: x\[..., None\]"),
        ((6,), r"reshape to \(samples, 6\)"),
        ((10, 3, 2), "single sample"),
        ((7,), "prepared as it was for training"),
    ],
)
def test_shape_mismatch_says_expected_and_received(shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(DataError, match=f"(?i){remedy}") as caught:
        check_against(open_source(X), [shape], ["image"])
    assert f"input 'image' expects samples of shape {shape}" in str(caught.value)
    assert "received: (3, 2)" in str(caught.value)


def test_shapes_that_fit() -> None:
    check_against(open_source(X), [(3, 2)])
    check_against(open_source(X), [(None, 2)])
    with pytest.raises(DataError, match="model has 2 inputs"):
        check_against(open_source(X), [(3, 2), (3, 2)])
    with pytest.raises(DataError, match=r"x\[..., 0\]"):
        check_against(open_source(X[..., None]), [(3, 2)])
    with pytest.raises(DataError, match=r"model has 1 input; received: 10 arrays .*, \.\.\.\. .*numpy.stack"):
        check_against(open_source(list(X)), [(3, 2)])
