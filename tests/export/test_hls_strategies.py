"""Strategies, reuse and parallelization change how firmware computes, and no code of what it computes."""

import json
from pathlib import Path

import pytest
from small_programs import SMALL, joined

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, compare, compile_project, compiler, random_inputs, write_project
from hgqify.export.weights import compare_weights

NAMES = (
    "dense", "dense on a sequence", "conv1d", "conv1d strided", "conv2d", "conv2d strided", "pointwise",
    "depthwise1d", "depthwise2d", "batchnorm", "batchnorm on an image", "average",
)  # fmt: skip
MATRIX = [
    (backend, io_type, strategy, reuse)
    for backend, strategies in (
        ("Vitis", ("Latency", "Resource", "Resource_unrolled")),
        ("Vivado", ("Resource", "Resource_unrolled")),
        ("Catapult", ("Latency", "Resource")),
        ("Quartus", ("Resource",)),
    )
    for io_type in ("io_parallel", "io_stream")
    for strategy in strategies
    for reuse in (3,)
]


def linear():
    return joined([SMALL[name]() for name in NAMES])


def written(folder: Path, **options):
    program = linear()
    return program, write_project(program, folder, ProjectOptions(**options))


def differing(program, folder: Path) -> str:
    with compile_project(folder, optimization="-O0") as simulation:
        (c,) = compare(program, [random_inputs(program, 50)], name="random", simulation=simulation)
    return str(c.place) if c.differing else ""


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
@pytest.mark.parametrize(("backend", "io_type", "strategy", "reuse"), MATRIX)
def test_strategies_are_exact(backend, io_type, strategy, reuse, tmp_path):
    program, _ = written(
        tmp_path / "hls", backend=backend, io_type=io_type, strategy=strategy, reuse_factor=reuse
    )
    assert differing(program, tmp_path / "hls") == ""
    assert compare_weights(tmp_path / "hls", program) == ()


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
@pytest.mark.parametrize("strategy", ["Latency", "Resource"])
def test_parallelization_is_exact(strategy, tmp_path):
    program, _ = written(tmp_path / "hls", strategy=strategy, parallelization_factor=2)
    assert differing(program, tmp_path / "hls") == ""


def test_what_hls4ml_rounds_is_said_and_recorded(tmp_path):
    _, project = written(tmp_path / "hls", strategy="Resource", reuse_factor=5, parallelization_factor=5)
    notes = "\n".join(project.notes)
    assert "part0_net/only: reuse_factor 5 became 6" in notes
    assert "part4_net/only: parallelization_factor 5 became 4" in notes
    assert "strategy Latency, the only one hls4ml has for depthwise sums" in notes
    recorded = json.loads((tmp_path / "hls" / "hgqify_layout.json").read_text())
    assert recorded["notes"] == list(project.notes)
    assert ProjectOptions(**recorded["options"]) == ProjectOptions(
        strategy="Resource", reuse_factor=5, parallelization_factor=5
    )


def test_layers_are_found_by_keras_name_alias_and_pattern(tmp_path):
    program = linear()
    options = ProjectOptions(
        layers={"old": {"ReuseFactor": 2}, "part4_.*": {"Strategy": "Resource", "ReuseFactor": 4}}
    )
    write_project(program, tmp_path / "hls", options, {"old": ("part0_net/only",)})
    text = (tmp_path / "hls" / "firmware" / "parameters.h").read_text()
    assert "reuse_factor = 2;" in text
    assert "nnet::DenseResource" in text or "dense_resource" in text.lower()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"part0_net/onyl": {"ReuseFactor": 2}}, r"no such layer\. Did you mean part0_net/only\?"),
        ({"part0_.*": {"ParallelizationFactor": 2}}, "parallelization_factor changes nothing for"),
        ({"part0.*": {"ReuseFactor": 2}, "part0_net/only": {"ReuseFactor": 3}}, "earlier exceptions take"),
    ],
)
def test_exceptions_that_cannot_be_used(layers, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        written(tmp_path / "hls", layers=layers)
    assert not (tmp_path / "hls").exists()


def test_all_wrong_options_are_listed_at_once():
    with pytest.raises(ExportError, match="3 project options are wrong"):
        ProjectOptions(backend="x", reuse_factor=0, strategy="y")
