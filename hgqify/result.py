"""The result of a conversion: the quantized model and everything made from it."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from hgqify.errors import BudgetError, ExportError
from hgqify.export import Extent, ProjectOptions, Written, largest_part, write_part, write_project
from hgqify.files import atomic_directory
from hgqify.finetune import Archive, Entry
from hgqify.precision import Certificate, Program, certify, to_npz
from hgqify.recipe import Recipe
from hgqify.report import HTML_FILE, REPORT_FILE, Report

MODEL_FILE = "model.keras"
PROGRAM_FILE = "program.npz"
PART_FILE = "part.npz"
PROJECT_FOLDER = "hls"
SETTINGS_FILE = "config.toml"


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
        archive: models that a training under a budget passed through, none as good as another in EBOPs and
            held-out loss, or better; empty without one.
        choose: the result with another model of the archive, see `at`.
        recipe: the settings that give this result again; None where it is a model that a training merely
            passed through.
    """

    model: keras.Model
    float_model: keras.Model
    program: Program
    report: Report
    project: ProjectOptions
    archive: Archive = field(default_factory=Archive)
    choose: Callable[[Entry], Result] | None = field(default=None, repr=False)
    recipe: Recipe | None = field(default=None, repr=False)

    @property
    def certificate(self) -> Certificate:
        """The float32 verdict on every operation; `hgqify.certify` gives that of float64."""
        return certify(self.program)

    def at(self, ebops: int) -> Result:
        """The result with the model of least held-out loss within a budget that the training passed through.

        Args:
            ebops: at most so many EBOPs.

        Raises:
            BudgetError: there is no such model; says what there is.
        """
        entry = self.archive.best(ebops)
        if entry is None or self.choose is None:
            fewest = min((entry.ebops for entry in self.archive.front), default=None)
            raise BudgetError(
                "the training passed through no model within this budget",
                received=f"{ebops:,} EBOPs",
                remedy="fine-tune under a budget (target_ebops or max_drop)"
                if fewest is None
                else f"the fewest are {fewest:,}; for less, convert with target_ebops={ebops}",
            )
        return self.choose(entry)

    def _repr_html_(self) -> str:
        """In a notebook: the headline, and the layers that cost most."""
        return self.report._repr_html_()

    def summary(self) -> str:
        """The headline figures as a few lines of text."""
        return self.report.summary()

    def export(
        self,
        directory: str | os.PathLike[str],
        *,
        force: bool = False,
        extent: Extent | str = Extent.WHOLE,
        **options: Any,
    ) -> Written:
        """Write the hls4ml project.

        Args:
            directory: folder to be written; whole or not at all.
            force: replace an existing project.
            extent: 'largest' writes, of a model with layers that stay in float, the largest part that is
                firmware by itself; what enters and leaves it is in the notes, and in hgqify_part.json.
            options: changes to `ProjectOptions`: backend, io_type, part, clock_period, clock_uncertainty,
                strategy, reuse_factor, parallelization_factor, project_name, layers.

        Returns:
            The folder, which passes as a path, and notes on what hls4ml could not do as asked.

        Raises:
            ExportError: an operation that cannot be printed, an unknown option, or an existing folder.
        """
        chosen = project_options(self.project, options)
        with atomic_directory(directory, force=force) as folder:
            written, _ = self._write(folder, chosen, extent)
        return Written(path=Path(directory), notes=written.notes)

    def _write(
        self, folder: Path, options: ProjectOptions, extent: Extent | str
    ) -> tuple[Written, Program | None]:
        """Write the project; gives the part's program too where it is not all of it."""
        return write_extent(self.program, folder, options, aliases(self.report.conversion), extent)

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        force: bool = False,
        extent: Extent | str = Extent.WHOLE,
        command: str | None = None,
        **options: Any,
    ) -> Written:
        """Write model.keras, report.json, report.html, program.npz, config.toml and the project hls/.

        All into one folder. config.toml holds the settings in effect: with it `hgqify.convert` and the
        command line make the same result again. The report tells the options the project was written with,
        and the notes. Of a model with layers that stay in float there is no project, or with
        ``extent='largest'`` that of a part (and its integers in part.npz). Of one with minifloats
        (``q_type='float'``) there is none.

        Args:
            directory: folder to be written; whole or not at all.
            force: replace an existing result.
            command: what makes this result again, for the report.
            extent, options: as for `export`.

        Returns:
            As for `export`.

        Raises:
            ExportError: as for `export`.
        """
        chosen = project_options(self.project, options)
        with atomic_directory(directory, force=force, marker=REPORT_FILE) as folder:
            notes: tuple[str, ...]
            if self.program.minifloats:
                notes = (
                    "no project was written: hls4ml has no type for minifloats "
                    f"({', '.join(self.program.minifloats)})",
                )
            elif self.program.kept and as_extent(extent) is Extent.WHOLE:
                kept = ", ".join(map(str, self.program.kept))
                notes = (
                    f"no project was written: {kept} stay(s) in float; extent='largest' (--export-part "
                    "largest) writes the largest part without",
                )
            else:
                written, alone = self._write(folder / PROJECT_FOLDER, chosen, extent)
                notes = written.notes
                if alone is not None:
                    to_npz(alone, folder / PART_FILE)
            self.model.save(folder / MODEL_FILE)
            to_npz(self.program, folder / PROGRAM_FILE)
            report = dataclasses.replace(
                self.report,
                settings={**self.report.settings, "project": chosen.to_dict()},
                notes=(*self.report.notes, *notes),
                command=command,
            )
            (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
            (folder / HTML_FILE).write_text(report.to_html(), encoding="utf-8")
            if self.recipe is not None:
                recipe = self.recipe
                if self.program.kept and as_extent(extent) is not Extent.WHOLE:
                    recipe = recipe.without(f"that a part was exported: give --export-part {extent}")
                layers = {} if "layers" in options else {"layers": recipe.project["layers"]}
                text = recipe.to_toml({**chosen.to_dict(), **layers})
                (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
        return Written(path=Path(directory), notes=notes)


def write_extent(
    program: Program,
    folder: Path,
    options: ProjectOptions,
    names: Mapping[str, tuple[str, ...]],
    extent: Extent | str,
) -> tuple[Written, Program | None]:
    """Write the project of a program; gives the part's program too where it is not all of it.

    Args:
        program: of the whole model.
        folder: to be written.
        options: how.
        names: as `aliases` gives them.
        extent: all of it, or of a model with layers that stay in float the largest part without.

    Raises:
        ExportError: an operation that cannot be printed, or an unknown extent.
    """
    if as_extent(extent) is Extent.WHOLE or not program.kept:
        return write_project(program, folder, options, names), None
    found = largest_part(program, options, names)
    return write_part(program, found, folder, options, names), found.program


def as_extent(value: Extent | str) -> Extent:
    """What is to be written, from its name.

    Raises:
        ExportError: another name.
    """
    try:
        return Extent(value)
    except ValueError:
        raise ExportError(
            "there is no such extent", received=repr(value), remedy=f"use one of {', '.join(Extent)}"
        ) from None


def aliases(conversion: Iterable[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Names of layers in the float model -> names of the quantized layers that stand for them.

    Args:
        conversion: the report's entries. A layer folded into another has none of its own.
    """
    return {
        entry["layer"]: tuple(entry["target"].split(", "))
        for entry in conversion
        if entry["status"] in ("converted", "kept", "kept float") and entry["target"]
    }


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
