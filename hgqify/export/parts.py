"""Models that stay float in places: the part of them that is written as a project."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hgqify.errors import ExportError
from hgqify.export.options import ProjectOptions
from hgqify.export.project import Written, refuse_unprintable, write_project
from hgqify.precision import Part, Program, ops, self_contained

DESCRIPTION_FILE = "hgqify_part.json"
_TRIED = 32  # parts, at most


class Extent(enum.StrEnum):
    """What of a model is written: all of it, or the largest part that is firmware by itself."""

    WHOLE = "whole"
    LARGEST = "largest"


def largest_part(
    program: Program, options: ProjectOptions, aliases: Mapping[str, Sequence[str]] | None = None
) -> Part:
    """The largest self-contained part of a program that can be printed.

    Args:
        program, options, aliases: as for `write_project`; layers may stay in float.

    Raises:
        ExportError: there is none; says why not, of the largest.
    """
    problems: list[ExportError] = []
    for _, part in zip(range(_TRIED), self_contained(program), strict=False):
        try:
            refuse_unprintable(part.program, options, aliases)
        except ExportError as error:
            problems.append(error)
            continue
        return part
    first = problems[0] if problems else None
    raise ExportError(
        f"no part of the model can be written{f': {first.what}' if first else ''}",
        where=program.name if first is None else first.where,
        received=", ".join(map(str, program.kept)) if first is None else first.received,
        remedy="keep fewer layers in float" if first is None else first.remedy,
    )


def write_part(
    program: Program,
    part: Part,
    directory: Path,
    options: ProjectOptions,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Written:
    """Write a part as a project, with a file that says what enters and leaves it.

    Args:
        program: the whole.
        part: of it.
        directory, options, aliases: as for `write_project`.

    Raises:
        ExportError: as `write_project`.
    """
    written = write_project(part.program, directory, options, aliases)
    told = described(program, part)
    (directory / DESCRIPTION_FILE).write_text(json.dumps(told, indent=1))
    entries, exits = ([f"{t['tensor']} ({t['what']})" for t in told[key]] for key in ("entries", "exits"))
    notes = (
        f"the project is a part of the model, {part.ebops:,} EBOPs; it takes {', '.join(entries)} and gives "
        f"{', '.join(exits)}; not in it: {', '.join(told['left out'])}",
        *written.notes,
    )
    return Written(path=written.path, notes=notes)


def described(program: Program, part: Part) -> dict[str, Any]:
    """What enters and leaves a part, and what is not in it, as plain values."""
    gifts = {name: kept for kept in program.kept for name in kept.gives}
    readers: dict[str, list[str]] = {}
    for kept in program.kept:
        for name in kept.reads:
            readers.setdefault(name, []).append(str(kept))

    def entry(name: str) -> str:
        source = part.entries[name]
        if source in gifts:
            return f"output of {gifts[source]}"
        layer = program.by_name[source].layer
        return f"model input {layer}" if source in program.inputs else f"output of {layer}"

    def leaves(name: str) -> str:
        what = [f"to {', '.join(dict.fromkeys(readers[name]))}"] if name in readers else []
        if name in program.model_outputs:
            what.append(f"model output {program.model_outputs.index(name)}")
        return "; ".join(what) or f"output of {program.by_name[name].layer}"

    def tensor(name: str, what: str) -> dict[str, Any]:
        node = part.program.by_name[name]
        return {"tensor": name, "what": what, "shape": list(node.shape)}

    inside = {node.layer for node in part.program.nodes if not isinstance(node.op, ops.Input)}
    layers = dict.fromkeys(node.layer for node in program.nodes if not isinstance(node.op, ops.Input))
    return {
        "entries": [tensor(name, entry(name)) for name in part.program.inputs],
        "exits": [tensor(name, leaves(name)) for name in part.program.outputs],
        "left out": [*map(str, program.kept), *(layer for layer in layers if layer not in inside)],
        "ebops": part.ebops,
    }
