"""The command line as its users run it: files in, files out, exit codes, nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import acceptance_models as models
import keras
import numpy as np
import pytest
from click.testing import CliRunner

import hgqify
from hgqify.cli import main
from hgqify.export import compiler

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")

# All that a run may write to standard error: a stage, how far it is, figures, a time.
PROGRESS = re.compile(r"(calibrate|finetune|check|compile C simulation)  \d+/\d+ \w+(  \S.*)?|comparing .*")
FAST = ("--finetune-steps", "0", "--no-check")


def hgqify_command(*args: object, where: Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=where, env=environment(cache), capture_output=True, text=True, check=False
    )


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "hgqify", *map(str, args)]


def environment(cache: Path | None) -> dict[str, str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"}
    if cache is not None:  # later runs of a model find the programs that the first one compiled
        env |= {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return env


def in_process(*args: object) -> tuple[int, str, str]:
    """Exit status, standard output and error; an exception that would be a traceback is raised."""
    result = CliRunner().invoke(main, [str(arg) for arg in args], prog_name="hgqify")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, data, labels."""
    folder = tmp_path_factory.mktemp("inputs")
    models.classifier().save(folder / "tiny.keras")
    models.classifier(softmax=False).save(folder / "logits.keras")
    np.save(folder / "x.npy", models.samples())
    np.save(folder / "holdout.npy", models.samples(seed=1))
    np.save(folder / "labels.npy", np.arange(200) % 3)
    return folder


@pytest.fixture(scope="module")
def run(inputs: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run with everything at its defaults: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    done = hgqify_command(inputs / "tiny.keras", "--calib", inputs / "x.npy", where=folder, cache=cache)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.fixture
def result(run: tuple[Path, str, str], tmp_path: Path) -> Iterator[Path]:
    """A copy of its result that a test may damage."""
    copy = tmp_path / "tiny_hgq"
    shutil.copytree(run[0] / "tiny_hgq", copy)
    yield copy
    shutil.rmtree(copy)


def test_a_run_at_defaults(run: tuple[Path, str, str]) -> None:
    folder, stdout, stderr = run
    assert os.listdir(folder) == ["tiny_hgq"]
    assert sorted(os.listdir(folder / "tiny_hgq")) == [
        "config.toml",
        "hls",
        "model.keras",
        "program.npz",
        "report.html",
        "report.json",
    ]
    assert "exact       every code is equal" in stdout
    assert "same class as float" in stdout
    assert stdout.splitlines()[-1].startswith("written     to tiny_hgq/")
    # No warning, no chatter of Keras, JAX or hls4ml.
    for line in stderr.splitlines():
        assert PROGRESS.fullmatch(line), line


def test_the_report_file(run: tuple[Path, str, str]) -> None:
    report = json.loads((run[0] / "tiny_hgq" / "report.json").read_text())
    assert report["schema"] == 2
    assert set(report) == {
        *("schema", "version", "model", "settings", "conversion", "layers", "calibration", "finetune"),
        *("ebops", "float32_proved", "float32_open", "float64_proved", "certificate", "overflow"),
        *("quality", "seconds", "notes", "kept", "allocation", "equalize", "correct_bias"),
        *("graph", "outcomes", "archive", "sweep", "check", "versions", "command", "created"),
    }
    assert report["check"]["exact"] is True
    assert re.fullmatch(r"hgqify convert \S+/tiny.keras --calib \S+/x.npy", report["command"])
    assert report["model"] == "tiny"
    assert sum("moved to the host" in entry["reason"] for entry in report["conversion"]) == 1
    assert set(report["conversion"][0]) == {"layer", "kind", "status", "reason", "remedy", "target"}
    assert report["ebops"] == sum(layer["ebops"] for layer in report["layers"]) > 0
    assert {"layer", "kind", "weight_bits", "input_bits", "ebops", "sqnr_db"} <= set(report["layers"][0])
    assert report["float32_proved"] is report["float64_proved"] is True
    assert all(entry["proved"] and entry["bits"] <= 24 for entry in report["certificate"])
    assert {entry["layer"] for entry in report["certificate"]} >= {e["layer"] for e in report["layers"]}
    assert {q["status"] for q in report["overflow"]["quantizers"]} <= {"proved", "saturates"}
    assert report["quality"]["samples"] == 200
    assert {"convert", "calibrate", "finetune", "lower"} <= set(report["seconds"])


def test_the_model_file_is_a_keras_model(run: tuple[Path, str, str]) -> None:
    model = keras.saving.load_model(run[0] / "tiny_hgq" / "model.keras")
    assert [type(layer).__name__ for layer in model.layers].count("QDense") == 2
    assert model.predict(models.samples(3), verbose=0).shape == (3, 3)


@needs_compiler
def test_the_run_checked_all_three(run: tuple[Path, str, str]) -> None:
    for what in ("Keras", "C simulation"):
        for data in ("x.npy", "random inputs"):
            assert f"{what} = reference on {data}: 0 of 600 codes differ (200 samples)" in run[1]


def test_check_passes_on_other_data(result: Path, inputs: Path) -> None:
    status, stdout, _ = in_process("check", result, "--data", inputs / "holdout.npy", "--no-csim")
    assert status == 0
    assert "Keras = reference on holdout.npy: 0 of 600 codes differ" in stdout
    assert stdout.splitlines()[-1] == "exact       every code is equal"


@needs_compiler
def test_check_as_json_prints_nothing_else(result: Path, inputs: Path, cache: Path, tmp_path: Path) -> None:
    """Not even from C++ or a compiler, which do not ask Python where to print."""
    args = ("--data", inputs / "holdout.npy", "--random", 70, "--seed", 3, "--quiet", "--json")
    done = hgqify_command("check", result, *args, where=tmp_path, cache=cache)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["exact"] is True
    assert [(c["what"], c["inputs"], c["samples"], c["differing"]) for c in told["comparisons"][1:]] == [
        ("Keras", "holdout.npy", 200, 0),
        ("C simulation", "holdout.npy", 200, 0),
        ("Keras", "random inputs", 70, 0),
        ("C simulation", "random inputs", 70, 0),
    ]
    assert told["settings"]["seed"] == 3
    assert told["versions"]["compiler"] != "unknown"


@needs_compiler
def test_check_names_a_flipped_weight(result: Path, inputs: Path) -> None:
    weights = sorted((result / "hls" / "firmware" / "weights").glob("w*.txt"))[0]
    first, rest = weights.read_text().split(",", 1)
    weights.write_text(f"{float(first) + 2**-6:.10f},{rest}")
    status, stdout, stderr = in_process("check", result, "--data", inputs / "holdout.npy", "--random", 100)
    assert status == 1
    assert "Keras = reference on holdout.npy: 0 of 600" in stdout
    assert re.search(r"first difference in dense\S* \(node \S+\), sample \d+, element \(\d+,\): refe", stdout)
    assert stdout.splitlines()[-1].startswith("NOT EXACT")
    assert "Traceback" not in stdout + stderr


def test_check_finds_another_model(result: Path, inputs: Path) -> None:
    model = keras.saving.load_model(result / "model.keras")
    kernel = next(layer for layer in model.layers if type(layer).__name__ == "QDense").kernel
    kernel.assign(-kernel.numpy() if hasattr(kernel, "numpy") else -np.asarray(kernel))
    model.save(result / "model.keras")
    status, stdout, _ = in_process("check", result, "--data", inputs / "holdout.npy", "--no-csim")
    assert status == 1
    assert "first difference in" in stdout


def test_check_without_csim_says_so(result: Path) -> None:
    target = result.parent / "check.json"
    status, stdout, _ = in_process("check", result, "--no-csim", "--random", 20, "--json", target)
    assert status == 0
    assert "C simulation" not in stdout
    assert "integers of model.keras = program.npz: 0 of " in stdout
    assert json.loads(target.read_text())["settings"]["csim"] is False


def test_inspect(inputs: Path) -> None:
    status, stdout, stderr = in_process("inspect", inputs / "tiny.keras")
    assert (status, stderr) == (0, "")
    assert "moved to the host" in stdout
    status, stdout, _ = in_process("inspect", inputs / "tiny.keras", "--json")
    assert [entry["kind"] for entry in json.loads(stdout)] == ["InputLayer", "Dense", "Dense"]


def test_quiet_prints_results_only(inputs: Path, tmp_path: Path) -> None:
    status, stdout, stderr = in_process(
        inputs / "tiny.keras", "--calib", inputs / "x.npy", *FAST, "-q", "-o", tmp_path / "out"
    )
    assert (status, stderr) == (0, "")
    assert "written     to" in stdout


@pytest.mark.parametrize("name", ["tiny.keras", "logits.keras"])
def test_labels_are_measured(inputs: Path, tmp_path: Path, name: str) -> None:
    """Of a model without softmax too: whole numbers below the number of outputs name classes."""
    args = ("--calib", inputs / "x.npy", "--labels", inputs / "labels.npy", *FAST)
    status, stdout, _ = in_process(inputs / name, *args, "-o", tmp_path / "out")
    assert status == 0
    assert re.search(r"accuracy 0\.\d+ float, 0\.\d+ quantized", stdout)


@needs_compiler
def test_overflow_can_be_proved(inputs: Path, tmp_path: Path) -> None:
    """No input at all can overflow what wraps inside, also after fine-tuning; and all of it is exact."""
    args = (
        "--calib",
        inputs / "x.npy",
        "--overflow",
        "proved",
        "--finetune-steps",
        40,
        "--check-samples",
        50,
    )
    status, stdout, _ = in_process(inputs / "tiny.keras", *args, "-o", tmp_path / "out")
    assert status == 0
    assert "overflow    2 wrapping quantizers, 2 proved" in stdout
    assert "float32     Keras is proved equal to the integers for every input" in stdout
    assert "exact       every code is equal" in stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["overflow"] == "PROVED"
    assert report["overflow"]["proved"] is True
    wrapping = [q for q in report["overflow"]["quantizers"] if q["overflow"] == "WRAP"]
    assert [(q["status"], q["spare_bits"]) for q in wrapping] == [("proved", 0)] * 2
    statement = hgqify.overflow_statement(keras.saving.load_model(tmp_path / "out" / "model.keras"))
    assert statement.proved


def test_wrapping_that_overflows_is_told(inputs: Path, tmp_path: Path) -> None:
    args = ("--calib", inputs / "x.npy", "--overflow", "wrap", "--margin", 0, *FAST)
    status, stdout, _ = in_process(inputs / "tiny.keras", *args, "-o", tmp_path / "out")
    assert status == 0
    assert re.search(r"overflow    2 wrapping quantizers, 1 proved, 1 observed \(200 samples\)", stdout)
    large = 40 * models.samples()
    model = keras.saving.load_model(tmp_path / "out" / "model.keras")
    statement = hgqify.overflow_statement(model, large)
    assert len(statement.overflowing) == 1
    assert statement.notes()


def interrupted(inputs: Path, cache: Path, where: Path, stage: str) -> tuple[int, str, list[str]]:
    """Press Ctrl-C once when a stage has begun: exit status, standard output, lines of standard error."""
    args = ("--calib", inputs / "x.npy", "--finetune-steps", 1_000_000, "--no-check")
    process = subprocess.Popen(
        command(inputs / "tiny.keras", *args),
        cwd=where,
        env=environment(cache),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith(stage):
            process.send_signal(signal.SIGINT)
            break
    while True:
        try:
            stdout, rest = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            # Outside of training Python loses one that comes in a callback of the garbage collector.
            process.send_signal(signal.SIGINT)
            continue
        return process.returncode, stdout, [*told, *rest.splitlines()]


def test_ctrl_c_leaves_nothing(inputs: Path, cache: Path, tmp_path: Path) -> None:
    status, stdout, told = interrupted(inputs, cache, tmp_path, "calibrate")
    assert (status, stdout) == (130, ""), told
    assert told[-1] == "Interrupted: no unfinished result was left behind."
    assert not any("Traceback" in line for line in told)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_in_the_fine_tuning_keeps_the_best_so_far(inputs: Path, cache: Path, tmp_path: Path) -> None:
    status, stdout, told = interrupted(inputs, cache, tmp_path, "finetune")
    assert status == 0, told
    assert "fine-tuning was interrupted at step" in stdout
    report = json.loads((tmp_path / "tiny_hgq" / "report.json").read_text())
    assert report["finetune"]["interrupted"] is True
    assert in_process("check", tmp_path / "tiny_hgq", "--no-csim", "--random", 20)[0] == 0


def test_an_existing_result_is_kept(inputs: Path, result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(result)
    args = (inputs / "tiny.keras", "--calib", inputs / "x.npy", *FAST, "-o", result)
    status, _, stderr = in_process(*args)
    assert status == 2
    assert re.fullmatch(r"Error: .*tiny_hgq: the output folder exists already\..*--force.*\n", stderr)
    assert tree(result) == before

    def crash(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "model.keras")

    with monkeypatch.context() as patched:  # the disk is full when the project has been written already
        patched.setattr(keras.Model, "save", crash)
        status, _, stderr = in_process(*args, "--force", "--margin", 3)
    assert status == 2
    assert stderr.splitlines()[-1] == "Error: No space left on device: model.keras"
    assert tree(result) == before
    assert os.listdir(result.parent) == [result.name]

    status, _, _ = in_process(*args, "--force", "--margin", 3)
    assert status == 0
    assert tree(result)["report.json"] != before["report.json"]
    assert os.listdir(result.parent) == [result.name]


def test_a_folder_of_something_else_is_never_replaced(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    status, _, stderr = in_process(
        inputs / "tiny.keras", "--calib", inputs / "x.npy", "-o", tmp_path, "--force"
    )
    assert status == 2
    assert "holds something else" in stderr
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_the_version() -> None:
    status, stdout, _ = in_process("--version")
    assert status == 0
    assert hgqify.__version__ in stdout
