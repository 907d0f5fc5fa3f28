"""Settings of a conversion in a TOML file.

[data]                 # files, seen from the folder of the settings file; see `DataTable`
calib = "calib.npz"

[convert]              # fields of ConvertSettings, CalibrateSettings and FinetuneSettings; seed, bits,
                       # finetune_steps, target_ebops or max_drop or budgets, compensate
weight_bits = 8
learning_rate = 0.002

[project]              # fields of ProjectOptions
backend = "Vitis"
reuse_factor = 2

[project.layers."dense.*"]
strategy = "Resource"

[[rule]]               # fields of Rule; the first that matches a layer wins
path = "head"
weight_bits = 10
reuse_factor = 4
"""

from __future__ import annotations

import difflib
import enum
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hgqify import toml_file
from hgqify.calibrate import CalibrateSettings
from hgqify.convert import ConvertSettings, Rule, with_uniform_bits
from hgqify.errors import DataError, HgqifyError, RuleError
from hgqify.export import LayerOptions, ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.pareto import as_budgets
from hgqify.recipe import sha256

AUTO = "auto"
_LONGEST = 60  # characters of a key or value in a message
_TOLD = 20  # mistakes that are told one by one
# Whose fields the keys of [convert] are.
_OWNERS = (ConvertSettings, CalibrateSettings, FinetuneSettings)
# Keywords of `hgqify.convert` that are fields of no settings.
_KEYWORDS: Mapping[str, Any] = {
    "seed": int,
    "bits": int,
    "finetune_steps": int,
    "target_ebops": int,
    "max_drop": float,
    "budgets": list,
    "compensate": bool,
}


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """The keys of [data]. Pickled arrays are allowed on the command line only: they can run code.

    Attributes:
        calib: file with the calibration data: .npy, .npz or HDF5.
        labels: file with labels, or the name of an array in the data file.
        key: name of the input array in the file, or a list of names, one for each model input.
        calib_sha256, labels_sha256: checksums of the files; another content is refused.
    """

    calib: str
    labels: str | None = None
    key: str | list | None = None
    calib_sha256: str | None = None
    labels_sha256: str | None = None


def tables() -> dict[str, dict[str, Any]]:
    """The keys of every table and the types of their values."""
    convert = {name: kind for owner in _OWNERS for name, kind in _types(owner).items()} | {**_KEYWORDS}
    # The interface is one of the project; the steps are called as on the command line.
    for name in ("io_type", "steps"):
        del convert[name]
    rule = _types(Rule)
    del rule["predicate"]
    return {"data": _types(DataTable), "convert": convert, "project": _types(ProjectOptions), "rule": rule}


def load_settings(path: str | os.PathLike[str], *, data: bool = True) -> dict[str, Any]:
    """Read a settings file.

    Args:
        path: of the TOML file.
        data: take the data that it names, too; without, its table [data] is checked and left out.

    Returns:
        Keyword arguments for `hgqify.convert`: what the file says, ``rules`` as `Rule` objects, ``calib`` and
        ``labels`` as paths.

    Raises:
        DataError: a data file is not the one of which the settings file holds the checksum.
        RuleError: the file cannot be read, or lists every unknown key and every impossible value in it.
    """
    path = Path(path)
    content = toml_file.read(path)
    known = tables()
    problems = [
        f"{_short(name)}: unknown table.{_near(name, known, n)}"
        for n, name in enumerate(name for name in content if name not in known)
    ]
    given = _table(content, "data", known, problems)
    if given and "calib" not in given and not problems:
        problems.append("data: the key calib is missing. Name the file with the calibration data")
    convert = _table(content, "convert", known, problems)
    project = _table(content, "project", known, problems)
    rules = [_rule(raw, f"rule[{n}]", known, problems) for n, raw in enumerate(_list(content, problems))]
    if not problems:
        problems = _conflicts(convert, project)
    if problems:
        count, told = len(problems), problems[:_TOLD]
        told += [f"and {count - _TOLD} more"] * (count > _TOLD)
        text = problems[0] if count == 1 else f"{count} settings are wrong:\n  " + "\n  ".join(told)
        raise RuleError(text, where=str(path))
    found = _data(given, path) if data else {}
    return {**found, **convert, **project, **({"rules": tuple(rules)} if rules else {})}


def _data(given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The keywords of [data], files seen from the folder of the settings file.

    Raises:
        DataError: another content than the checksum tells.
    """
    found = {name: value for name, value in given.items() if not name.endswith("_sha256")}
    for name in ("calib", "labels"):
        if name not in found:
            continue
        file = path.parent / found[name]
        if name == "calib" or file.is_file():  # labels may be the name of an array
            found[name] = str(file)
        wanted = given.get(f"{name}_sha256")
        if wanted is not None and file.is_file() and (sum_ := sha256(file)) not in (wanted, None):
            raise DataError(
                "the file has changed since these settings were written: the result would be another",
                where=str(file),
                received=f"SHA-256 {sum_}",
                remedy=f"give the data with --{name}, or remove data.{name}_sha256 from {path}",
            )
    return found


def _short(text: str) -> str:
    """A key or a value of the file, for a message of one line."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [...]"


def _types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _near(name: str, known: Mapping[str, Any], before: int) -> str:
    """The name that was meant; not looked for where so many mistakes stand before that it is not told."""
    if before >= _TOLD:
        return ""
    name = name[:_LONGEST]
    ends = [key for key in known if key.endswith(f"_{name}") and key.split("_")[0] == "finetune"]
    near = ends or difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f" Did you mean {near[0]}?"


def _list(content: Mapping[str, Any], problems: list[str]) -> list[Any]:
    rules = content.get("rule", [])
    if isinstance(rules, list):
        return rules
    problems.append("rule: rules are a list. Write [[rule]]")
    return []


def _table(
    content: Mapping[str, Any], name: str, known: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> dict[str, Any]:
    """The known keys of a table, checked one by one; the problems found are added to the list."""
    raw = content.get(name, {})
    if not isinstance(raw, Mapping):
        problems.append(f"{name}: a table is needed; received: {_short(repr(raw))}. Write [{name}]")
        return {}
    values = _known(raw, name, known[name], problems)
    for key, value in values.items():
        if key == "budgets":
            problems += _tried(lambda budgets: as_budgets(budgets), {key: value}, f"{name}.{key}")
        elif key in _KEYWORDS:
            if not value >= 0:  # not a number, too
                problems.append(f"{name}.{key}: must not be negative; received: {value!r}")
        elif name != "data" and ((name, key) != ("project", "io_type") or value != AUTO):
            problems += _tried(_maker(name, key), {key: value}, f"{name}.{key}")
    return values


def _maker(table: str, key: str) -> Callable[..., Any]:
    if table == "project":
        return ProjectOptions
    return next(owner for owner in _OWNERS if key in {f.name for f in fields(owner)})


def _known(
    raw: Mapping[str, Any], where: str, types_: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """The keys that exist and have a value of their type."""
    result = {}
    for key, value in raw.items():
        if key not in types_:
            near = _near(key, types_, len(problems))
            problems.append(f"{where}.{_short(key)}: unknown setting.{near}")
        elif not _fits(value, types_[key]):
            wanted = _wanted(types_[key])
            problems.append(f"{where}.{key}: {wanted} is needed; received: {_short(repr(value))}")
        else:
            result[key] = value
    return result


def _rule(raw: Any, where: str, known: Mapping[str, Mapping[str, Any]], problems: list[str]) -> Rule | None:
    if not isinstance(raw, Mapping):
        problems.append(f"{where}: a table is needed; received: {_short(repr(raw))}. Write [[rule]]")
        return None
    before = len(problems)
    values = _known(raw, where, known["rule"], problems)
    if len(problems) == before:
        # What a rule knows nothing of: the names of strategies.
        problems += _tried(Rule, values, where) or _tried(LayerOptions, _building(values), where)
    return Rule(**values) if len(problems) == before else None


def _building(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of firmware in a rule."""
    names = {f.name for f in fields(LayerOptions)}
    return {name: value for name, value in values.items() if name in names}


def _tried(make: Callable[..., Any], values: Mapping[str, Any], where: str) -> list[str]:
    try:
        make(**values)
    except HgqifyError as error:
        text = str(error)
        # Problems of single layers name their place themselves.
        return [
            f"{where.removesuffix('.layers')}.{text}" if text.startswith("layers.") else f"{where}: {text}"
        ]
    return []


def _conflicts(convert: Mapping[str, Any], project: Mapping[str, Any]) -> list[str]:
    """What is possible by itself, but not together."""
    io_type = project.get("io_type", AUTO)
    chosen = {} if io_type == AUTO else {"io_type": io_type}
    widths, ranges = ({f.name for f in fields(owner)} for owner in (ConvertSettings, CalibrateSettings))
    settings = {key: v for key, v in convert.items() if key in widths}
    uniform = {key: v for key, v in convert.items() if key in {*widths, "bits"}}
    options = {key: v for key, v in project.items() if key != "io_type"}
    return [
        *_tried(ConvertSettings, {**settings, **chosen}, "convert"),
        *_tried(lambda **given: with_uniform_bits(given), uniform, "convert"),
        *_tried(CalibrateSettings, {key: v for key, v in convert.items() if key in ranges}, "convert"),
        *_tried(ProjectOptions, {**options, **chosen}, "project"),
    ]


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value can be one of a field's type; enums are checked by the field's owner."""
    for member in _members(hint):
        kind = typing.get_origin(member) or member
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return True
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(value, str):
            return True
        if kind is int and isinstance(value, bool):
            continue
        if isinstance(kind, type) and isinstance(value, kind):
            return True
    return False


_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
}


def _wanted(hint: Any) -> str:
    names = []
    for member in _members(hint):
        kind = typing.get_origin(member) or member
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            names.append("text")
        elif kind is not types.NoneType:
            names.append(_NAMES.get(kind, "a table"))
    return " or ".join(dict.fromkeys(names))
