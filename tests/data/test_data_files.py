"""Data files: the three formats, what is mapped, and what is refused."""

import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from hgqify.data import collect, open_source
from hgqify.errors import DataError

X = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
Y = np.arange(10)


def write(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["x"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.hdf5"])
def test_formats_give_the_array(tmp_path: Path, name: str) -> None:
    source = open_source(write(tmp_path / name, x=X))
    assert source.shapes == ((3, 2),)
    assert len(source) == source.samples == 10
    batches = list(source.batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert all(batch.inputs[0].flags.owndata and batch.labels is None for batch in batches)
    np.testing.assert_array_equal(collect(source).inputs[0], X)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_labels_beside_the_inputs(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    batch = collect(open_source(path))
    np.testing.assert_array_equal(batch.inputs[0], X)
    np.testing.assert_array_equal(batch.labels, Y)
    test = collect(open_source(path, key="x_test"))
    np.testing.assert_array_equal(test.labels, Y[:2])


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_shuffled_pass_is_a_seeded_permutation(tmp_path: Path, name: str) -> None:
    source = open_source(write(tmp_path / name, x=X), labels=Y)
    first = collect(source, seed=3)
    again = collect(source, seed=3)
    other = collect(source, seed=4)
    np.testing.assert_array_equal(first.inputs[0], again.inputs[0])
    assert (first.labels != other.labels).any()
    np.testing.assert_array_equal(first.inputs[0], X[first.labels])
    np.testing.assert_array_equal(np.sort(first.labels), Y)


def test_compressed_archives_and_fortran_order(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", x=X, y=Y)
    batch = collect(open_source(tmp_path / "c.npz"))
    np.testing.assert_array_equal(batch.inputs[0], X)
    np.testing.assert_array_equal(batch.labels, Y)
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    np.testing.assert_array_equal(collect(open_source(tmp_path / "f.npy")).inputs[0], X)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(write(tmp_path / "a.npz", x=X).read_bytes())
    np.testing.assert_array_equal(collect(open_source(path)).inputs[0], X)


def test_several_inputs_by_name_and_by_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", left=X, right=X[:, 0], y=Y)
    source = open_source(path, names=("right", "left"))
    assert source.shapes == ((2,), (3, 2))
    assert source.names == ("right", "left")
    assert source.has_labels
    assert open_source(path, key=("left", "right")).shapes == ((3, 2), (2,))


def test_labels_from_another_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", x=X)
    np.save(tmp_path / "labels.npy", Y)
    np.testing.assert_array_equal(collect(open_source(path, labels=tmp_path / "labels.npy")).labels, Y)


@pytest.mark.parametrize("name", ["big.npy", "big.npz", "big.h5"])
@pytest.mark.parametrize("seed", [None, 0])
def test_memory_is_bounded_by_the_batch(tmp_path: Path, name: str, seed: int | None) -> None:
    rows, width, batch_size = 20_000, 256, 128
    path = write(tmp_path / name, x=np.zeros((rows, width), np.float32))
    batch_bytes = batch_size * width * 4
    tracemalloc.start()
    try:
        for _ in open_source(path).batches(batch_size, seed=seed, limit=5_000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A permutation of the rows, some batches, HDF5's chunk cache; far from the 20 MB of the array.
    assert peak < rows * 8 + 8 * batch_bytes + 1_000_000


def refused(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        collect(open_source(path, **options))
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_pickles_are_refused_unless_allowed(tmp_path: Path) -> None:
    objects = np.empty(2, object)
    objects[:] = [X[0], X[1]]
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=objects)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(X))
    assert "pickled" in refused(tmp_path / "o.npy")
    with pytest.raises(DataError, match="pickled"):
        open_source(tmp_path / "o.npz")
    assert "pickle" in refused(tmp_path / "p.pkl")
    for name in ("o.npy", "o.npz"):
        batch = collect(open_source(tmp_path / name, allow_pickle=True))
        np.testing.assert_array_equal(batch.inputs[0], X[:2])


@pytest.mark.parametrize("name", ["t.npy", "t.npz", "t.h5"])
@pytest.mark.parametrize("keep", [30, 200])
def test_truncated_files(tmp_path: Path, name: str, keep: int) -> None:
    path = write(tmp_path / name, x=X)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path)


def test_damaged_compressed_archive(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(50, 20)))
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        open_source(path)


def test_a_choice_only_the_user_can_make(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", first=X, second=X)
    assert "'first', 'second'" in refused(path)
    assert "no array 'third'" in refused(path, key="third")
    with pytest.raises(DataError, match="which array holds the labels"):
        open_source(write(tmp_path / "x.npy", x=X), labels=path)


def test_empty_arrays_and_archives(tmp_path: Path) -> None:
    for name in ("e.npy", "e.npz", "e.h5"):
        assert "empty" in refused(write(tmp_path / name, x=np.zeros((0, 4), np.float32)))
    np.savez(tmp_path / "none.npz")
    refused(tmp_path / "none.npz")
    h5py.File(tmp_path / "none.h5", "w").close()
    assert "no data sets" in refused(tmp_path / "none.h5")
