"""Programs written and read back."""

import numpy as np
import pytest
from programs import random_program

from hgqify.errors import PrecisionError
from hgqify.precision import annotate, count_ebops, from_npz, to_npz
from hgqify.reference import run


@pytest.mark.parametrize("seed", range(12))
def test_round_trip_computes_the_same(seed, tmp_path):
    rng = np.random.default_rng(seed)
    program = annotate(random_program(rng, 12))
    to_npz(program, tmp_path / "program.npz")
    again = from_npz(tmp_path / "program.npz")
    assert [(n.name, n.layer, n.inputs, n.shape, type(n.op)) for n in again.nodes] == [
        (n.name, n.layer, n.inputs, n.shape, type(n.op)) for n in program.nodes
    ]
    assert (again.inputs, again.outputs, again.name) == (program.inputs, program.outputs, program.name)
    x = rng.normal(size=(4, *program.nodes[0].shape)).astype(np.float32)
    for a, b in zip(run(program, x).outputs, run(again, x).outputs, strict=True):
        assert a.frac == b.frac
        np.testing.assert_array_equal(a.codes, b.codes)
    assert count_ebops(again) == count_ebops(program)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "program.npz"
    with pytest.raises(PrecisionError, match="not a fixed program"):
        from_npz(path)
    path.write_bytes(b"no archive")
    with pytest.raises(PrecisionError, match="not a fixed program"):
        from_npz(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(PrecisionError, match="not a fixed program"):
        from_npz(path)
    np.savez(path, program=np.array([object()], dtype=object))
    with pytest.raises(PrecisionError, match="not a fixed program"):
        from_npz(path)


def test_truncated_and_future_files_are_refused(tmp_path):
    path = tmp_path / "program.npz"
    to_npz(random_program(np.random.default_rng(0)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PrecisionError, match="not a fixed program"):
        from_npz(path)
    np.savez(path, program=np.frombuffer(b'{"format": "hgqify-program", "version": 99}', np.uint8))
    with pytest.raises(PrecisionError, match="version 99"):
        from_npz(path)
