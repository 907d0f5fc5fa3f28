"""Two fixed programs compared node by node, number by number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import zip_longest

import numpy as np

from hgqify.export.compare import Comparison, Mismatch
from hgqify.precision import ops
from hgqify.precision.program import Node, Program

_Fact = np.ndarray | str
_NOTHING = "nothing"


def compare_programs(reference: Program, other: Program, *, what: str, against: str) -> Comparison:
    """Compare everything two programs say, whether any input would show it or not.

    Args:
        reference: what should be.
        other: what is compared with it.
        what, against: names of the other program and of the reference, for the report.

    Returns:
        A comparison of all integers and settings; its place is the first that differs.
    """
    codes = differing = 0
    place: Mismatch | None = None
    for (layer, name, expected), (other_layer, other_name, found) in zip_longest(
        _parts(reference), _parts(other), fillvalue=("", "", {})
    ):
        for key in dict.fromkeys([*expected, *found]):
            a, b = expected.get(key, _NOTHING), found.get(key, _NOTHING)
            size, unequal = _unequal(a, b)
            codes, differing = codes + size, differing + len(unequal)
            if len(unequal) and place is None:
                place = _mismatch(layer or other_layer, name or other_name, key, a, b, int(unequal[0]))
    return Comparison(
        what=what,
        inputs="",
        samples=len(reference.nodes),
        codes=codes,
        differing=differing,
        place=place,
        reference=against,
        unit="nodes",
    )


def _parts(program: Program) -> Iterator[tuple[str, str, dict[str, _Fact]]]:
    """Layer, name and facts of every node, and of the program as a whole."""
    # Keras gives inputs without a name another one whenever they are made: their position tells them apart.
    called = {name: f"input {position}" for position, name in enumerate(program.inputs)}
    for node in program.nodes:
        yield node.layer, node.name, _facts(node, called)
    outputs = ", ".join(called.get(name, name) for name in program.outputs)
    whole: dict[str, _Fact] = {"program": program.name, "inputs": str(len(called)), "outputs": outputs}
    for kept in program.kept:
        reads, gives = (", ".join(called.get(n, n) for n in names) for names in (kept.reads, kept.gives))
        whole[f"kept {kept.layer}"] = f"{kept.kind} of {reads} to {gives}"
    yield "", program.name, whole


def _facts(node: Node, called: Mapping[str, str]) -> dict[str, _Fact]:
    facts: dict[str, _Fact] = {
        "node": called.get(node.name, node.name),
        "layer": called.get(node.name, node.layer),
        "operation": type(node.op).__name__,
        "inputs": ", ".join(called.get(name, name) for name in node.inputs),
        "shape": str(tuple(node.shape)),
    }
    for field in dataclasses.fields(node.op):
        value = getattr(node.op, field.name)
        if value is None:
            continue
        if isinstance(value, ops.Constant):
            facts[field.name] = np.asarray(value.codes)
            facts[f"fractional bits of {field.name}"] = str(value.frac)
        else:
            facts[field.name] = value if isinstance(value, np.ndarray) else str(value)
    return facts


def _unequal(a: _Fact, b: _Fact) -> tuple[int, np.ndarray]:
    """How many numbers a fact holds, and the positions of those that differ; a setting counts as one."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
        return a.size, np.flatnonzero(a != b)
    if isinstance(a, str) and isinstance(b, str) and a == b:
        return 1, np.arange(0)
    # Of arrays of two shapes, or an array instead of a setting, everything differs.
    size = max(np.size(a), np.size(b), 1)
    return size, np.arange(size)


def _mismatch(layer: str, node: str, key: str, a: _Fact, b: _Fact, position: int) -> Mismatch:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
        index = tuple(int(n) for n in np.unravel_index(position, a.shape))
        key = f"{key}, element {index}" if index else key
        a, b = str(a.flat[position]), str(b.flat[position])
    return Mismatch(layer=layer, node=node, what=key, expected=_described(a), found=_described(b))


def _described(fact: _Fact) -> str:
    return fact if isinstance(fact, str) else f"integers of shape {fact.shape}"
