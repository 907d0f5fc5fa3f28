"""C simulation of a written project: compile it, load it, run it on data.

The project on disk is what runs: a change made there by hand is seen. hls4ml's own ``compile`` does the
same steps; here they need no hls4ml and no model in memory.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.project import LAYOUT_FILE

# Most that is sent, or answered, at a time: memory stays bounded whatever the batch.
_REQUEST_BYTES = 1 << 24

_WORKER = Path(__file__).with_name("csim_worker.py")


def compiler() -> str | None:
    """Path of the C++ compiler, None if there is none."""
    return shutil.which("g++")


def compiler_version() -> str:
    """The first line the C++ compiler says about itself, 'unknown' if there is none."""
    path = compiler()
    if path is None:
        return "unknown"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), "unknown")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Shapes and names of a written project, from its layout file."""

    project: str
    backend: str
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
            backend=raw["backend"],
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


class CSimulation:
    """A compiled project, running in a process of its own. Use `compile_project` to get one.

    Close it, or use it in a ``with`` statement, to end the process and remove the compiled files.
    """

    def __init__(self, library: Path, layout: Layout, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self.layout = layout
        self._scratch = scratch
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        described = {
            "project": layout.project,
            "inputs": [math.prod(shape) for shape in layout.inputs],
            "outputs": [math.prod(shape) for shape in layout.outputs],
            "traced": {name: math.prod(shape) for name, shape in layout.traced.items()},
        }
        widest = max(sum(described["inputs"]), sum(described["outputs"]), 1)
        # The worker holds a request and its answer whole; it answers when it has read the request.
        self._rows = max(1, _REQUEST_BYTES // (8 * widest))
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(library), json.dumps(described)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Outputs as float64, exact for results of at most 53 bits.

        Args:
            inputs: one array (samples, *shape) per model input.

        Raises:
            ExportError: the C++ code aborted.
        """
        samples = len(inputs[0])
        outputs = tuple(np.empty((samples, *shape)) for shape in self.layout.outputs)
        for start in range(0, samples, self._rows):
            part = [x[start : start + self._rows] for x in inputs]
            count = self._request("run", part)
            for output, shape in zip(outputs, self.layout.outputs, strict=True):
                output[start : start + count] = self._read((count, *shape))
        return outputs

    def trace(self, inputs: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Value of every traced layer, one dictionary per sample.

        Raises:
            ExportError: the C++ code aborted.
        """
        # One by one: a caller that stops early leaves no answer unread.
        for sample in range(len(inputs[0])):
            self._request("trace", [x[sample : sample + 1] for x in inputs])
            yield {name: self._read(shape) for name, shape in self.layout.traced.items()}

    def close(self) -> None:
        """End the process, whatever it is doing, and remove the compiled files."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._errors.close()
        self._scratch.cleanup()

    def __enter__(self) -> CSimulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, command: str, inputs: Sequence[np.ndarray]) -> int:
        arrays = [np.ascontiguousarray(x, np.float64) for x in inputs]
        pipe = self._process.stdin
        if pipe is None:
            raise self._aborted()
        try:
            pipe.write(f"{command} {len(arrays[0])}\n".encode())
            for array in arrays:
                pipe.write(array.tobytes())
            pipe.flush()
        except OSError:
            raise self._aborted() from None
        return len(arrays[0])

    def _read(self, shape: tuple[int, ...]) -> np.ndarray:
        pipe = self._process.stdout
        size = 8 * math.prod(shape)
        data = b"" if pipe is None else pipe.read(size)
        if len(data) < size:
            raise self._aborted()
        return np.frombuffer(data).reshape(shape).copy()

    def _aborted(self) -> ExportError:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        status = self._process.returncode
        killed = signal.Signals(-status).name if -status in set(signal.Signals) else ""
        said = lines[-1] if lines else f"exit status {status}"
        return ExportError(
            "the C simulation aborted",
            where=self.layout.project,
            received=f"{said}, killed by {killed}" if killed else said,
            remedy="the project on disk is damaged, or holds an operation hgqify should have refused",
        )


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
    scratch = tempfile.TemporaryDirectory(prefix="hgqify_csim_")
    try:
        library = _build(directory, Path(scratch.name) / "project", layout, optimization)
        return CSimulation(library, layout, scratch)
    except BaseException:
        scratch.cleanup()
        raise


def _build(directory: Path, copy: Path, layout: Layout, optimization: str) -> Path:
    """The library of a copy of the project; weights are read from the copy when it runs."""
    shutil.copytree(directory, copy)
    script = copy / "build_lib.sh"
    try:
        script.write_text(re.sub(r"-O\d\b", optimization, script.read_text()))
    except OSError as error:
        raise ExportError(
            "the project has no build_lib.sh", where=str(directory), received=str(error)
        ) from error
    done = subprocess.run(["bash", "build_lib.sh"], cwd=copy, capture_output=True, text=True, check=False)
    libraries = sorted((copy / "firmware").glob(f"{layout.project}-*.so"))
    if done.returncode != 0 or not libraries:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise ExportError(
            "the project does not compile",
            where=str(directory),
            received="; ".join(errors[:3]),
            remedy="run build_lib.sh there to see the compiler's messages",
        )
    return libraries[-1]
