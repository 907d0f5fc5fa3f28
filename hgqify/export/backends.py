"""The backends of hls4ml a project can be written for, and why the others are refused."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hgqify.errors import ExportError


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
        missing: hls4ml layers for which it has no kernel, and how else to say it.
    """

    name: str
    strategies: tuple[Strategy, ...]
    kernels: str
    ac_types: bool = False
    clock_uncertainty: bool = False
    parallel_convolutions: bool = True
    missing: Mapping[str, str] = field(default_factory=dict)


_XILINX = (Strategy.LATENCY, Strategy.RESOURCE, Strategy.UNROLLED)

BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        b.name: b
        for b in (
            Backend(name="Vitis", strategies=_XILINX, kernels="vivado", clock_uncertainty=True),
            Backend(name="Vivado", strategies=_XILINX, kernels="vivado", clock_uncertainty=True),
        )
    }
)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "oneAPI": "without Intel's icpx its projects cannot be simulated, and none was ever compared",
        "Libero": "hls4ml writes it only where Microchip's shls is installed, and has hardly more than dense",
        "VivadoAccelerator": "hls4ml leaves kernels of ours out of its projects without a word; "
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
