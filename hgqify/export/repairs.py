"""Mistakes in hls4ml's own files, set right in the project's copy of them."""

from __future__ import annotations

import re
from pathlib import Path

# Both depthwise headers of hls4ml 1.3.0 have the include guard of the two-dimensional one, so a project
# with both does not compile.
_GUARDS = {
    "nnet_sepconv1d_latency.h": ("NNET_SEPARABLE_CONV2D_LATENCY_H_", "NNET_SEPARABLE_CONV1D_LATENCY_H_")
}


# The bridge of a Catapult project reads constants from where it was first written, wherever it is now.
_WEIGHTS_FOLDER = re.compile(r'(static std::string s_weights_dir = )"[^"]*"')
_COMPILE_BRIDGE = "-c ${PROJECT}_bridge.cpp"
_WITH_FOLDER = r"""-D HGQIFY_WEIGHTS="\"$(cd "$(dirname "$0")" && pwd)/firmware/weights\"" """


def repair_project(directory: Path, project_name: str) -> None:
    """Correct the files of a written project."""
    bridge, script = directory / f"{project_name}_bridge.cpp", directory / "build_lib.sh"
    text, found = _WEIGHTS_FOLDER.subn(r"\1HGQIFY_WEIGHTS", bridge.read_text() if bridge.exists() else "")
    if found:
        bridge.write_text(text)
        script.write_text(script.read_text().replace(_COMPILE_BRIDGE, _WITH_FOLDER + _COMPILE_BRIDGE))
    for name, (wrong, right) in _GUARDS.items():
        path = directory / "firmware" / "nnet_utils" / name
        if path.exists():
            path.write_text(path.read_text().replace(wrong, right))
