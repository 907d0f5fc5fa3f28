"""The process that runs the C simulation: large batches, early ends, sudden death."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import export_programs as programs
import numpy as np
import pytest

from hgqify.errors import ExportError
from hgqify.export import (
    CSimulation,
    ProjectOptions,
    compile_project,
    compiler,
    random_inputs,
    write_project,
)
from hgqify.reference import run

pytestmark = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")

PIPE = 1 << 16  # bytes that Linux holds for a reader


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A program as wide at its end as at its beginning, and its project, compiled once."""
    b = programs.Builder()
    b("x", programs.Input(), "", (12, 8))
    b("xq", programs.quantize(1, 2, 5), "x", (12, 8))
    b("dense", b.dense(8, 8), "xq", (12, 8))
    b("out", programs.quantize(1, 3, 6), "dense", (12, 8))
    program, directory = b.program("out"), tmp_path_factory.mktemp("csim") / "hls"
    write_project(program, directory, ProjectOptions(io_type="io_parallel"))
    with compile_project(directory, optimization="-O0") as simulation:
        yield program, simulation


@pytest.fixture
def simulation(compiled):
    """A process of its own for the compiled library."""
    (library,) = Path(compiled[1]._scratch.name).glob("project/firmware/*.so")
    with CSimulation(library, compiled[1].layout, tempfile.TemporaryDirectory()) as simulation:
        yield simulation


def test_batches_of_any_size(compiled, simulation, monkeypatch):
    """Larger than the pipes hold both ways, cut into several requests, and empty."""
    program, _ = compiled
    inputs = random_inputs(program, 3000, seed=1)
    assert inputs[0].nbytes * 2 > 30 * PIPE
    (expected,) = run(program, list(inputs)).values
    np.testing.assert_array_equal(simulation.run(inputs)[0], expected)
    monkeypatch.setattr(simulation, "_rows", 7)
    np.testing.assert_array_equal(simulation.run([inputs[0][:100]])[0], expected[:100])
    assert simulation.run([inputs[0][:0]])[0].shape == (0, 12, 8)

    # Samples that nobody asks for do not become the answer to the next request.
    traced = simulation.trace([inputs[0][:3]])
    first = {name: values.copy() for name, values in next(traced).items()}
    np.testing.assert_array_equal(simulation.run([inputs[0][5:9]])[0], expected[5:9])
    again = list(simulation.trace([inputs[0][:3]]))
    assert len(again) == 3
    assert first.keys() == again[0].keys() == dict(simulation.layout.traced).keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[0][name])
        assert not np.array_equal(values, again[1][name])


def test_a_process_that_is_killed_is_an_error(compiled, simulation):
    program, _ = compiled
    inputs = random_inputs(program, 2000, seed=1)
    endless = [np.broadcast_to(inputs[0][:1], (10**6, *inputs[0].shape[1:]))]
    timer = threading.Timer(0.1, os.kill, (simulation._process.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(ExportError, match=r"the C simulation aborted; received: .*killed by SIGKILL"):
        simulation.run(endless)
    timer.join()
    with pytest.raises(ExportError, match="SIGKILL"):
        simulation.run(inputs)
    with pytest.raises(ExportError, match="SIGKILL"):
        next(simulation.trace(inputs))


def test_closing_does_not_wait_for_the_process(simulation):
    os.kill(simulation._process.pid, signal.SIGSTOP)
    simulation.close()
    assert simulation._process.returncode == -signal.SIGKILL
