"""Arrays inside files, mapped rather than loaded: .npy, .npz and HDF5.

The format is told by the first bytes, not by the name. An uncompressed .npz member is mapped where
it lies; a compressed one is unpacked into an unnamed temporary file and mapped there, so memory
stays bounded by what is read.
"""

import math
import os
import re
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from hgqify.errors import DataError
from hgqify.files import is_special

_NPY = b"\x93NUMPY"
_ZIP = b"PK"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = b"\x80"
_ROOT = b"root"
_CHUNK = 1 << 20
_FORMATS = "give .npy, .npz or HDF5 (.h5, .hdf5)"
_COPY_AGAIN = "copy or write the file again"
_LINE = 200  # characters of a message of others
_ZIP_HEADER = 30  # bytes of a local file header before the name (APPNOTE.TXT 4.3.7)

Columns = Mapping[str, Callable[[], Any]]
"""Name of each array in a file, and a function that maps it."""


def read_columns(path: Path, *, allow_pickle: bool = False) -> Columns:
    """The arrays of a file by name; nothing is read but headers. A .npy file has one, named ''.

    Raises:
        DataError: missing, unreadable, truncated, or not a data file; a pickled array is refused
            when it is opened, unless `allow_pickle`.
    """
    where = str(path)
    if path.is_dir():
        raise DataError("a folder is not a data file", where=where, remedy=_FORMATS)
    try:
        if is_special(path):
            raise DataError("not a regular file", where=where, remedy="copy it to a file and give that")
        with path.open("rb") as file:
            magic = file.read(8)
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=where, remedy="check the path") from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=where, remedy="check the file") from error
    if magic.startswith(_NPY):
        return {"": lambda: _map_npy(path, 0, where, allow_pickle)}
    if magic.startswith(_ZIP):
        return _npz_columns(path, allow_pickle)
    if magic == _HDF5:
        return _hdf5_columns(path)
    if not magic:
        raise DataError("the file is empty", where=where, remedy=_FORMATS)
    if magic.startswith(_PICKLE):
        raise DataError(
            "this is a Python pickle, which can run code when opened",
            where=where,
            remedy="save the array with numpy.save",
        )
    if magic.startswith(_ROOT):
        raise DataError(
            "this is a ROOT file",
            where=where,
            remedy="write the branches to one array, for instance with uproot, and save it with numpy.save",
        )
    raise DataError(
        "this is not a data file",
        where=where,
        received=f"first bytes {magic!r}",
        remedy=_FORMATS,
    )


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    # Beside what NumPy raises itself: what Python's parser raises on text that is no header.
    except (
        ValueError,
        EOFError,
        SyntaxError,
        TypeError,
        MemoryError,
        RecursionError,
        tokenize.TokenError,
    ) as error:
        raise _unreadable_header(str(error) or type(error).__name__, where) from error
    if any(size < 0 for size in shape):
        raise _unreadable_header(f"shape {shape}", where)
    return shape, fortran, dtype


def _unreadable_header(reason: str, where: str) -> DataError:
    reason = re.sub(r"<.*?>", "", " ".join(reason.split())).rstrip(": ")
    return DataError(f"the array header cannot be read ({reason[:_LINE]})", where=where, remedy=_COPY_AGAIN)


def _map_npy(path: Path, offset: int, where: str, allow_pickle: bool) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(offset)
        return _map_open(file, where, allow_pickle)


def _map_open(file: IO[bytes], where: str, allow_pickle: bool) -> np.ndarray:
    start = file.tell()
    shape, fortran, dtype = _header(file, where)
    if dtype.hasobject:
        return _load_pickled(file, start, where, allow_pickle)
    if 0 in shape:
        return np.empty(shape, dtype)  # an empty file range cannot be mapped
    # NumPy multiplies sizes in 64 bits, which a header can exceed.
    if math.prod(shape) * dtype.itemsize > os.fstat(file.fileno()).st_size - file.tell():
        raise _truncated(shape, dtype, where)
    try:
        # The map outlives the file object: it holds its own descriptor.
        return np.memmap(
            file,  # type: ignore[arg-type]
            dtype=dtype,
            mode="r",
            offset=file.tell(),
            shape=shape or (1,),
            order="F" if fortran else "C",
        ).reshape(shape)
    except (ValueError, OSError) as error:
        raise _truncated(shape, dtype, where) from error


def _truncated(shape: tuple[int, ...], dtype: np.dtype, where: str) -> DataError:
    return DataError(
        "the file is truncated",
        where=where,
        received=f"less than its header says: shape {shape}, dtype {dtype}",
        remedy=_COPY_AGAIN,
    )


def _load_pickled(file: IO[bytes], start: int, where: str, allow_pickle: bool) -> np.ndarray:
    if not allow_pickle:
        raise DataError(
            "the array is pickled, which can run code when opened",
            where=where,
            received="dtype object",
            remedy="save it as an array of numbers: numpy.save(path, numpy.stack(list(x)))",
        )
    file.seek(start)
    try:
        return np.stack([np.asarray(row) for row in np.lib.format.read_array(file, allow_pickle=True)])
    except (ValueError, TypeError) as error:
        raise DataError(f"the pickled samples do not stack to one array ({error})", where=where) from error


def _npz_columns(path: Path, allow_pickle: bool) -> Columns:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"the archive cannot be read ({error})", where=str(path), remedy=_COPY_AGAIN
        ) from error
    if not members:
        raise DataError(
            "the archive holds no arrays",
            where=str(path),
            remedy="give a file written by numpy.savez, not a model",
        )

    def opener(info: zipfile.ZipInfo) -> Callable[[], np.ndarray]:
        return lambda: _map_member(path, info, allow_pickle)

    return {info.filename.removesuffix(".npy"): opener(info) for info in members}


def _map_member(path: Path, info: zipfile.ZipInfo, allow_pickle: bool) -> np.ndarray:
    where = f"{path}[{info.filename.removesuffix('.npy')}]"
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with path.open("rb") as file:
            file.seek(info.header_offset + _ZIP_HEADER - 4)
            name, extra = struct.unpack("<HH", file.read(4))
        return _map_npy(path, info.header_offset + _ZIP_HEADER + name + extra, where, allow_pickle)
    with tempfile.TemporaryFile() as unpacked:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if info.file_size > free:
            raise DataError(
                "the array is larger than the temporary folder has room for",
                where=where,
                received=f"{info.file_size:,} bytes where {free:,} are free",
                remedy="store it uncompressed (numpy.savez), or make room",
            )
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as packed:
                while block := packed.read(_CHUNK):
                    unpacked.write(block)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"the archive is damaged ({error})", where=where, remedy=_COPY_AGAIN) from error
        except OSError as error:
            raise DataError(
                f"cannot be unpacked into the temporary folder ({error.strerror})",
                where=where,
                remedy="store it uncompressed (numpy.savez), or make room",
            ) from error
        unpacked.flush()
        unpacked.seek(0)
        return _map_open(unpacked, where, allow_pickle)


def _is_model(file: h5py.File) -> bool:
    """Whether Keras wrote this: a model (Keras 2, 3) or weights alone (Keras 3)."""
    return "model_weights" in file or "model_config" in file.attrs or {"layers", "vars"} <= set(file)


def _hdf5_columns(path: Path) -> Columns:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"the HDF5 file cannot be read ({error})", where=str(path), remedy=_COPY_AGAIN
        ) from error
    if _is_model(file):
        file.close()
        raise DataError("this is a model, not data", where=str(path), remedy="give the file with the samples")
    found: dict[str, Callable[[], Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # The data set keeps its file open for as long as it is used.
            found[name] = lambda: item

    file.visititems(visit)
    if not found:
        file.close()
        raise DataError(
            "the file holds no data sets",
            where=str(path),
            remedy="write the samples into one; links to other files are not followed",
        )
    return found
