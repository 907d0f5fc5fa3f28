"""Every bad input: one clear line, status 2, no traceback, and nothing written."""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import acceptance_models as models
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

from hgqify.cli import main

ROOT = Path(__file__).parents[2]


def sequential(*stack: layers.Layer) -> keras.Model:
    return models.drawn(keras.Sequential(list(stack)))


def make_models(folder: Path) -> None:
    tiny = folder / "tiny.keras"
    models.classifier().save(tiny)
    models.truncated(folder / "truncated.keras", tiny)
    content = tiny.read_bytes()
    (folder / "cut_end.keras").write_bytes(content[:-100])
    (folder / "no_bytes.keras").touch()
    (folder / "text.keras").write_text("hello world")
    with zipfile.ZipFile(folder / "archive.keras", "w") as archive:
        archive.writestr("notes.txt", "no model")
    sequential(keras.Input((4,)), layers.Lambda(lambda x: 2 * x)).save(folder / "lambda.keras")
    sequential(keras.Input((None, 4)), layers.Conv1D(3, 2)).save(folder / "dynamic.keras")
    sequential(
        keras.Input((3, 8, 4)),
        layers.RandomCrop(3, 3, name="memory"),
        layers.Masking(1.0, name="size"),
        layers.TimeDistributed(layers.LayerNormalization(), name="unit"),
    ).save(folder / "refused.keras")
    sequential(keras.Input((7, 7, 1)), layers.MaxPooling2D(3, 2, name="overlap"), layers.Flatten()).save(
        folder / "overlap.keras"
    )
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b]))).save(folder / "two.keras")
    sequential(keras.Input((4,)), layers.Dense(3)).save_weights(folder / "only.weights.h5")


def make_data(folder: Path) -> None:
    x = models.samples()

    def changed(value: float) -> np.ndarray:
        copy = x.copy()
        copy[7, 2] = value
        return copy

    arrays = {
        "x": x,
        "wrong": x[:, :3],
        "images": np.ones((5, 7, 7, 1), np.float32),
        "image": x.reshape(-1, 4, 1),
        "empty": x[:0],
        "nan": changed(np.nan),
        "inf": changed(-np.inf),
        "huge": x.astype(np.float64) * 1e300,
        "words": np.array(["a", "b"]),
        "complex": x.astype(np.complex64),
        "single": x[0],
        "number": np.float32(3),
        "seven_labels": np.arange(7),
        "labels_of_9": np.full(200, 9),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pickled = np.empty(3, object)
    pickled[:] = list(x[:3])
    np.save(folder / "pickled.npy", pickled, allow_pickle=True)
    (folder / "x.pkl").write_bytes(pickle.dumps(x))
    np.savez(folder / "unclear.npz", p=x, q=x)
    models.truncated(folder / "cut.npy", folder / "x.npy")
    models.truncated(folder / "cut.npz", folder / "unclear.npz")
    (folder / "nothing.npy").touch()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_models(folder)
    make_data(folder)
    (folder / "file").touch()
    return folder


@pytest.fixture
def refused(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run in the folder of inputs and give back the message."""
    monkeypatch.chdir(inputs)
    before = sorted(os.listdir(inputs))

    def run(line: str) -> str:
        result = CliRunner().invoke(main, line.format(out=tmp_path).split(), prog_name="hgqify")
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 2
        assert result.stdout == ""
        assert sorted(os.listdir(inputs)) == before
        assert os.listdir(tmp_path) == []
        assert not any(word in result.stderr for word in ("Traceback", "Warning", "WARNING"))
        return result.stderr

    return run


# What is wrong, and what to do about it: both must be in the one line.
ONE_LINE = {
    # the model
    "none.keras --calib x.npy": r"none.keras: the file does not exist\. Check the path",
    "text.keras --calib x.npy": r"not a Keras model.*starts with b'hello wo'\. Pass a file that model\.save",
    "no_bytes.keras --calib x.npy": r"not a Keras model.*an empty file",
    "x.npy --calib x.npy": r"x.npy: not a Keras model",
    "archive.keras --calib x.npy": r"holds no Keras model; received: notes.txt",
    "only.weights.h5 --calib x.npy": r"holds no model, perhaps weights.*model\.save\(\)",
    ". --calib x.npy": r"a folder is not a Keras model",
    "truncated.keras --calib x.npy": r"damaged or truncated.*save the model again",
    "cut_end.keras --calib x.npy": r"damaged or truncated.*save the model again",
    "lambda.keras --calib x.npy": r"Lambda, Python code that would run.*Lambda layer 'lambda'.*--unsafe",
    "dynamic.keras --calib x.npy": r"input shape is dynamic.*\(None, None, 4\).*keras\.Input of a full shape",
    "inspect none.keras": r"the file does not exist",
    "inspect truncated.keras": r"damaged or truncated",
    # the data
    "tiny.keras --calib none.npy": r"none.npy: there is no such file\. Check the path",
    "tiny.keras --calib .": r"a folder is not a data file.*\.npy, \.npz or HDF5",
    "tiny.keras --calib tiny.keras": r"holds no arrays.*not a model",
    "tiny.keras --calib only.weights.h5": r"this is a model, not data|holds the weights of a model",
    "tiny.keras --calib x.pkl": r"pickle, which can run code.*numpy\.save",
    "tiny.keras --calib pickled.npy": r"the array is pickled, which can run code.*numpy\.stack",
    "tiny.keras --calib nothing.npy": r"the file is empty\. Give",
    "tiny.keras --calib cut.npy": r"the file is truncated.*shape \(200, 4\).*\. Copy",
    "tiny.keras --calib cut.npz": r"the archive cannot be read.*\. Copy",
    "tiny.keras --calib wrong.npy": r"expects samples of shape \(4,\); received: \(3,\)\. Give",
    "tiny.keras --calib image.npy": r"shape \(4,\); received: \(4, 1\)\. Remove the last axis",
    "tiny.keras --calib empty.npy": r"the data is empty; received: shape \(0, 4\)\. Give at least one",
    "tiny.keras --calib nan.npy": r"sample 7 .*not finite.*\(2,\); received: nan .*\. Remove or repair",
    "tiny.keras --calib inf.npy": r"sample 7 .*not finite.*\(2,\); received: -inf .*\. Remove or repair",
    "tiny.keras --calib huge.npy": r"sample 0 .*not finite in float32",
    "tiny.keras --calib words.npy": r"must be real numbers; received: dtype <U1",
    "tiny.keras --calib complex.npy": r"must be real numbers.*two channels",
    "tiny.keras --calib single.npy": r"looks like a single sample: add the sample axis",
    "tiny.keras --calib number.npy": r"a single number is not a set of samples",
    "tiny.keras --calib unclear.npz": r"which array.*'p', 'q'.*--key",
    "tiny.keras --calib unclear.npz --key z": r"there is no array 'z'.*'p', 'q'.*Choose one of them",
    "two.keras --calib x.npy": r"the model has 2 inputs; received: 1 array.*\. Give one array per input",
    # labels
    "tiny.keras --calib x.npy --labels none.npy": r"none.npy: there is no such file",
    "tiny.keras --calib x.npy --labels seven_labels.npy": r"one label per sample.*\(7,\) for 200 samples",
    "tiny.keras --calib x.npy --labels labels_of_9.npy": r"class numbers from 0 to 2",
    # the output
    "tiny.keras --calib x.npy -o file": r"the output exists and is not a folder",
    "tiny.keras --calib x.npy -o file/out": r"cannot be written; received: .*file, which is not a folder",
    "tiny.keras --calib x.npy -o /proc/hgqify/out": r"cannot be written \(.*\)\. Choose a folder you may",
    # the settings
    "tiny.keras --calib x.npy --weight-bits 1 -o {out}/o": r"weight_bits must be.* 2 to 24; received: 1",
    "tiny.keras --calib x.npy --activation-bits 40 -o {out}/o": r"activation_bits must be.* 1 to 24",
    "tiny.keras --calib x.npy --backend Vivdo -o {out}/o": r"unknown backend; received: Vivdo\. Use one of",
    "tiny.keras --calib x.npy --softmax refuse": r"1 layer cannot be converted",
    "tiny.keras --calib x.npy --io-type io_stream --activation-granularity element": (
        r"cannot be built with io_stream.*use io_type|cannot be built with io_stream.*Use io_type"
    ),
    # check
    "check none": r"not a result of hgqify; received: no such folder\. Give the folder",
    "check x.npy": r"not a result of hgqify; received: a file\. Give the folder",
    "check .": r"not a result of hgqify; received: a folder without model.keras and program.npz",
}


@pytest.mark.parametrize("line", ONE_LINE)
def test_one_clear_line(refused: Callable[[str], str], line: str) -> None:
    message = refused(line)
    told = [text for text in message.splitlines() if not text.startswith("calibrate")]
    assert told[0].startswith("Error: ")
    assert re.search(ONE_LINE[line], told[0] if len(told) == 1 else message), message
    assert len(told) == 1 or "cannot be converted" in message


def test_all_refused_layers_at_once_with_a_remedy_each(refused: Callable[[str], str]) -> None:
    first, *rest, last = refused("refused.keras --calib x.npy").splitlines()
    assert last == "Or keep them in float: unsupported='keep' (--unsupported keep)"
    assert first == "Error: 3 layers cannot be converted:"
    for line, start, remedy in zip(
        rest,
        (
            "memory (RandomCrop): at inference",
            "size (Masking): this mask",
            "unit (TimeDistributed): ",
        ),
        ("Crop the training data", "Remove masks", "Apply the inner layer to the whole tensor"),
        strict=True,
    ):
        assert line.strip().startswith(start)
        assert remedy in line


def test_what_cannot_be_exported_is_refused_before_the_training(refused: Callable[[str], str]) -> None:
    *progress, first, second = refused("overlap.keras --calib images.npy --io-type io_stream").splitlines()
    assert all(line.startswith("calibrate") for line in progress)
    assert first == "Error: 1 operation(s) cannot be exported with io_stream for Vitis:"
    assert second.strip().startswith("overlap: hls4ml streams pool only in windows as large")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--overflow satt", "'--overflow': 'satt' is not one of"),
        ("--io-type serial", "'--io-type': 'serial' is not one of"),
        ("--weight-granularity row", "'tensor', 'channel', 'element'"),
        ("--softmax maybe", "'logits', 'convert', 'refuse'"),
        ("--finetune-steps -1", "-1 is not in the range"),
        ("--clock-period 0", "--clock-period"),
        ("--margin wide", "'--margin': 'wide' is not a valid"),
        ("--margin 0.5", "'--margin': '0.5' is not a valid integer"),
        ("--weigth-bits 8", "--weight-bits"),
    ],
)
def test_wrong_options(refused: Callable[[str], str], option: str, told: str) -> None:
    message = refused(f"tiny.keras --calib x.npy {option}")
    assert told in message.splitlines()[-1], message
    assert message.startswith("Usage: hgqify convert")


@pytest.mark.parametrize(
    "line", ["truncated.keras --calib x.npy", "tiny.keras --calib pickled.npy", "check file"]
)
def test_the_same_in_a_process_of_its_own(inputs: Path, tmp_path: Path, line: str) -> None:
    names = line.split()
    args = [str(inputs / name) if (inputs / name).exists() else name for name in names]
    env = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-m", "hgqify", *args],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"Error: .*\n", done.stderr)
    assert os.listdir(tmp_path) == []
