"""A `.keras` archive and the HDF5 file in it, looked at before anything in them is used.

An archive is read as what Keras writes: a few members with plain names, stored once each, no larger than the
file they come in. Whatever else a zip or an HDF5 file can be made to do is refused here.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from hgqify.errors import ModelLoadError

CONFIG_FILE = "config.json"
SAVE_AGAIN = "check the file, or save the model again with model.save('model.keras')"

_WEIGHTS_FILES = ("model.weights.h5", "model.weights.npz")
_FROM_ELSEWHERE = "get the model from whoever trained it"
# A file may unpack to so many bytes whatever its size is: what memory holds anyway.
_ALWAYS = 64 << 20
# Beyond, to so many times its own size. Keras stores weights as they are; deflate ends at about 1000.
_RATIO = 100
_LARGEST_CONFIG = 64 << 20
_LINE = 200
# What zipfile raises on members it cannot unpack: damaged, encrypted, of a method it lacks.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


def read_config(path: Path) -> bytes:
    """The bytes of the config in an archive whose members and weights have been looked at.

    Raises:
        ModelLoadError: damaged; no model; members that lie outside their folder, are links, stand there
            twice, or unpack to far more than the file; weights that are read from other files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            names = [info.filename for info in members]
            text = _member(path, archive, CONFIG_FILE) if CONFIG_FILE in names else None
            if text is not None:
                _check_weights(path, archive, names)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise _damaged(path, "the .keras archive is damaged or truncated", error) from error
    if text is None:
        raise ModelLoadError(
            "the archive holds no Keras model",
            where=str(path),
            received=", ".join(sorted(names)[:3]) or "an empty archive",
            remedy="pass a file that model.save() wrote",
        )
    return text


def check_hdf5(path: Path, file: h5py.File, size: int) -> None:
    """Look at everything in an HDF5 file.

    Args:
        path: for the message.
        file: to be looked at.
        size: of the file, in bytes.

    Raises:
        ModelLoadError: something in it is read from another file, or takes far more than the file holds.
    """
    total = 0
    for name, item, elsewhere in _walk(file):
        if elsewhere is not None:
            raise ModelLoadError(
                "its weights stand in another file, and others are not read",
                where=str(path),
                received=f"{name} in {elsewhere}",
                remedy="save the whole model into one file with model.save('model.keras')",
            )
        if isinstance(item, h5py.Dataset):
            total += int(item.nbytes)
    _check_growth(path, total, size, "weights of ")


def cause(error: BaseException, text: str | None = None) -> str:
    """Kind of an error and the first line of its message, or of the text that tells it better, shortened."""
    lines = (str(error) if text is None else text).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0] if len(lines[0]) <= _LINE else f"{lines[0][:_LINE].rstrip()} [...]"
    return f"{type(error).__name__}: {line}"


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for info in members:
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0] or "\\" in name:
            raise _refused(path, "the archive has a member that leaves its folder", name)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _refused(path, "the archive has a link among its members", name)
        if name in seen:
            raise _refused(path, "the archive holds a member twice", name)
        seen.add(name)
    _check_growth(path, sum(info.file_size for info in members), path.stat().st_size, "")


def _check_growth(path: Path, total: int, size: int, what: str) -> None:
    if total <= max(_ALWAYS, _RATIO * size):
        return
    received = f"{what}{_readable(total)} from a file of {_readable(size)}"
    raise _refused(path, "the file unpacks to far more than it holds", received)


def _readable(size: float) -> str:
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:,.3g} {units[0]}"


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > _LARGEST_CONFIG:
        raise _refused(
            path, f"the config is larger than {_readable(_LARGEST_CONFIG)}", _readable(info.file_size)
        )
    try:
        return archive.read(name)
    except UNREADABLE as error:
        raise _damaged(path, f"{name} in the archive cannot be unpacked", error) from error


def _check_weights(path: Path, archive: zipfile.ZipFile, names: list[str]) -> None:
    found = next((name for name in _WEIGHTS_FILES if name in names), None)
    if found is None:
        raise ModelLoadError(
            "the archive holds no weights",
            where=str(path),
            received=", ".join(sorted(names)[:3]),
            remedy=SAVE_AGAIN,
        )
    if not found.endswith(".h5"):
        return
    try:
        with archive.open(found) as member, h5py.File(member, "r") as file:
            check_hdf5(path, file, archive.getinfo(found).file_size)
    except UNREADABLE as error:
        raise _damaged(path, f"the weights in the archive ({found}) are damaged", error) from error


def _walk(
    group: h5py.Group, seen: tuple[h5py.Group, ...] = (), prefix: str = ""
) -> Iterator[tuple[str, Any, str | None]]:
    """Name and item of everything below a group, and the other file it is read from, if any.

    ``seen`` are the groups it lies in: a group may hold itself.
    """
    seen = (*seen, group)
    for key in group:
        name = f"{prefix}{key}"
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            yield name, None, link.filename
            continue
        if isinstance(link, h5py.SoftLink):  # to where it stands in this file, or to nothing
            continue
        item = group[key]
        if isinstance(item, h5py.Dataset):
            yield name, item, _elsewhere(item)
        elif isinstance(item, h5py.Group) and item not in seen:
            yield from _walk(item, seen, f"{name}/")


def _elsewhere(item: h5py.Dataset) -> str | None:
    if item.is_virtual:
        return ", ".join(source.file_name for source in item.virtual_sources()[:3]) or "other data sets"
    return item.external[0][0] if item.external else None


def _refused(path: Path, what: str, received: str) -> ModelLoadError:
    return ModelLoadError(what, where=str(path), received=received, remedy=_FROM_ELSEWHERE)


def _damaged(path: Path, what: str, error: BaseException) -> ModelLoadError:
    return ModelLoadError(what, where=str(path), received=cause(error), remedy=SAVE_AGAIN)
