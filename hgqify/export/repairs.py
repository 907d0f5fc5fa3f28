"""Mistakes in hls4ml's own headers, set right in the project's copy of them."""

from __future__ import annotations

from pathlib import Path

# Both depthwise headers of hls4ml 1.3.0 have the include guard of the two-dimensional one, so a project
# with both does not compile.
_GUARDS = {
    "nnet_sepconv1d_latency.h": ("NNET_SEPARABLE_CONV2D_LATENCY_H_", "NNET_SEPARABLE_CONV1D_LATENCY_H_")
}


def repair_headers(directory: Path) -> None:
    """Correct the headers of a written project."""
    for name, (wrong, right) in _GUARDS.items():
        path = directory / "firmware" / "nnet_utils" / name
        if path.exists():
            path.write_text(path.read_text().replace(wrong, right))
