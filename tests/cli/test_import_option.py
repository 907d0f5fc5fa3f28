"""`--import`: the code of a model's own layers, for commands that read models."""

from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from hgqify.cli import main

CODE = """
import keras
from beside import FACTOR

class Scaled(keras.layers.Layer):
    def call(self, x):
        return x * FACTOR
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a layer of its own, its code, data."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "beside.py").write_text("FACTOR = 0.5\n")
    (folder / "own.py").write_text(CODE)
    (folder / "broken.py").write_text("import keras\n1 / 0\n")
    (folder / "nothing.py").write_text("import keras\n")

    class Scaled(keras.layers.Layer):
        def call(self, x):
            return x * 0.5

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Scaled()])
    model.save(folder / "model.keras")
    np.save(folder / "calib.npy", np.random.default_rng(0).normal(size=(32, 3)).astype("float32"))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_without_the_code_the_message_names_the_option(folder: Path) -> None:
    result = run("inspect", folder / "model.keras")
    assert result.exit_code == 2
    assert "received: Scaled" in result.output
    assert "--import layers.py" in result.output


def test_with_the_code_a_model_is_read_and_converted(folder: Path, tmp_path: Path) -> None:
    result = run("inspect", folder / "model.keras", "--import", folder / "own.py")
    assert result.exit_code == 0, result.output
    options = ("--calib", folder / "calib.npy", "--finetune-steps", 0, "--no-csim", "-o", tmp_path / "out")
    result = run(folder / "model.keras", "--import", folder / "own.py", *options)
    assert result.exit_code == 0, result.output
    assert "every code is equal" in result.output
    assert keras.saving.get_registered_object("Scaled") is None  # known to that command only


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("broken.py", "ZeroDivisionError"),
        ("nothing.py", "defines no public class"),
        ("absent.py", "no file"),
        ("no_such_module_anywhere", "there is no such module"),
    ],
)
def test_code_that_does_not_serve(folder: Path, code: str, words: str) -> None:
    source = folder / code if code.endswith(".py") else code
    result = run("inspect", folder / "model.keras", "--import", source)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
