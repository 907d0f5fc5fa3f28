"""C simulation of a written project: compile it, load it, run it on data.

The project on disk is what runs: a change made there by hand is seen. hls4ml's own ``compile`` does the
same steps; here they need no hls4ml and no model in memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.project import LAYOUT_FILE


def compiler() -> str | None:
    """Path of the C++ compiler, None if there is none."""
    return shutil.which("g++")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Shapes and names of a written project, from its layout file."""

    project: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    traced: dict[str, tuple[int, ...]]
    nodes: dict[str, str]


def read_layout(directory: Path) -> Layout:
    """Read the layout file of a project.

    Raises:
        ExportError: the folder is not a project written by hgqify.
    """
    path = Path(directory) / LAYOUT_FILE
    try:
        raw = json.loads(path.read_text())
        return Layout(
            project=raw["project"],
            inputs=tuple(tuple(s) for s in raw["inputs"]),
            outputs=tuple(tuple(s) for s in raw["outputs"]),
            traced={name: tuple(shape) for name, shape in raw["traced"].items()},
            nodes=raw["nodes"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            "not a project written by hgqify",
            where=str(directory),
            received=f"{LAYOUT_FILE}: {error}",
            remedy="point to the hls folder of an hgqify result",
        ) from error


class _TraceData(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p)]


class CSimulation:
    """A compiled project.

    Use `compile_project` to get one. Calls run sample by sample in one thread.
    """

    def __init__(self, library: ctypes.CDLL, layout: Layout) -> None:
        self._library = library
        self.layout = layout
        self._top = getattr(library, f"{layout.project}_double")
        count = len(layout.inputs) + len(layout.outputs)
        self._top.argtypes = [ctypes.POINTER(ctypes.c_double)] * count
        self._top.restype = None

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Outputs as float64, exact for results of at most 53 bits.

        Args:
            inputs: one array (samples, *shape) per model input.
        """
        inputs = [np.ascontiguousarray(x, np.float64).reshape(len(x), -1) for x in inputs]
        samples = len(inputs[0])
        outputs = [np.zeros((samples, int(np.prod(shape)))) for shape in self.layout.outputs]
        for n in range(samples):
            self._top(*(_pointer(a[n]) for a in (*inputs, *outputs)))
        return tuple(o.reshape(samples, *s) for o, s in zip(outputs, self.layout.outputs, strict=True))

    def trace(self, inputs: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Value of every traced layer, one dictionary per sample."""
        arrays = [np.ascontiguousarray(x, np.float64).reshape(len(x), -1) for x in inputs]
        count = len(self.layout.traced)
        data = (_TraceData * count)()
        self._library.allocate_trace_storage.argtypes = [ctypes.c_size_t]
        self._library.collect_trace_output.argtypes = [ctypes.POINTER(_TraceData)]
        self._library.allocate_trace_storage(ctypes.sizeof(ctypes.c_double))
        try:
            for n in range(len(arrays[0])):
                outputs = [np.zeros(int(np.prod(shape))) for shape in self.layout.outputs]
                self._top(*(_pointer(a) for a in (*(x[n] for x in arrays), *outputs)))
                self._library.collect_trace_output(data)
                yield {name: values for name, values in map(self._traced, data) if values is not None}
        finally:
            self._library.free_trace_storage()

    def _traced(self, item: Any) -> tuple[str, np.ndarray | None]:
        name = item.name.decode()
        shape = self.layout.traced.get(name)
        if shape is None:
            return name, None
        values = np.ctypeslib.as_array(ctypes.cast(item.data, ctypes.POINTER(ctypes.c_double)), shape)
        return name, values.copy()


def _pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


def compile_project(directory: Path, *, optimization: str = "-O1") -> CSimulation:
    """Compile a written project into a temporary library and load it.

    The project's own ``build_lib.sh`` does it, in a copy, so the project stays as it is. ``-O1`` compiles
    about twice as fast as hls4ml's ``-O3`` and runs as fast.

    Raises:
        ExportError: there is no compiler, or the project does not compile.
    """
    directory = Path(directory)
    layout = read_layout(directory)
    if compiler() is None:
        raise ExportError(
            "no C++ compiler found", received="g++", remedy="install g++, or check without C simulation"
        )
    with tempfile.TemporaryDirectory(prefix="hgqify_csim_") as scratch:
        copy = Path(scratch) / "project"
        shutil.copytree(directory, copy)
        script = copy / "build_lib.sh"
        try:
            script.write_text(re.sub(r"-O\d\b", optimization, script.read_text()))
        except OSError as error:
            raise ExportError(
                "the project has no build_lib.sh", where=str(directory), received=str(error)
            ) from error
        done = subprocess.run(
            ["bash", "build_lib.sh"], cwd=copy, capture_output=True, text=True, check=False, env=os.environ
        )
        libraries = sorted((copy / "firmware").glob(f"{layout.project}-*.so"))
        if done.returncode != 0 or not libraries:
            errors = [
                line for line in done.stderr.splitlines() if "error" in line
            ] or done.stderr.splitlines()
            raise ExportError(
                "the project does not compile",
                where=str(directory),
                received="; ".join(errors[:3]),
                remedy="run build_lib.sh there to see the compiler's messages",
            )
        simulation = CSimulation(ctypes.CDLL(str(libraries[-1])), layout)
        # Weights are read from text files on the first call: make it while the copy is there.
        simulation.run([np.zeros((1, *shape)) for shape in layout.inputs])
        return simulation
