"""What a result was made from, as a settings file that makes it again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hgqify import toml_text
from hgqify.calibrate import CalibrateSettings
from hgqify.convert import ConvertSettings, Rule
from hgqify.export import ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.version import versions

# Larger files are not read a second time for their sum.
_HASHED_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings in effect, defaults and choices included; plain values only.

    Attributes:
        convert, project, rules: the tables of a settings file.
        data: its table [data]; empty where the data was no file.
        missing: what no file can say, as sentences.
        model: what it was made from: a name, and of a file the checksum.
    """

    convert: Mapping[str, Any]
    project: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    model: str = ""

    def under(self, *, target_ebops: int | None, max_drop: float | None, compensate: bool) -> Recipe:
        """The same with a budget of EBOPs, or a drop that is allowed."""
        budget = {"target_ebops": target_ebops, "max_drop": max_drop, "compensate": compensate}
        return dataclasses.replace(self, convert={**self.convert, **budget})

    def without(self, what: str) -> Recipe:
        """The same, where a part is known that no file can hold."""
        return dataclasses.replace(self, missing=(*self.missing, what))

    def to_toml(self, project: Mapping[str, Any] | None = None) -> str:
        """The settings file.

        Args:
            project: how the project was written in the end, as plain values; None for ``self.project``.
        """
        options = dict(self.project if project is None else project)
        layers = options.pop("layers", {})
        found = versions("hgqify", "keras", "jax", "numpy")
        lines = [
            "# The settings that this result was made with, those that nobody gave included.",
            "# `hgqify MODEL --config` with this file makes it again: every integer and every weight is the",
            f"# same, on the same software ({', '.join(f'{name} {text}' for name, text in found.items())}).",
            *([f"# MODEL: {self.model}"] if self.model else []),
            *(f"# Not in this file: {text}" for text in self.missing),
        ]
        parts = [
            "\n".join(lines) + "\n",
            *([toml_text.table("[data]", self.data)] if self.data else []),
            toml_text.table("[convert]", self.convert),
            toml_text.table("[project]", options),
            *(
                toml_text.table(f"[project.layers.{toml_text.key(name)}]", given)
                for name, given in layers.items()
            ),
            *(toml_text.table("[[rule]]", rule) for rule in self.rules),
        ]
        return "\n".join(parts)


def make_recipe(
    *,
    conversion: ConvertSettings,
    calibration: CalibrateSettings,
    training: FinetuneSettings,
    project: ProjectOptions,
    rules: Sequence[Rule],
    seed: int,
    calib: Any,
    labels: Any,
    key: str | Sequence[str] | None,
    model: Any = None,
    code: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> Recipe:
    """Write down what a conversion is made from.

    Args:
        conversion, calibration, training, project: the settings in effect.
        rules, seed, model, calib, labels, key, custom_objects: as for `hgqify.convert`.
        code: the model may hold Python code (``safe_mode=False``).
    """
    convert = {
        name: given
        for part in (conversion, calibration, training)
        for name, given in dataclasses.asdict(part).items()
        if name not in ("io_type", "steps", "seed")
    }
    data, missing = _data(calib, labels, key)
    written = [rule for rule in rules if rule.predicate is None]
    if len(written) < len(rules):
        missing = [*missing, "rules with a predicate, which is code"]
    if custom_objects:
        missing = [*missing, f"custom_objects, which are code: {', '.join(map(str, custom_objects))}"]
    if code:
        missing = [*missing, "that the model may run code of its own: give --unsafe (safe_mode=False)"]
    return Recipe(
        convert={"seed": seed, "finetune_steps": training.steps, **convert},
        project=project.to_dict(),
        rules=tuple(_rule(rule) for rule in written),
        data=data,
        missing=tuple(missing),
        model=_model(model),
    )


def _model(model: Any) -> str:
    if not _is_path(model):
        return "a model in memory"
    return f"{Path(model).name}, sha256 {sha256(model)}"


def _rule(rule: Rule) -> dict[str, Any]:
    values = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}
    return {name: given for name, given in values.items() if given not in (None, False)}


def _data(calib: Any, labels: Any, key: str | Sequence[str] | None) -> tuple[dict[str, Any], list[str]]:
    """The table [data], and what is not in it."""
    if not _is_path(calib):
        return {}, ["the calibration data, which was no file: give it with --calib"]
    path = os.path.abspath(os.fspath(calib))
    data: dict[str, Any] = {"calib": path, "calib_sha256": sha256(path)}
    missing = []
    if labels is not None and not _is_path(labels):
        missing.append("the labels, which were no file: give them with --labels")
    elif labels is not None:
        name = os.fspath(labels)
        file = os.path.isfile(name)
        data["labels"] = os.path.abspath(name) if file else name
        data["labels_sha256"] = sha256(name) if file else None
    if key is not None:
        data["key"] = key if isinstance(key, str) else list(key)
    return data, missing


def _is_path(given: Any) -> bool:
    """Whether this is the name of a file, and one that text can hold."""
    if not isinstance(given, str | os.PathLike):
        return False
    try:
        str(os.fspath(given)).encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256(path: str | os.PathLike[str]) -> str | None:
    """Checksum of a file; None where there is none of moderate size (1 GiB), or it cannot be read."""
    try:
        if not Path(path).is_file() or os.path.getsize(path) > _HASHED_BYTES:
            return None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
