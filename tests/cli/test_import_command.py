"""`hgqify import-hgq2`: its examples as they stand, and what it refuses."""

import shlex
import shutil
from pathlib import Path

import keras
import pytest
from stand_in import COMMANDS, run

pytest.importorskip("hgq")

STORED = Path(__file__).parents[1] / "hgq2" / "models" / "images.keras"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(STORED, "hgq2_model.keras")
    return tmp_path


def test_its_examples_run(folder: Path) -> None:
    text = str(COMMANDS["import-hgq2"].help).split("Examples:\n")[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert len(lines) == 2
    for line in lines:
        result = run(*shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        assert "EBOPs" in result.output
        assert "written" in result.output
    assert keras.saving.load_model("imported.keras", compile=False).count_params()
    assert {"model.keras", "program.npz", "hls"} == {path.name for path in (folder / "imported").iterdir()}


def test_what_is_there_is_kept(folder: Path) -> None:
    (folder / "imported").mkdir()
    (folder / "imported" / "notes.txt").write_text("mine")
    (folder / "imported.keras").write_text("mine")
    for output in ("imported", "imported.keras"):
        result = run("import-hgq2", "hgq2_model.keras", "-o", output)
        assert result.exit_code == 2
        assert "exists already" in result.output
    result = run("import-hgq2", "hgq2_model.keras", "-o", "imported", "--force")
    assert result.exit_code == 2  # it is no result of ours
    assert (folder / "imported" / "notes.txt").read_text() == "mine"


def test_a_model_that_cannot_be_imported(folder: Path) -> None:
    x = keras.Input((3,))
    keras.Model(x, keras.layers.LayerNormalization()(x)).save("plain.keras")
    result = run("import-hgq2", "plain.keras", "-o", "imported")
    assert result.exit_code == 2
    assert "LayerNormalization" in result.output
    assert not (folder / "imported").exists()
