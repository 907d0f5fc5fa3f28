"""A trained HGQ2 model from a file, stored as a model of our layers or as a result with its firmware."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, write_project
from hgqify.files import atomic_directory, atomic_write, check_file_target, check_target
from hgqify.hgq2 import import_model
from hgqify.precision import Certificate, Program, certify, lower, to_npz, total_ebops
from hgqify.result import MODEL_FILE, PROGRAM_FILE, PROJECT_FOLDER

_SUFFIX = ".keras"


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """An HGQ2 model in our layers.

    Attributes:
        model: it, not compiled.
        program: its integers.
        path: what was written.
        notes: what hls4ml could not do as asked.
    """

    model: keras.Model
    program: Program
    path: Path
    notes: tuple[str, ...] = ()

    @property
    def ebops(self) -> int:
        """EBOPs by the exact count."""
        return total_ebops(self.program)

    @property
    def certificate(self) -> Certificate:
        """The float32 verdict on every operation: where it is not proved, HGQ2 itself is not exact either."""
        return certify(self.program)


def import_hgq2(
    model: keras.Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> Imported:
    """Read a trained HGQ2 model with `hgqify.hgq2.import_model`, and store it.

    Args:
        model: the model, or a file that `model.save` wrote.
        output: a file ``*.keras`` for the model alone; or a folder for the model, its integers
            (program.npz) and its hls4ml project (hls/), which `hgqify.check` compares. Whole or not at all.
        force: replace what is there.
        safe_mode, custom_objects: as for `import_model`.

    Raises:
        ExportError: the output exists, or the project cannot be written.
        HgqifyError: as `import_model`.
        PrecisionError: values that reach an operation, or an output, without a quantizer before them.
    """
    path = Path(output)
    alone = path.suffix == _SUFFIX
    if alone:
        check_file_target(path)
        if path.exists() and not force:
            raise ExportError(
                "the output exists already",
                where=str(path),
                remedy="choose another, or replace it with force",
            )
    else:
        check_target(path, force=force, marker=PROGRAM_FILE)
    made = import_model(model, safe_mode=safe_mode, custom_objects=custom_objects)
    program = lower(made)
    if alone:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / MODEL_FILE
            made.save(file)
            atomic_write(path, file.read_bytes())
        return Imported(model=made, program=program, path=path)
    with atomic_directory(path, force=force, marker=PROGRAM_FILE) as folder:
        made.save(folder / MODEL_FILE)
        to_npz(program, folder / PROGRAM_FILE)
        written = write_project(program, folder / PROJECT_FOLDER, ProjectOptions(), {})
    return Imported(model=made, program=program, path=path, notes=written.notes)
