"""Data files that are none, are damaged, hold no numbers, or hold those of another model."""

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import good_input as good
import h5py
import keras
import numpy as np
import pytest
from keras import layers
from refusals import Bad, assert_told

import hgqify
from hgqify.progress import no_progress

X = good.samples()


def array(values: Any) -> Callable[[Path], None]:
    """An array as numpy.save writes it."""
    return lambda path: np.save(path, values, allow_pickle=True)


def samples(change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    """Good samples, changed in place."""

    def make(path: Path) -> None:
        x = X.copy()
        change(x)
        np.save(path, x)

    return make


def header(text: str) -> Callable[[Path], None]:
    """A .npy file of 40 bytes whose header says something else."""

    def make(path: Path) -> None:
        data = text.encode().ljust(118) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data + bytes(40))

    return make


def shaped(shape: str, descr: str = "'<f4'") -> Callable[[Path], None]:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def archive(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def hdf5(**sets: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, values in sets.items():
                file[name] = values

    return make


def unpacked_beyond_the_disk(path: Path) -> None:
    """A compressed member that says it is of 2^60 bytes, in the ZIP64 way (APPNOTE.TXT 4.5.3)."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x.npy", "w", force_zip64=True) as member,
    ):
        np.save(member, X)
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    start = data.index(b"PK\x01\x02")
    extra = struct.pack("<HHQ", 1, 8, 2**60)
    entry = bytearray(data[start:end])
    entry[24:28] = b"\xff\xff\xff\xff"
    entry[30:32] = struct.pack("<H", len(extra))
    tail = bytearray(data[end:])
    tail[12:16] = struct.pack("<I", len(entry) + len(extra))
    path.write_bytes(data[:start] + entry + extra + tail)


def flipped_chunk(path: Path) -> None:
    """Compressed data of which some bytes were changed."""
    with h5py.File(path, "w") as file:
        found = file.create_dataset("x", data=X, chunks=X.shape, compression="gzip")
        start = found.id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    for n in range(start + 20, start + 40):
        data[n] ^= 0xFF
    path.write_bytes(data)


def link_only(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["other"] = h5py.ExternalLink("/etc/secret.h5", "x")


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch marker",))


COPY = r"Copy or write the file again"
FORMATS = r"Give \.npy, \.npz or HDF5"
REPAIR = r"Remove or repair these samples"
PICKLED = r"pickled, which can run code.*Save it as an array of numbers"
OF_SHAPE = r"'features' expects samples of shape \(4,\); received: {}\. "
BAD = [
    Bad("no such file", lambda path: None, r"there is no such file\. Check the path", ".npy"),
    Bad("empty file", Path.touch, rf"the file is empty\. {FORMATS}", ".npy"),
    Bad("folder", Path.mkdir, rf"a folder is not a data file\. {FORMATS}", ""),
    Bad("pipe", os.mkfifo, r"not a regular file\. Copy it to a file", ".npy"),
    Bad("device", lambda path: path.symlink_to("/dev/zero"), r"not a regular file\. Copy it", ".npy"),
    Bad("text", lambda path: path.write_text("1,2,3,4\n"), rf"not a data file.*{FORMATS}", ".csv"),
    Bad("ROOT file", lambda path: path.write_bytes(b"root" + bytes(90)), r"a ROOT file.*uproot", ".root"),
    Bad("model", good.saved, r"holds no arrays.*not a model", ".keras"),
    Bad(
        "legacy model",
        lambda path: good.small_model().save(path),
        r"a model, not data\. Give the file",
        ".h5",
    ),
    Bad("weights", lambda path: good.small_model().save_weights(path), r"a model, not data", ".weights.h5"),
    # pickles
    Bad(
        "pickle",
        lambda path: path.write_bytes(pickle.dumps(Payload())),
        r"pickle, which can run.*numpy\.save",
        ".npy",
    ),
    Bad("objects", array(np.array([Payload()] * 3, object)), PICKLED, ".npy"),
    Bad("objects in an archive", archive(x=np.array([Payload()] * 3, object)), PICKLED, ".npz"),
    # damaged
    Bad("half an array", good.cut(array(X), 0.5), rf"truncated; .*shape \(40, 4\).*{COPY}", ".npy"),
    Bad("half a header", good.cut(array(X), 0.1), rf"header cannot be read.*{COPY}", ".npy"),
    Bad("half an archive", good.cut(archive(x=X), 0.5), rf"archive cannot be read.*{COPY}", ".npz"),
    Bad("half of HDF5", good.cut(hdf5(x=X), 0.5), rf"HDF5 file cannot be read.*{COPY}", ".h5"),
    Bad("changed chunk", flipped_chunk, rf"cannot be read.*{COPY}", ".h5"),
    Bad("header of another language", header("shape = (40, 4)"), rf"header cannot be read.*{COPY}", ".npy"),
    Bad(
        "header that runs",
        header("__import__('os').system('touch marker')"),
        r"header cannot be read",
        ".npy",
    ),
    Bad("nested header", header("(" * 6000), rf"header cannot be read.*{COPY}", ".npy"),
    Bad(
        "huge shape",
        shaped("(1099511627776, 4)"),
        rf"truncated; .*shape \(1099511627776, 4\).*{COPY}",
        ".npy",
    ),
    Bad("shape beyond integers", shaped("(4611686018427387904, 4)"), rf"{2**62}.*{COPY}", ".npy"),
    Bad("negative shape", shaped("(-10, 4)"), rf"\(-10, 4\).*{COPY}", ".npy"),
    Bad("huge elements", shaped("(40, 4)", "'<U500000000'"), rf"real numbers|truncated.*{COPY}", ".npy"),
    Bad("unknown type", shaped("(40, 4)", "'<q9'"), rf"header cannot be read.*{COPY}", ".npy"),
    Bad(
        "beyond the disk",
        unpacked_beyond_the_disk,
        r"1,152,921,504,606,846,976 bytes where [\d,]+ are free",
        ".npz",
    ),
    Bad(
        "archive without arrays",
        lambda path: good.write_archive(path, {"a.txt": b""}),
        r"no arrays.*savez",
        ".npz",
    ),
    Bad(
        "no array in the archive",
        lambda path: good.write_archive(path, {"x.npy": b"1"}),
        rf"header.*{COPY}",
        ".npz",
    ),
    Bad("HDF5 without data", hdf5(), r"holds no data sets\. Write", ".h5"),
    Bad("HDF5 linked elsewhere", link_only, r"holds no data sets.*link", ".h5"),
    Bad("HDF5 of nothing", hdf5(x=h5py.Empty("f4")), r"the data is empty", ".h5"),
    # no real numbers
    Bad("words", array(np.array(["a", "b"])), r"must be real numbers; received: dtype <U1\. Convert", ".npy"),
    Bad(
        "complex", array(X.astype(np.complex64)), r"must be real numbers.*\. Pass real and imaginary", ".npy"
    ),
    Bad(
        "dates", array(np.zeros((3, 4), "M8[s]")), r"must be real numbers; received: dtype datetime64", ".npy"
    ),
    Bad(
        "table",
        array(np.zeros(3, [(f"c{n}", "f4") for n in range(99)])),
        r"columns c0, c1, c2, \.\.\.",
        ".npy",
    ),
    Bad("HDF5 text", hdf5(x=["a", "b"]), r"must be real numbers; received: dtype object", ".h5"),
    Bad("HDF5 table", hdf5(x=np.zeros(3, [("pt", "f4"), ("eta", "f8")])), r"columns pt, eta\. ", ".h5"),
    # wrong numbers
    Bad(
        "NaN",
        samples(lambda x: x.__setitem__((7, 2), np.nan)),
        rf"sample 7 .*\(2,\); received: nan.*{REPAIR}",
        ".npy",
    ),
    Bad(
        "infinity",
        samples(lambda x: x.__setitem__((39, 0), np.inf)),
        rf"sample 39 .*inf \(1 such.*{REPAIR}",
        ".npy",
    ),
    Bad(
        "beyond float32",
        array(X.astype(float) * 1e300),
        rf"sample 0 .*not finite in float32.*{REPAIR}",
        ".npy",
    ),
    Bad(
        "as large as float32",
        array(np.full((40, 4), 3e38)),
        r"not finite or larger than 2\*\*60; received: 3e\+38\. Scale",
        ".npy",
    ),
    # wrong shapes
    Bad("empty", array(X[:0]), r"the data is empty; received: shape \(0, 4\)\. Give at least one", ".npy"),
    Bad("no features", array(X[:, :0]), r"the data is empty; received: shape \(40, 0\)", ".npy"),
    Bad("a number", array(np.float32(3)), r"a single number is not a set of samples", ".npy"),
    Bad("a sample", array(X[0]), OF_SHAPE.format(r"\(\)") + r"This looks like a single sample", ".npy"),
    Bad("fewer features", array(X[:, :3]), OF_SHAPE.format(r"\(3,\)") + r"Give data of the model's", ".npy"),
    Bad("an axis more", array(X[..., None]), OF_SHAPE.format(r"\(4, 1\)") + r"Remove the last axis", ".npy"),
    Bad("turned", array(X.T), OF_SHAPE.format(r"\(40,\)"), ".npy"),
    Bad("other shape", array(X.reshape(-1, 2, 2)), OF_SHAPE.format(r"\(2, 2\)") + r"The sizes agree", ".npy"),
    Bad("unclear", archive(p=X, q=X), r"which array.*'p', 'q'\. Call it 'x'.*--key", ".npz"),
    Bad("unclear HDF5", hdf5(p=X, q=X, r=X), r"which array.*'p', 'q', 'r'\. Call it 'x'.*--key", ".h5"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_data(bad: Bad, folder: Path, refused: Callable[[str], str]) -> None:
    name = bad.write(folder)
    message = refused(f"good.keras --calib {name}")
    assert_told(bad.told, message)
    assert not (folder / "marker").exists()


@pytest.fixture
def others(folder: Path) -> None:
    """Models with two inputs and with images, and data for them."""
    a, b = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b]))).save("two.keras")
    keras.Sequential([keras.Input((6, 5, 3)), layers.Conv2D(2, 2), layers.Flatten()]).save("images.keras")
    np.savez("named.npz", left=X, other=X[:, :2])
    np.savez("short.npz", left=X, right=X[:9, :2])
    np.savez("with_y.npz", x=X, y=np.zeros(7, int))
    np.save("first.npy", np.ones((8, 3, 6, 5), np.float32))
    np.save("turned.npy", np.ones((8, 5, 6, 3), np.float32))
    np.save("grey.npy", np.ones((8, 6, 5), np.float32))


LINES = {
    "good.keras": r"--calib",
    "good.keras --calib x.npy --key x": r"no array 'x'; .*one unnamed array\. Leave key \(--key\) out",
    "good.keras --calib named.npz --key nobody": r"no array 'nobody'; .*'left', 'other'\. Choose",
    "good.keras --calib named.npz --key left --key other": r"the model has 1 input; received: 2 arrays",
    "two.keras --calib x.npy": r"the model has 2 inputs; received: 1 array.*\. Give one array per input",
    "two.keras --calib named.npz": r"which array holds.*'left', 'other'.*'left', 'right'",
    "two.keras --calib short.npz": r"the same number of samples; received: .*left: 40, .*right: 9",
    "two.keras --calib named.npz --key other --key left": r"'left' expects .* \(4,\); received: \(2,\)",
    "images.keras --calib first.npy": r"\(6, 5, 3\); received: \(3, 6, 5\)\. .*transpose\(0, 2, 3, 1\)",
    "images.keras --calib turned.npy": r"\(6, 5, 3\); received: \(5, 6, 3\)\. .*transpose\(0, 2, 1, 3\)",
    "images.keras --calib grey.npy": r"\(6, 5, 3\); received: \(6, 5\)\. Give data",
    "good.keras --calib with_y.npz": r"one label per sample; received: labels of shape \(7,\) for 40 samples",
    "good.keras --calib with_y.npz --labels nobody": r"neither an array nor a file 'nobody'.*'x', 'y'\. Give",
    "good.keras --calib x.npy --labels none.npy": r"none\.npy: there is no such file",
    "good.keras --calib x.npy --labels named.npz": r"which array holds the labels is not clear.*Call it 'y'",
    "check good.keras": r"not a result of hgqify; received: a file\. Give the folder",
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.usefixtures("others")
def test_line(line: str, refused: Callable[[str], str]) -> None:
    assert_told(LINES[line], refused(line))


LABELS = [
    Bad("too few", array(np.zeros(7, int)), r"one label per sample; .*\(7,\) for 40 samples\. Pass", ".npy"),
    Bad("words", array(np.array(["cat"] * 40)), r"labels.*must be real numbers; received: dtype <U3", ".npy"),
    Bad("complex", array(np.zeros(40, complex)), r"labels.*must be real numbers", ".npy"),
    Bad("objects", array(np.array([Payload()] * 40, object)), PICKLED, ".npy"),
    Bad(
        "negative",
        array(np.full(40, -1)),
        r"fit no output.*from -1 to -1 for outputs.*\(3,\)\. Give classes",
        ".npy",
    ),
    Bad(
        "out of range",
        array(np.full(40, 9)),
        r"fit no output.*from 9 to 9 for outputs.*\(3,\)\. Give classes",
        ".npy",
    ),
    Bad("NaN", array(np.full(40, np.nan)), r"labels.*not finite", ".npy"),
    Bad("a number", array(np.int64(3)), r"one label per sample; .*\(\) for 40", ".npy"),
    Bad(
        "of another width",
        array(np.zeros((40, 7), np.float32)),
        r"fit no output.*of shape \(7,\).*\(3,\)\. Give classes",
        ".npy",
    ),
]


@pytest.mark.parametrize("bad", LABELS, ids=str)
def test_labels(bad: Bad, folder: Path, refused: Callable[[str], str]) -> None:
    name = bad.write(folder)
    assert_told(bad.told, refused(f"good.keras --calib x.npy --labels {name}"))
    assert not (folder / "marker").exists()


ODD = {
    "one sample": X[:1],
    "constant": np.zeros_like(X),
    "yes and no": X > 0,
    "tiny": X * np.float32(1e-30),
}


@pytest.mark.parametrize("what", ODD)
def test_what_looks_odd_and_is_not_bad(what: str) -> None:
    result = hgqify.convert(good.small_model(), ODD[what], finetune_steps=0, progress=no_progress)
    assert np.isfinite(result.model.predict(X, verbose=0)).all()
