"""Plain values as TOML text, which the standard library reads but does not write."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from typing import Any


def value(given: Any) -> str:
    """A value as it stands on the right of ``=``: text, number, truth value, or a list of these.

    Args:
        given: str (enum members of text too), bool, int, float, or a list or tuple of such values.

    Raises:
        TypeError: TOML has no such value.
    """
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, enum.Enum):
        return value(given.value)
    if isinstance(given, str):
        # JSON's escapes are TOML's; only the control character DEL is none in JSON.
        return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(given, int | float):
        return repr(given)
    if isinstance(given, list | tuple):
        return f"[{', '.join(value(item) for item in given)}]"
    raise TypeError(f"TOML has no value for {type(given).__name__}")


def key(name: str) -> str:
    """A name as it stands on the left, quoted where it has to be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else value(name)


def table(header: str, values: Mapping[str, Any]) -> str:
    """A table: its header, such as ``[project]``, and one line for every value that is not None."""
    lines = [f"{key(name)} = {value(given)}" for name, given in values.items() if given is not None]
    return "\n".join([header, *lines]) + "\n"
