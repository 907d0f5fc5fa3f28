"""The result of a conversion: the quantized model and everything made from it."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, write_project
from hgqify.files import atomic_directory
from hgqify.precision import Certificate, Program, certify, to_npz
from hgqify.report import Report

MODEL_FILE = "model.keras"
REPORT_FILE = "report.json"
PROGRAM_FILE = "program.npz"
PROJECT_FOLDER = "hls"


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What `convert` returns.

    Attributes:
        model: a Keras model of quantized layers: fit, save and load it as any other.
        float_model: the same layers with every quantizer off; where a final softmax was left to the host,
            both models give logits.
        program: what the firmware computes, as integers. It describes the model as it was converted:
            after further training make a new one with `hgqify.precision.lower(model)`.
        report: every figure.
        project: how the firmware project is written.
    """

    model: keras.Model
    float_model: keras.Model
    program: Program
    report: Report
    project: ProjectOptions

    @property
    def certificate(self) -> Certificate:
        """The float32 verdict on every operation; `hgqify.certify` gives that of float64."""
        return certify(self.program)

    def summary(self) -> str:
        """The headline figures as a few lines of text."""
        return self.report.summary()

    def export(self, directory: str | os.PathLike[str], *, force: bool = False, **options: Any) -> Path:
        """Write the hls4ml project.

        Args:
            directory: folder to be written; whole or not at all.
            force: replace an existing project.
            options: changes to `ProjectOptions`: backend, io_type, part, clock_period, reuse_factor,
                strategy, project_name, layers.

        Returns:
            The folder.

        Raises:
            ExportError: an operation that cannot be printed, an unknown option, or an existing folder.
        """
        chosen = project_options(self.project, options)
        with atomic_directory(directory, force=force) as folder:
            write_project(self.program, folder, chosen)
        return Path(directory)

    def save(self, directory: str | os.PathLike[str], *, force: bool = False, **options: Any) -> Path:
        """Write model.keras, report.json, program.npz and the project hls/ into one folder.

        Args:
            directory: folder to be written; whole or not at all.
            force: replace an existing result.
            options: as for `export`.

        Returns:
            The folder.

        Raises:
            ExportError: as for `export`.
        """
        chosen = project_options(self.project, options)
        with atomic_directory(directory, force=force, marker=REPORT_FILE) as folder:
            write_project(self.program, folder / PROJECT_FOLDER, chosen)
            self.model.save(folder / MODEL_FILE)
            to_npz(self.program, folder / PROGRAM_FILE)
            (folder / REPORT_FILE).write_text(self.report.to_json())
        return Path(directory)


def project_options(base: ProjectOptions, changes: dict[str, Any]) -> ProjectOptions:
    """``base`` with some options changed.

    Raises:
        ExportError: an unknown option; names the closest.
    """
    known = [f.name for f in dataclasses.fields(ProjectOptions)]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ExportError("unknown option", received=name, remedy=f"did you mean {near}?")
    return dataclasses.replace(base, **changes)
