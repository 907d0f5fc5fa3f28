"""A report.json held against its description, `report.schema.json`.

Of JSON Schema (draft 2020-12) just the words that our description uses, with messages for people: the path of
the first value that is wrong, what it should be, and what it is. Unknown keys pass, as the standard has it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import chain
from typing import Any

from hgqify.errors import DataError

_TYPES = {
    "object": (dict, "an object"),
    "array": (list, "a list"),
    "string": (str, "text"),
    "number": ((int, float), "a number"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
    "null": (type(None), "null"),
}


@functools.cache
def schema() -> Mapping[str, Any]:
    """The description, as a JSON Schema."""
    return json.loads(files("hgqify.report").joinpath("report.schema.json").read_text(encoding="utf-8"))


def validated(data: Any, where: str) -> dict[str, Any]:
    """A report that is as described, and whose parts fit together.

    Args:
        data: what a JSON parser made of it.
        where: name of the file, for messages.

    Raises:
        DataError: it is not; names the first place.
    """
    version = data.get("schema") if isinstance(data, dict) else None
    wanted = schema()["properties"]["schema"]["const"]
    if isinstance(version, int) and version != wanted:
        raise DataError(
            "the report is of another version of hgqify",
            where=where,
            received=f"schema {version}; this version reads {wanted}",
            remedy="convert the model again",
        )
    # Lazily: the parts are looked at only where all of them are as described.
    for path, problem, value in chain(_problems(data, schema(), ""), _misfits(data)):
        raise DataError(
            f"{path or 'the report'} must be {problem}",
            where=where,
            received=_shown(value),
            remedy="give a report.json that hgqify wrote",
        )
    return data


def _shown(value: Any) -> str:
    text = "nothing" if value is _MISSING else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


_MISSING = object()
_Problem = tuple[str, str, Any]


def _problems(value: Any, wanted: Mapping[str, Any], path: str) -> Iterator[_Problem]:
    """The problems, each as path, what there should be, and what there is."""
    if "$ref" in wanted:
        yield from _problems(value, schema()["$defs"][wanted["$ref"].rsplit("/", 1)[1]], path)
        return
    if "anyOf" in wanted:
        found = [list(_problems(value, one, path)) for one in wanted["anyOf"]]
        if all(found):
            yield from max(found, key=lambda problems: len(problems[0][0]))
        return
    if "const" in wanted and (type(value), value) != (type(wanted["const"]), wanted["const"]):
        yield path, repr(wanted["const"]), value
        return
    if "enum" in wanted and value not in wanted["enum"]:
        yield path, f"one of {', '.join(map(str, wanted['enum']))}", value
        return
    types = wanted.get("type", ())
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, name) for name in types):
        yield path, " or ".join(_TYPES[name][1] for name in types), value
        return
    yield from _bounds(value, wanted, path)
    if isinstance(value, dict):
        yield from _members(value, wanted, path)
    if isinstance(value, list):
        least, most = wanted.get("minItems", 0), wanted.get("maxItems", len(value))
        if not least <= len(value) <= most:
            yield path, f"a list of {least} to {most}", value
        for n, item in enumerate(value if "items" in wanted else ()):
            yield from _problems(item, wanted["items"], f"{path}[{n}]")


def _is(value: Any, name: str) -> bool:
    # For Python, True is a number.
    return isinstance(value, _TYPES[name][0]) and (name == "boolean" or not isinstance(value, bool))


def _bounds(value: Any, wanted: Mapping[str, Any], path: str) -> Iterator[_Problem]:
    if not _is(value, "number"):
        return
    if value < wanted.get("minimum", value):
        yield path, f"{wanted['minimum']} or more", value
    if value > wanted.get("maximum", value):
        yield path, f"{wanted['maximum']} or less", value
    if "exclusiveMinimum" in wanted and value <= wanted["exclusiveMinimum"]:
        yield path, f"above {wanted['exclusiveMinimum']}", value


def _members(value: dict[str, Any], wanted: Mapping[str, Any], path: str) -> Iterator[_Problem]:
    for name in wanted.get("required", ()):
        if name not in value:
            yield f"{path}.{name}".lstrip("."), "there", _MISSING
    known = wanted.get("properties", {})
    others = wanted.get("additionalProperties")
    for name, item in value.items():
        inner = known.get(name, others)
        if isinstance(inner, Mapping):
            yield from _problems(item, inner, f"{path}.{name}".lstrip("."))


def _misfits(data: dict[str, Any]) -> Iterator[_Problem]:
    """What a schema cannot say."""
    nodes, edges = data["graph"]["nodes"], data["graph"]["edges"]
    known = {node["id"] for node in nodes}
    for n, edge in enumerate(edges):
        if not {edge["source"], edge["target"]} <= known:
            yield f"graph.edges[{n}]", "between nodes of the graph", edge
            return
    if len(known) != len(nodes):
        yield "graph.nodes", "of different ids", [node["id"] for node in nodes]
    readers: dict[int, set[int]] = {}
    for edge in edges:
        readers.setdefault(edge["source"], set()).add(edge["target"])
    waiting = dict.fromkeys(known, 0)
    for targets in readers.values():
        for target in targets:
            waiting[target] += 1
    ready = [node for node, count in waiting.items() if not count]
    while ready:
        for target in readers.get(ready.pop(), ()):
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if any(waiting.values()):
        yield "graph.edges", "without circles", sorted(node for node, count in waiting.items() if count)
    found = data["outcomes"] or {}
    needed = {
        "classes": ("quantized",),
        "numbers": ("rms", "float_rms", "high", "counts", "float_counts", "points"),
    }
    for name in needed.get(found.get("kind", ""), ()):
        if found.get(name) is None:
            yield f"outcomes.{name}", "there", _MISSING
    for name in ("quantized", "float"):
        matrix = found.get(name)
        if matrix is not None and any(len(row) != len(found["quantized"]) for row in [matrix, *matrix]):
            yield f"outcomes.{name}", "a square, as large as the other", matrix
