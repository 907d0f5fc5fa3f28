"""Networks compiled together compute what each computes alone: what the reference computes."""

import export_programs
import numpy as np
import pytest
from batch_csim import build, simulate_many

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, compiler, random_inputs, write_project
from hgqify.reference import run

pytestmark = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")


def test_both_interfaces_and_backends_in_one_call(tmp_path):
    kinds = [("both_depthwise", "io_parallel", "Vitis"), ("streamed", "io_stream", "Vitis"),
             ("passing", "io_parallel", "Vivado"), ("streamed", "io_stream", "Vivado"),
             ("meetings", "io_parallel", "Vitis")]  # fmt: skip
    jobs = []
    for name, io_type, backend in kinds:
        program = getattr(export_programs, name)()
        options = ProjectOptions(io_type=io_type, backend=backend)
        jobs.append((program, options, random_inputs(program, 60, seed=4)))
    results = simulate_many(jobs, tmp_path)
    assert len(results) == len(jobs)
    for (program, _, inputs), outputs in zip(jobs, results, strict=True):
        for found, expected in zip(outputs, run(program, list(inputs)).values, strict=True):
            np.testing.assert_array_equal(found.reshape(expected.shape), expected)
            assert len(np.unique(expected)) > 1


def test_a_project_that_does_not_compile_spoils_no_other(tmp_path):
    program = export_programs.both_depthwise()
    directories = [tmp_path / name for name in ("a", "b", "c")]
    for directory in directories:
        write_project(program, directory, ProjectOptions(project_name=directory.name))
    broken = directories[1] / "firmware" / "b.cpp"
    broken.write_text(broken.read_text().replace("nnet::depthwise_conv_1d_cl", "nnet::no_such_kernel"))
    built = build(directories)
    assert "no_such_kernel" in str(built["b"])
    assert all(built[name].suffix == ".so" for name in ("a", "c"))


def test_what_cannot_be_printed_is_refused(tmp_path):
    program = export_programs.meetings()
    with pytest.raises(ExportError, match="io_stream needs one format"):
        simulate_many([(program, ProjectOptions(io_type="io_stream"), random_inputs(program, 4))], tmp_path)
