"""What a backend has no kernel or no type for, found before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from hgqify.errors import ExportError
from hgqify.export.backends import BACKENDS, Backend
from hgqify.export.plan import Plan
from hgqify.export.spec import LayerSpec
from hgqify.precision import ops
from hgqify.precision.program import Program

_WORDS = {
    "FixedPointQuantizer": "a format per element",
    "HgqifyMatmul": "a product of two tensors over an axis",
    "HgqifyEdgeTables": "a table for every edge",
    "Cropping1D": "cropping",
    "Cropping2D": "cropping",
    "Transpose": "a transposition",
    "Merge maximum": "the larger of two tensors",
    "Merge minimum": "the smaller of two tensors",
    "Concatenate of vectors": "a concatenation of vectors",
}


def refused(program: Program, plan: Plan, layers: Sequence[LayerSpec], backend: Backend) -> list[str]:
    """One message for every layer that the backend cannot compute exactly.

    Args:
        program: what is printed.
        plan: its types.
        layers: it, printed.
        backend: what for.
    """
    problems = [
        _message(spec.layer, f"{backend.name} has no kernel for {_WORDS[key]}", backend, key, plan.io_type)
        for spec in layers
        if plan.io_type in backend.missing.get(key := _key(spec, plan), ())
    ]
    if backend.ac_types:
        # The second bit stands behind the point, so what should be rounded or wrapped off stays.
        problems += [
            str(
                ExportError(
                    f"hls4ml writes a quantizer of one bit as two bits for {backend.name}",
                    where=node.layer,
                    received=str(plan.result[node.name]),
                    remedy=f"give it two bits, or export for {_others(backend)}",
                )
            )
            for node in program.nodes
            if isinstance(node.op, ops.Quantize) and plan.result[node.name].width == 1
        ]
    return problems


def _key(spec: LayerSpec, plan: Plan) -> str:
    if spec.kind == "Merge":
        return f"Merge {spec.attributes['op']}"
    if spec.kind == "Concatenate" and spec.attributes["op"] == "concatenate1d":
        return "Concatenate of vectors"
    return spec.kind


def _message(layer: str, what: str, backend: Backend, key: str, io_type: str) -> str:
    other = "io_parallel" if io_type == "io_stream" else "io_stream"
    ways = [f"export for {_others(backend)}"]
    if other not in backend.missing.get(key, ()):
        ways.insert(0, f"use {other}")
    return str(ExportError(f"{what} in {io_type}", where=layer, remedy=" or ".join(ways)))


def _others(backend: Backend) -> str:
    """Backends that have everything."""
    return " or ".join(b.name for b in BACKENDS.values() if not b.missing and b is not backend)
