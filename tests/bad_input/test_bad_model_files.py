"""Model files that are none, are damaged, or ask for more than they hold."""

import os
import pickle
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import good_input as good
import h5py
import numpy as np
import pytest
from refusals import Bad, assert_told

LARGE = 80 * 2**20
"""Bytes a bomb grows to."""


def png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


def damaged_config(path: Path) -> None:
    """One bit of the config's bytes: its checksum no longer fits."""
    files = good.saved(path)
    data = bytearray(path.read_bytes())
    data[data.index(files[good.CONFIG]) + 20] ^= 1
    path.write_bytes(data)


def zeros(name: str) -> Callable[[Path], None]:
    """A member of the archive that unpacks to many times its size."""

    def make(path: Path) -> None:
        files = good.saved(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for other, data in files.items():
                if other != name:
                    archive.writestr(other, data)
            with archive.open(name, "w") as member:
                for _ in range(LARGE >> 20):
                    member.write(b" " * 2**20)

    return make


def with_member(name: str, *, mode: int = 0) -> Callable[[Path], None]:
    """An archive with one more member."""

    def make(path: Path) -> None:
        files = good.saved(path)
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        with zipfile.ZipFile(path, "w") as archive:
            for other, data in files.items():
                archive.writestr(other, data)
            archive.writestr(info, b"/etc/passwd")

    return make


def twice(path: Path) -> None:
    """Two configs; which of them counts depends on who reads."""
    files = good.saved(path)
    other = good.CONFIG[:-1] + "m"  # zipfile warns of equal names, so the bytes are changed afterwards
    good.write_archive(path, {**files, other: b"{}"})
    path.write_bytes(path.read_bytes().replace(other.encode(), good.CONFIG.encode()))


def header_field(offset: int, value: int) -> Callable[[Path], None]:
    """A field of two bytes in the headers of the config changed (APPNOTE.TXT 4.3.7 and 4.3.12)."""

    def make(path: Path) -> None:
        good.saved(path)
        data = bytearray(path.read_bytes())
        name = good.CONFIG.encode()
        local, central = data.index(name) - 30, data.rindex(name) - 46
        for start in (local + offset, central + offset + 2):
            data[start : start + 2] = struct.pack("<H", value)
        path.write_bytes(data)

    return make


def hdf5(edit: Callable[[h5py.File], object] = lambda file: None) -> Callable[[Path], None]:
    """A legacy model changed in place."""

    def make(path: Path) -> None:
        model = path.with_name("made.h5")
        good.small_model().save(model)
        with h5py.File(model, "r+") as file:
            edit(file)
        model.rename(path)

    return make


HIDDEN = "layers/dense/vars/0"
LEGACY = "model_weights/hidden/small/hidden/kernel"
LINK = h5py.ExternalLink("/etc/secret.h5", "kernel")


def relinked(name: str, link: object) -> Callable[[h5py.File], None]:
    """A weight that stands elsewhere."""

    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return edit


def circle(file: h5py.File) -> None:
    """A group that holds itself, and no weights."""
    del file["layers/dense/vars"]
    file["layers/dense/vars"] = file["layers"]


def virtual(file: h5py.File) -> None:
    """The kernel, read from another file."""
    layout = h5py.VirtualLayout((4, 5), np.float32)
    layout[:] = h5py.VirtualSource("/etc/secret.h5", "kernel", shape=(4, 5))
    del file[HIDDEN]
    file.create_virtual_dataset(HIDDEN, layout)


def outside(file: h5py.File) -> None:
    """The kernel, read from the bytes of another file."""
    del file[HIDDEN]
    file.create_dataset(HIDDEN, (4, 5), np.float32, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def declared(file: h5py.File) -> None:
    """The kernel with far more numbers than the file has bytes."""
    del file[HIDDEN]
    file.create_dataset(HIDDEN, (2**20, 2**20), np.float32, chunks=(1024, 1024), compression="gzip")


def only_weights(path: Path) -> None:
    weights = path.with_name("made.weights.h5")
    good.small_model().save_weights(weights)
    weights.rename(path)


def folder_of_a_model(path: Path) -> None:
    path.mkdir()
    (path / good.CONFIG).write_text("{}")


def with_notes_only(path: Path) -> None:
    good.write_archive(path, {"notes.txt": b"no model"})


SAVE = r"save the model again with model\.save\('model\.keras'\)"
PASS = r"Pass a file that model\.save\(\) wrote"
TRAINED = r"Get the model from whoever trained it"
ELSEWHERE = r"stand in another file.*received: (layers/dense/vars/0|.*/kernel) in "
BAD = [
    Bad("no file", lambda path: None, r"the file does not exist\. Check the path"),
    Bad("empty file", Path.touch, rf"not a Keras model.*an empty file\. {PASS}"),
    Bad("text", lambda path: path.write_text("hello world"), rf"starts with b'hello wo'\. {PASS}"),
    Bad("picture", png, rf"starts with b'\\x89PNG.*{PASS}"),
    Bad("data for a model", lambda path: np.save(path, np.ones(3)), rf"not a Keras model.*{PASS}", ".npy"),
    Bad("pickle", pickled, r"a Python pickle, which can run code.*Save the model with model\.save"),
    Bad("folder", folder_of_a_model, r"a folder is not a Keras model.*SavedModel"),
    Bad("pipe", os.mkfifo, r"not a regular file\. Copy it to a file"),
    Bad("device", lambda path: path.symlink_to("/dev/zero"), r"not a regular file\. Copy it to a file"),
    Bad("link to itself", lambda path: path.symlink_to(path), r"cannot be read; received: Too many levels"),
    Bad("half an archive", good.cut(good.saved, 0.5), rf"damaged or truncated.*{SAVE}"),
    Bad("archive without its end", good.cut(good.saved, 0.99), rf"damaged or truncated.*{SAVE}"),
    Bad("changed bit", damaged_config, rf"config\.json.*cannot be unpacked.*CRC.*{SAVE}"),
    Bad("empty archive", lambda path: good.write_archive(path, {}), rf"received: an empty archive\. {PASS}"),
    Bad("another archive", with_notes_only, rf"holds no Keras model; received: notes\.txt\. {PASS}"),
    Bad("no config", good.with_files(config=None), rf"no Keras model; received: metadata.*{PASS}"),
    Bad("no weights", good.with_files(weights=None), rf"holds no weights; received: config.*{SAVE}"),
    Bad("config bomb", zeros(good.CONFIG), rf"received: 80 MiB from a file of \d+(\.\d+)? KiB.*{TRAINED}"),
    Bad("weights bomb", zeros(good.WEIGHTS), rf"received: 80 MiB from a file of \d+(\.\d+)? KiB.*{TRAINED}"),
    Bad("path upwards", with_member("../../marker"), rf"leaves its folder; received: .*marker\. {TRAINED}"),
    Bad("absolute path", with_member("/tmp/marker"), rf"leaves its folder; received: /tmp/m.*{TRAINED}"),
    Bad("path of Windows", with_member("..\\marker"), rf"leaves its folder; received: .*marker\. {TRAINED}"),
    Bad("link in the archive", with_member("a", mode=stat.S_IFLNK), rf"a link .*received: a\. {TRAINED}"),
    Bad("two configs", twice, rf"a member twice; received: config\.json\. {TRAINED}"),
    Bad("encrypted", header_field(6, 1), rf"cannot be unpacked; received: .*encrypted.*{SAVE}"),
    Bad("unknown compression", header_field(8, 77), rf"cannot be unpacked; .*compression method.*{SAVE}"),
    Bad("HDF5 without its end", good.cut(hdf5(), 0.5), rf"damaged or truncated.*{SAVE}", ".h5"),
    Bad("HDF5 under another name", good.cut(hdf5(), 0.5), rf"HDF5 file is damaged or truncated.*{SAVE}"),
    Bad(
        "weights alone", only_weights, r"perhaps weights.*\. Save the whole model with model\.save\(\)", ".h5"
    ),
    Bad("HDF5 of data", lambda path: h5py.File(path, "w").close(), r"no model.*\. Save the whole", ".h5"),
    Bad("HDF5 config not JSON", hdf5(lambda f: f.attrs.modify("model_config", "{")), rf"JSON.*{SAVE}", ".h5"),
    Bad(
        "HDF5 config a number", hdf5(lambda f: f.attrs.create("model_config", 5)), rf"not text.*{SAVE}", ".h5"
    ),
    Bad("HDF5 linked to a file", hdf5(relinked(LEGACY, LINK)), rf"{ELSEWHERE}/etc/secret\.h5", ".h5"),
    Bad("HDF5 linked to nothing", hdf5(relinked(LEGACY, h5py.SoftLink("/none"))), "cannot load.*Link", ".h5"),
    Bad(
        "weights linked to a file", good.with_weights(relinked(HIDDEN, LINK)), rf"{ELSEWHERE}/etc/secret\.h5"
    ),
    Bad("virtual weights", good.with_weights(virtual), rf"{ELSEWHERE}/etc/secret\.h5"),
    Bad("weights outside", good.with_weights(outside), rf"{ELSEWHERE}/etc/passwd"),
    Bad(
        "group in itself",
        good.with_weights(circle),
        r"weights in the file do not fit.*Dense 'hidden'.*\. Save it",
    ),
    Bad("declared weights", good.with_weights(declared), rf"weights of 4 TiB from a file of 1\d.*{TRAINED}"),
    Bad("weights are no HDF5", good.with_files(weights=b"no weights"), rf"weights.*are damaged.*{SAVE}"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_file(bad: Bad, folder: Path, refused: Callable[[str], str]) -> None:
    name = bad.write(folder)
    message = refused(f"{name} --calib x.npy")
    assert name in message
    assert_told(bad.told, message)


def test_inspect_says_the_same(folder: Path, refused: Callable[[str], str]) -> None:
    shutil.copyfile("good.keras", "cut.keras")
    good.cut(good.saved, 0.5)(folder / "cut.keras")
    assert "damaged or truncated" in refused("inspect cut.keras")
