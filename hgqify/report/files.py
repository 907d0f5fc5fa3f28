"""Reports on disk: read, written anew, with a verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hgqify.errors import DataError
from hgqify.files import atomic_write, check_file_target
from hgqify.report.page import page
from hgqify.report.report import plain
from hgqify.report.schema import validated

REPORT_FILE = "report.json"
HTML_FILE = "report.html"
_LARGEST = 256 * 2**20
"""Bytes of a report.json that are read: a thousand times what large models give."""


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A report.json as plain data, checked.

    Args:
        path: of the file, or of a folder that holds one.

    Raises:
        DataError: there is none, or it is not one of this version of hgqify; says where it is wrong.
    """
    file = _file(path)
    return validated(load_json(file), str(file))


def load_json(file: Path) -> Any:
    """What a JSON file of moderate size holds.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise DataError(
                "the file is too large for a report", where=str(file), received=f"{file.stat().st_size} bytes"
            )
        text = file.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse)
    except OSError as error:
        raise DataError(
            f"the report cannot be read ({error.strerror or 'unknown reason'})",
            where=str(file),
            remedy="give the folder that hgqify wrote, such as model_hgq",
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or a pit of brackets
        raise DataError(
            "not a report of hgqify",
            where=str(file),
            received="no JSON",
            remedy="give a report.json that hgqify wrote",
        ) from error


def _file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_dir():
        return file
    if not (file / REPORT_FILE).is_file():
        raise DataError(
            "not a result of hgqify",
            where=str(file),
            received=f"a folder without {REPORT_FILE}",
            remedy="give the folder that hgqify wrote, such as model_hgq",
        )
    return file / REPORT_FILE


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def render_report(result: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the HTML page of a saved result again.

    Args:
        result: folder that `Result.save` wrote, or its report.json.
        output: file to be written; whole or not at all. None for report.html beside report.json.

    Returns:
        The file.

    Raises:
        DataError: the result has no report of this version of hgqify.
        ExportError: the page cannot be written.
    """
    target = _file(result).with_name(HTML_FILE) if output is None else Path(output)
    data = read(result)
    check_file_target(target)
    atomic_write(target, page(data))
    return target


def record_check(result: str | os.PathLike[str], check: Mapping[str, Any]) -> None:
    """Write the verdict of a check into the report of a saved result, and its page.

    Args:
        result: folder that `Result.save` wrote.
        check: `hgqify.export.CheckReport.to_dict`.

    Raises:
        DataError, ExportError: as for `render_report`.
    """
    file = _file(result)
    names = ("exact", "codes", "comparisons", "notes", "settings", "versions")
    data = {**read(file), "check": plain({name: check[name] for name in names if name in check})}
    text = json.dumps(validated(data, str(file)), indent=1, allow_nan=False)
    # The page first: of the two, report.json is what others rely on.
    atomic_write(file.with_name(HTML_FILE), page(data))
    atomic_write(file, text)
