"""`hgqify export`: the project of a saved result, written in another way."""

import os
from pathlib import Path

import numpy as np
import pytest
from stand_in import run

import hgqify
from hgqify.export import compile_project, compiler, random_inputs
from hgqify.precision import from_npz
from hgqify.reference import run as reference


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_as_it_was_written(results: Path, tmp_path: Path) -> None:
    before = content(results / "a")
    done = run("export", str(results / "a"), "-o", str(tmp_path / "hls"))
    assert (done.exit_code, done.stdout) == (0, f"written     to {tmp_path}/hls/: an hls4ml project\n")
    first, second = content(results / "a" / "hls"), content(tmp_path / "hls")
    assert set(first) == set(second)
    assert {n: t for n, t in first.items() if n.startswith("firmware/")} == {
        n: t for n, t in second.items() if n.startswith("firmware/")
    }
    assert content(results / "a") == before


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
def test_for_another_backend_and_interface_it_is_exact(results: Path, tmp_path: Path) -> None:
    options = "--backend Quartus --io-type io_stream --strategy Resource --reuse-factor 5"
    done = run("export", str(results / "b"), "-o", str(tmp_path / "hls"), *options.split())
    assert done.exit_code == 0, done.output
    program = from_npz(results / "b" / "program.npz")
    inputs = random_inputs(program, 30, seed=0)
    (expected,) = reference(program, list(inputs)).values
    with compile_project(tmp_path / "hls") as simulation:
        (found,) = simulation.run(inputs)
    np.testing.assert_array_equal(np.asarray(found, np.float64).reshape(expected.shape), expected)


def test_a_factor_that_does_not_fit_is_noted(results: Path, tmp_path: Path) -> None:
    options = ("--strategy", "Resource", "--reuse-factor", "7")
    done = run("export", str(results / "a"), "-o", str(tmp_path / "hls"), *options)
    assert done.exit_code == 0
    assert done.stdout.startswith("note        dense: reuse_factor 7 became")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--backend Vitus", "did you mean Vitis?"),
        ("--backend Quartus --strategy Latency", "Quartus has no strategy Latency"),
        ("--io-type io_stream --parallelization-factor 2", "one position at a time"),
        ("--part a;b", "the name of an FPGA"),
    ],
)
def test_what_cannot_be_is_refused(options: str, message: str, results: Path, tmp_path: Path) -> None:
    done = run("export", str(results / "a"), "-o", str(tmp_path / "hls"), *options.split())
    assert done.exit_code == 2
    assert message in done.stderr
    assert os.listdir(tmp_path) == []


def test_an_output_that_exists(results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for force in ([], ["--force"]):  # it is no project, so it is never replaced
        done = run("export", str(results / "a"), "-o", str(tmp_path), *force)
        assert done.exit_code == 2
    assert os.listdir(tmp_path) == ["mine.txt"]
    target = tmp_path / "hls"
    hgqify.export_saved(results / "a", target)
    assert run("export", str(results / "a"), "-o", str(target)).exit_code == 2
    assert run("export", str(results / "a"), "-o", str(target), "--force").exit_code == 0
