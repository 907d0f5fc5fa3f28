"""The backends of hls4ml a project can be written for, and why the others are refused."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hgqify.errors import ExportError

BOTH = ("io_parallel", "io_stream")


class Strategy(enum.StrEnum):
    """How hls4ml implements dot products."""

    LATENCY = "Latency"
    RESOURCE = "Resource"
    UNROLLED = "Resource_unrolled"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What a backend can do; each was tried with ``tests/bench/backends.py``.

    Attributes:
        name: hls4ml's name of it.
        strategies: those it has; the first is its default.
        kernels: folder with our own kernels in its dialect.
        ac_types: whether numbers are ``ac_fixed``, not ``ap_fixed``.
        clock_uncertainty: whether its project takes one.
        parallel_convolutions: whether its convolutions take a parallelization factor.
        weights_twice: whether synthesis and C simulation read constants from files of their own.
        depthwise: interfaces for which it has depthwise kernels.
        missing: layers for which it has no kernel -> the interfaces where that is so.
    """

    name: str
    strategies: tuple[Strategy, ...]
    kernels: str
    ac_types: bool = False
    clock_uncertainty: bool = False
    parallel_convolutions: bool = True
    weights_twice: bool = True
    depthwise: tuple[str, ...] = BOTH
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_XILINX = (Strategy.LATENCY, Strategy.RESOURCE, Strategy.UNROLLED)

BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        b.name: b
        for b in (
            Backend(name="Vitis", strategies=_XILINX, kernels="vivado", clock_uncertainty=True),
            Backend(name="Vivado", strategies=_XILINX, kernels="vivado", clock_uncertainty=True),
            Backend(
                name="Catapult",
                strategies=(Strategy.LATENCY, Strategy.RESOURCE),
                kernels="catapult",
                ac_types=True,
                parallel_convolutions=False,
                depthwise=("io_stream",),
                missing={
                    "FixedPointQuantizer": BOTH,
                    "HgqifyMatmul": BOTH,
                    "HgqifyEdgeTables": BOTH,
                    "Cropping1D": BOTH,
                    "Cropping2D": BOTH,
                    "Transpose": ("io_stream",),
                    "Merge maximum": ("io_stream",),
                    "Merge minimum": ("io_stream",),
                    "Concatenate of vectors": ("io_stream",),
                },
            ),
            Backend(
                name="Quartus",
                strategies=(Strategy.RESOURCE,),
                kernels="quartus",
                ac_types=True,
                parallel_convolutions=False,
                weights_twice=False,
                depthwise=(),
                missing={
                    "FixedPointQuantizer": BOTH,
                    "HgqifyMatmul": BOTH,
                    "HgqifyEdgeTables": BOTH,
                    "Cropping1D": BOTH,
                    "Cropping2D": BOTH,
                },
            ),
        )
    }
)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "oneAPI": "without Intel's icpx its projects cannot be simulated, and none was ever compared",
        "Libero": "hls4ml writes it only where Microchip's shls is installed, and has hardly more than dense",
        "VivadoAccelerator": "it takes one input and one output, and loses our kernels without a word; "
        "export with Vivado and wrap the top function",
        "SymbolicExpression": "it prints formulas, not networks",
    }
)


def find_backend(name: object) -> Backend:
    """The backend of a name.

    Raises:
        ExportError: it is unknown, or not supported; says why, and names those that are.
    """
    found = BACKENDS.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    supported = ", ".join(BACKENDS)
    if isinstance(name, str) and name in UNSUPPORTED:
        raise ExportError(
            f"this backend is not supported: {UNSUPPORTED[name]}",
            received=name,
            remedy=f"use one of {supported}",
        )
    near = difflib.get_close_matches(str(name), [*BACKENDS, *UNSUPPORTED], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ExportError("unknown backend", received=name, remedy=f"use one of {supported}{hint}")
