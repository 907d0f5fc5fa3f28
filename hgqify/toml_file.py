"""A TOML file, read with a message for whatever it is instead."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hgqify.errors import RuleError
from hgqify.files import is_special

_LARGEST = 1 << 20
"""Bytes; settings of a conversion take a few thousand."""


def read(path: Path) -> dict[str, Any]:
    """The content of a file of settings.

    Raises:
        RuleError: it cannot be read, is larger than settings are, or is not TOML in UTF-8.
    """
    data = _bytes(path)
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RuleError(
            f"not a TOML file: line {line} is no text in UTF-8", where=str(path), remedy="save it as UTF-8"
        ) from None
    except RecursionError:
        raise RuleError(
            "not a TOML file: it is nested too deeply", where=str(path), remedy="correct it there"
        ) from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise RuleError(f"not a TOML file: {error}", where=str(path), remedy="correct it there") from None


def _bytes(path: Path) -> bytes:
    try:
        if is_special(path):
            raise RuleError("not a regular file", where=str(path), remedy="copy it to a file and give that")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise RuleError(
            f"the settings cannot be read: {error.strerror}", where=str(path), remedy="check the path"
        ) from None
    if len(data) > _LARGEST:
        raise RuleError(
            f"larger than {_LARGEST >> 20} MiB", where=str(path), remedy="give a settings file in TOML"
        )
    return data
