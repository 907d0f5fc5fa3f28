"""Saved results with layers kept in float: made again, written again, compared, held to limits."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from kept_command import run_cli
from kept_models import data, middle

import hgqify
from hgqify.errors import ExportError
from hgqify.exporting import saved_report
from hgqify.progress import no_progress
from hgqify.report.schema import validated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model, its data and classes, results of 9 bits (with a part) and of 5 (without)."""
    keras.utils.set_random_seed(3)
    model = middle()
    place = tmp_path_factory.mktemp("results")
    model.save(place / "m.keras")
    x = data(model)[0]
    np.savez(place / "d.npz", x=x, y=np.asarray(model.predict(x, verbose=0)).argmax(axis=1))
    common = ("convert", place / "m.keras", "--calib", place / "d.npz", "-q", "--unsupported", "keep")
    common = (*common, "--finetune-steps", 0)
    run_cli(*common, "--bits", 9, "--no-check", "-o", place / "a", "--export-part", "largest")
    run_cli(*common, "--bits", 5, "-o", place / "b")
    return place


def files(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def test_settings_make_it_again_and_say_what_they_do_not_hold(folder: Path) -> None:
    text = (folder / "a" / "config.toml").read_text()
    assert 'unsupported = "keep"' in text
    assert "# Not in this file: that a part was exported: give --export-part largest" in text
    assert "Not in this file" not in (folder / "b" / "config.toml").read_text()
    run_cli(
        *("convert", folder / "m.keras", "--config", folder / "a" / "config.toml", "-q", "--no-check"),
        *("--export-part", "largest", "-o", folder / "again"),
    )
    for name in ("program.npz", "part.npz"):
        with np.load(folder / "a" / name) as one, np.load(folder / "again" / name) as other:
            assert one.files == other.files
            for entry in one.files:
                np.testing.assert_array_equal(one[entry], other[entry])
    assert (folder / "again" / "config.toml").read_text() == text


def test_the_report_is_of_its_schema_and_names_them(folder: Path) -> None:
    for name in ("a", "b"):
        report = saved_report(folder / name)
        validated(report, name)
        assert [entry["layer"] for entry in report["kept"]] == ["wave"]
    assert report["check"]["exact"]  # of b, which was checked
    assert "--unsupported keep" in report["command"]


def test_export_writes_the_part_that_was_written(folder: Path, tmp_path: Path) -> None:
    told = run_cli("export", folder / "a", "-o", tmp_path / "same")
    assert "the project is a part of the model" in told
    first, second = files(folder / "a" / "hls"), files(tmp_path / "same")
    assert first.keys() == second.keys()
    assert first["hgqify_part.json"] == second["hgqify_part.json"]
    run_cli("export", folder / "b", "-o", tmp_path / "b", "--export-part", "largest", "--backend", "Quartus")
    assert json.loads((tmp_path / "b" / "hgqify_part.json").read_text())["entries"]


def test_export_refuses_the_whole(folder: Path, tmp_path: Path) -> None:
    told = run_cli("export", folder / "b", "-o", tmp_path / "b", status=2)
    assert "wave" in told
    assert "--export-part largest" in told
    with pytest.raises(ExportError, match="there is no such extent"):
        hgqify.export_saved(folder / "b", tmp_path / "b", extent="half")
    assert not (tmp_path / "b").exists()


def test_results_are_compared_through_float_layers(folder: Path) -> None:
    found = hgqify.compare(folder / "a", folder / "b", data=folder / "d.npz")
    assert found.differs
    assert found.on_data is not None
    assert found.on_data.differing > 0
    assert found.on_data.metrics is not None
    model = keras.saving.load_model(folder / "a" / "model.keras")
    with np.load(folder / "d.npz") as given:
        x, y = given["x"], given["y"]
    right = np.mean(np.asarray(model.predict(x, verbose=0)).argmax(axis=1) == y)
    assert found.on_data.metrics[0].value == right
    assert found.on_data.values == 3 * len(x)
    same = hgqify.compare(folder / "a", folder / "a", data=folder / "d.npz")
    assert (same.differs, same.on_data and same.on_data.differing) == (False, 0)
    assert "class       the same for" in run_cli(
        "compare", folder / "a", folder / "b", "--data", folder / "d.npz"
    )


def test_limits_hold_for_them_too(folder: Path, tmp_path: Path) -> None:
    report = hgqify.check(
        folder / "b",
        data=folder / "d.npz",
        min_metric=0.0,
        max_ebops=0,
        random=20,
        progress=no_progress,
    )
    assert report.exact
    assert [limit.kept for limit in report.limits] == [False, True]
    assert not report.passed
    assert "C simulation was not run" in report.to_junit(seconds=1.0)
