"""The largest part of a model with kept layers as firmware: by the command line, to C simulation."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from kept_command import run_cli
from kept_models import Wave, branch, data, read_within_and_without, two_branches

import hgqify
from hgqify.convert import ConvertSettings, convert
from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, convert_from_keras_model, largest_part
from hgqify.export.parts import described
from hgqify.graph import read
from hgqify.precision import from_npz, lower, ops, to_npz
from hgqify.progress import no_progress
from hgqify.reference import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved float model with its data."""
    keras.utils.set_random_seed(3)
    model = read_within_and_without()
    place = tmp_path_factory.mktemp("kept")
    model.save(place / "m.keras")
    np.save(place / "x.npy", data(model)[0])
    return place


def test_the_command_line_keeps_exports_a_part_and_checks_it(folder: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    inspected = run_cli("inspect", folder / "m.keras", "--unsupported", "keep")
    assert "kept float" in inspected
    assert "Or keep it" in run_cli("convert", folder / "m.keras", "--calib", folder / "x.npy", status=2)
    settings = folder / "s.toml"
    settings.write_text('[convert]\nunsupported = "keep"\n')
    told = run_cli(
        *("convert", folder / "m.keras", "--calib", folder / "x.npy", "-o", folder / "r", "-q"),
        *("--config", settings, "--export-part", "largest", "--finetune-steps", 0, "--check-samples", 40),
    )
    for text in (
        "kept in float: wave (Wave): it cannot be opened into Keras operations",
        "it takes wave (output of wave (Wave)), a (output of a) and gives add_oq (model output 0)",
        "integers of part.npz = program.npz: 0 of",
        "Keras, part 1 of 1 = reference on x.npy: 0 of",
        "C simulation = reference on x.npy, exported part: 0 of 1560 codes differ (40 samples)",
        "C simulation = reference on random inputs, exported part: 0 of 1560 codes differ (40 samples)",
        "exact       every code is equal",
        "model.keras, report.html, report.json, config.toml, part.npz, hls/",
    ):
        assert text in told
    part = json.loads((folder / "r" / "hls" / "hgqify_part.json").read_text())
    assert [entry["tensor"] for entry in part["entries"]] == ["wave", "a"]
    assert part["left out"] == ["wave (Wave)", "x_quantize", "a", "a_exit"]
    # What is told of the part's integers is compared, too.
    program = from_npz(folder / "r" / "part.npz")
    for node in program.nodes:
        if isinstance(node.op, ops.Dense):
            node.op.kernel.codes.flat[0] += 1
            break
    to_npz(program, folder / "r" / "part.npz")
    assert "integers of part.npz = program.npz: 1 of" in run_cli("check", folder / "r", "--no-csim", status=1)


def test_without_a_part_there_is_no_project(folder: Path) -> None:
    told = run_cli(
        *("convert", folder / "m.keras", "--calib", folder / "x.npy", "-o", folder / "n", "-q"),
        *("--unsupported", "keep", "--finetune-steps", 0, "--no-check"),
    )
    assert "note        no project was written: wave (Wave) stay(s) in float" in told
    assert "model.keras, report.html, report.json, config.toml\n" in told
    with pytest.raises(ExportError, match="not a project"):
        hgqify.check(folder / "n", csim=True, progress=no_progress)


@pytest.mark.parametrize("make", [branch, two_branches, read_within_and_without])
def test_a_part_gives_what_the_whole_gives(make: object) -> None:
    model = make()
    program = lower(convert(read(model), ConvertSettings(unsupported="keep")).model)
    part = largest_part(program, ProjectOptions())
    told = described(program, part)
    assert [entry["tensor"] for entry in told["entries"]] == list(part.program.inputs)
    rng = np.random.default_rng(2)
    given = [rng.normal(size=(50, *program.by_name[n].shape)).astype("f4") for n in program.inputs]
    sources = [name for name in part.entries.values() if name not in program.inputs]
    whole = run(program, given, keep=[*sources, *part.exits])
    values = dict(zip(program.inputs, given, strict=True))
    values |= {name: whole.kept[name].values.astype("f4") for name in sources}
    alone = run(part.program, [values[name] for name in part.entries.values()])
    for name, found in zip(part.exits, alone.values, strict=True):
        np.testing.assert_array_equal(found, whole.kept[name].values)


def test_what_is_all_firmware_is_written_whole() -> None:
    x = keras.Input((4,), name="x")
    program = lower(convert(read(keras.Model(x, keras.layers.Dense(2, name="a")(x)))).model)
    part = largest_part(program, ProjectOptions())
    assert part.exits == program.outputs
    assert part.ebops > 0


def test_there_may_be_no_part_that_can_be_printed() -> None:
    x = keras.Input((3, 4), name="x")
    y = keras.layers.Dot((2, 2), name="dot")([x, x])  # not in streams
    model = keras.Model(x, Wave(name="wave")(y))
    program = lower(convert(read(model), ConvertSettings(unsupported="keep")).model)
    with pytest.raises(ExportError, match="no part of the model can be written"):
        largest_part(program, ProjectOptions(io_type="io_stream"))


def test_hls4ml_s_own_converter_refuses_the_whole() -> None:
    model = convert(read(branch()), ConvertSettings(unsupported="keep")).model
    with pytest.raises(ExportError, match="stay in float cannot be written"):
        convert_from_keras_model(model)
