"""Numbers, text and arrays in one file that is whole, or known not to be.

A file is an .npz that anybody can open: JSON texts ``record`` and ``made_from``, and arrays ``a0``, ``a1``,
... whose names ``names`` lists. The comment that a zip archive may end with holds a checksum of all that is
before it: those of the zip format leave out its own structure, and damage there is met as one of many errors.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.files import atomic_write

_TAG = b"hgqify sha256 "
_TRAILER = len(_TAG) + 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What a file holds.

    Attributes:
        record: numbers, texts, and lists and dicts of them.
        arrays: by name.
        made_from: fingerprints of what it was made from, by what the user calls it.
    """

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]
    made_from: dict[str, str]


def pack(stored: Stored) -> bytes:
    """The bytes of a file.

    Raises:
        TypeError: the record holds what JSON would change: tuples, keys that are no text, NumPy numbers.
        ExportError: an array of a type that a file cannot hold.
    """
    if not _plain(stored.record):
        raise TypeError(f"a record holds dicts by text, lists, numbers and text; received {stored.record!r}")
    for name, array in stored.arrays.items():
        # bfloat16 and its like are stored as bytes of no type.
        if array.dtype.kind not in "biufc":
            raise ExportError(
                "an array of a type that cannot be stored",
                where=name,
                received=str(array.dtype),
                remedy="train in float32",
            )
    content = io.BytesIO()
    numbered: dict[str, Any] = {f"a{n}": array for n, array in enumerate(stored.arrays.values())}
    # Not compressed: trained floats shrink little, and the training waits.
    np.savez(
        content,
        record=np.array(json.dumps(stored.record)),
        made_from=np.array(json.dumps(stored.made_from)),
        names=np.array(json.dumps(list(stored.arrays))),
        **numbered,
    )
    # A zip archive ends with the length of its comment, zero so far, and the comment.
    content.seek(-2, io.SEEK_END)
    content.write(_TRAILER.to_bytes(2, "little"))
    with content.getbuffer() as view:
        checksum = hashlib.sha256(view).hexdigest()
    content.write(_TAG + checksum.encode())
    return content.getvalue()


def _plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _plain(entry) for name, entry in value.items())
    if isinstance(value, list):
        return all(_plain(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str)


def unpack(content: bytes) -> Stored | None:
    """What `pack` packed, bit for bit; None if a byte is missing, changed or too many."""
    checksum = hashlib.sha256(memoryview(content)[:-_TRAILER]).hexdigest()
    if content[-_TRAILER:] != _TAG + checksum.encode():
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            names = json.loads(str(file["names"]))
            return Stored(
                record=json.loads(str(file["record"])),
                made_from=json.loads(str(file["made_from"])),
                arrays={name: file[f"a{n}"] for n, name in enumerate(names)},
            )
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile):  # whole, but of another make
        return None


def changes(stored: Mapping[str, str], made_from: Mapping[str, str]) -> str:
    """What differs between two sets of fingerprints, as "the model and the settings"; empty if nothing."""
    names = sorted({*stored, *made_from})
    return " and ".join(f"the {name}" for name in names if stored.get(name) != made_from.get(name))


def write(path: Path, stored: Stored, what: str) -> None:
    """Write or replace a file, so that it is the old or the new one whatever happens.

    Args:
        path: file; missing folders are made.
        stored: what it shall hold.
        what: is written, for the message.

    Raises:
        ExportError: it cannot be written; says why, how much there was to write, and what to do.
    """
    content = pack(stored)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except (OSError, ExportError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise _unwritable(path, what, len(content), cause) from error


def _unwritable(path: Path, what: str, size: int, cause: BaseException | None) -> ExportError:
    reason, code = (cause.strerror, cause.errno) if isinstance(cause, OSError) else (None, None)
    received = f"{size:,} bytes to write"
    if code in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space there"
        existing = next(folder for folder in path.parents if folder.exists())
        received += f", {shutil.disk_usage(existing).free:,} bytes free"
    elif code == errno.EFBIG:
        remedy = "raise the limit on the size of files (ulimit -f)"
    else:
        remedy = "make the folder writable"
    earlier, then = "nothing was stored before", "run again"
    if path.parent.is_dir() and any(path.parent.glob(f"*{path.suffix}")):
        earlier, then = "what was stored before is intact", "go on with --resume (resume=True)"
    return ExportError(
        f"{what} cannot be written ({reason or 'unknown reason'}); {earlier}",
        where=str(path),
        received=received,
        remedy=f"{remedy}, then {then}",
    )
