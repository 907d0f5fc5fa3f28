"""A fixed program as one portable file: a JSON description and integer arrays in an .npz, no pickle."""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import ops
from hgqify.precision.forward import annotate
from hgqify.precision.program import Kept, Node, Program

FORMAT = "hgqify-program"
VERSION = 1

_OPS = {
    cls.__name__: cls
    for cls in vars(ops).values()
    if isinstance(cls, type) and issubclass(cls, ops.Op) and cls is not ops.Op
}
_DESCRIPTION = "program"
_LARGEST = 1 << 32
_RATIO = 100
# What reading and checking raise on a file that something else wrote, or changed.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def to_npz(program: Program, path: str | Path) -> None:
    """Writes a program; its bounds are not written, they follow from the rest."""
    arrays: dict[str, np.ndarray] = {}

    def put(array: np.ndarray) -> str:
        key = f"a{len(arrays)}"
        arrays[key] = np.asarray(array, np.int64)
        return key

    def encode(value: Any) -> Any:
        if isinstance(value, ops.Constant):
            return {"constant": put(value.codes), "frac": int(value.frac)}
        if isinstance(value, np.ndarray):
            return {"array": put(value)}
        if isinstance(value, tuple):
            return [encode(item) for item in value]
        return int(value) if isinstance(value, np.integer) else value

    nodes = [
        {
            "name": node.name,
            "op": type(node.op).__name__,
            "fields": {f.name: encode(getattr(node.op, f.name)) for f in dataclasses.fields(node.op)},
            "inputs": list(node.inputs),
            "shape": list(node.shape),
            "layer": node.layer,
        }
        for node in program.nodes
    ]
    text = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "name": program.name,
            "inputs": list(program.inputs),
            "outputs": list(program.outputs),
            "nodes": nodes,
            "kept": [dataclasses.asdict(kept) for kept in program.kept],
        }
    )
    description = np.frombuffer(text.encode(), np.uint8)
    with Path(path).open("wb") as file:
        np.savez_compressed(file, **{_DESCRIPTION: description}, **arrays)  # type: ignore[arg-type]


def from_npz(path: str | Path) -> Program:
    """Reads a program that `to_npz` wrote, with bounds.

    Raises:
        PrecisionError: the file is missing, damaged, or no program of this version.
    """
    try:
        _refuse_growth(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        description = json.loads(arrays.pop(_DESCRIPTION).tobytes())
        if description.get("format") != FORMAT or description.get("version") != VERSION:
            raise _unreadable(path, f"{description.get('format')} version {description.get('version')}")
        program = Program(
            nodes=tuple(_decode_node(node, arrays) for node in description["nodes"]),
            inputs=tuple(description["inputs"]),
            outputs=tuple(description["outputs"]),
            name=description["name"],
            # Absent in programs that were written before layers could stay in float.
            kept=tuple(_decode_kept(kept) for kept in description.get("kept", ())),
        )
        _check_names(program)
        return annotate(program)
    except _DAMAGE as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error


def _refuse_growth(path: str | Path) -> None:
    """PrecisionError for an archive that would fill the memory; of a pruned model it may grow 1000 times."""
    with zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
    if total > max(_LARGEST, _RATIO * Path(path).stat().st_size):
        raise _unreadable(path, f"{total:,} bytes when unpacked")


def _unreadable(path: str | Path, received: str) -> PrecisionError:
    return PrecisionError(
        "not a fixed program",
        where=str(path),
        received=received.splitlines()[0][:200],
        remedy="write it again from the Keras model",
    )


def _check_names(program: Program) -> None:
    """ValueError unless every node reads earlier ones and the outputs exist."""
    seen: set[str] = set()
    for node in program.nodes:
        if node.name in seen or not set(node.inputs) <= seen:
            raise ValueError(f"node {node.name!r} is out of order")
        seen.add(node.name)
    kept = {name for layer in program.kept for name in (*layer.reads, *layer.gives)}
    if not {*program.inputs, *program.outputs, *kept} <= seen:
        raise ValueError("an input or output does not exist")


def _decode_kept(data: dict[str, Any]) -> Kept:
    return Kept(
        layer=data["layer"], kind=data["kind"], reads=tuple(data["reads"]), gives=tuple(data["gives"])
    )


def _decode_node(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> Node:
    def decode(value: Any) -> Any:
        if isinstance(value, dict) and "constant" in value:
            return ops.Constant(codes=arrays[value["constant"]], frac=int(value["frac"]))
        if isinstance(value, dict):
            return arrays[value["array"]]
        return tuple(decode(item) for item in value) if isinstance(value, list) else value

    fields = {key: decode(value) for key, value in data["fields"].items()}
    if "rounding" in fields:
        fields |= {"rounding": Rounding(fields["rounding"]), "overflow": Overflow(fields["overflow"])}
    return Node(
        name=data["name"],
        op=_OPS[data["op"]](**fields),
        inputs=tuple(data["inputs"]),
        shape=tuple(data["shape"]),
        layer=data["layer"],
    )
