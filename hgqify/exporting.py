"""The project of a saved result, written again in another way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hgqify.checking import load_program
from hgqify.errors import DataError, ExportError
from hgqify.export import LAYOUT_FILE, Extent, ProjectOptions, Written
from hgqify.files import atomic_directory, check_target
from hgqify.report import REPORT_FILE, load_json
from hgqify.result import PART_FILE, aliases, as_extent, project_options, write_extent


def export_saved(
    directory: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    extent: Extent | str | None = None,
    **options: Any,
) -> Written:
    """Write the hls4ml project of a saved result anew: for another backend, interface or strategy.

    The integers are those of program.npz: nothing is calibrated or trained again.

    Args:
        directory: what `Result.save` wrote; it is left as it is.
        output: folder of the new project; whole or not at all.
        force: replace an existing project.
        extent: as for `Result.export`; None for what the result was written with.
        options: changes to the options that the result was written with, as for `Result.export`.

    Returns:
        The folder, which passes as a path, and notes on what hls4ml could not do as asked.

    Raises:
        ExportError: the folder is no result, an unknown option, an operation that the backend or interface
            cannot have, or an existing output.
    """
    check_target(output, force=force, marker=LAYOUT_FILE)
    if extent is None:
        extent = Extent.LARGEST if (Path(directory) / PART_FILE).is_file() else Extent.WHOLE
    extent = as_extent(extent)
    program = load_program(directory)
    report = saved_report(directory)
    base = project_options(ProjectOptions(), dict(report["settings"]["project"]))
    chosen = project_options(base, options)
    with atomic_directory(output, force=force, marker=LAYOUT_FILE) as folder:
        written, _ = write_extent(program, folder, chosen, aliases(report["conversion"]), extent)
    return Written(path=Path(output), notes=written.notes)


def saved_report(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The report of a saved result, as plain values.

    Raises:
        ExportError: there is none that can be read.
    """
    path = Path(directory) / REPORT_FILE
    try:
        report = load_json(path)
    except DataError as error:
        reason = error.what
    else:
        if _is_report(report):
            return report
        reason = "JSON without the settings or the layers of a conversion"
    raise ExportError(
        "the report of the result cannot be used",
        where=str(path),
        received=reason,
        remedy="give a folder that hgqify wrote, such as model_hgq",
    )


def _is_report(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("conversion"), list):
        return False
    settings = content.get("settings")
    return isinstance(settings, dict) and isinstance(settings.get("project"), dict)
