"""The command line against a stand-in for the API: what it passes on, prints and returns."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import hgqify
from hgqify.cli import main
from hgqify.cli.check import check
from hgqify.cli.convert import convert
from hgqify.cli.inspect import inspect
from hgqify.cli.report import report
from hgqify.cli.sweep import sweep
from hgqify.errors import DataError
from hgqify.export import Strategy
from hgqify.progress import Event, Progress, no_progress

COMMANDS = {"convert": convert, "check": check, "inspect": inspect, "report": report, "sweep": sweep}
STOOD_IN = ("convert", "check", "inspect", "sweep", "record_check", "render_report")


@dataclass(frozen=True)
class Entry:
    layer: str = "conv"
    kind: str = "Conv2D"
    status: str = "converted"
    reason: str = ""
    remedy: str = ""
    target: str = "conv"


@dataclass
class Api:
    """Records calls; `error` is raised by the next one."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None
    exact: bool = True
    notes: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = (Entry(),)
    files: tuple[str, ...] = ("sweep.json",)
    interrupted: bool = False

    @property
    def report(self) -> Any:
        return SimpleNamespace(finetune={"interrupted": self.interrupted})

    def _called(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> "Api":
        self.calls.append((name, args, options))
        if self.error is not None:
            raise self.error
        return self

    def convert(self, *args: Any, progress: Progress, **options: Any) -> "Api":
        progress(Event(stage="calibrate", done=5, total=10, unit="samples"))
        return self._called("convert", args, options)

    def check(self, *args: Any, **options: Any) -> "Api":
        return self._called("check", args, options)

    def inspect(self, *args: Any, **options: Any) -> "Api":
        return self._called("inspect", args, options)

    def sweep(self, *args: Any, **options: Any) -> "Api":
        return self._called("sweep", args, options)

    def result(self) -> "Api":
        return self._called("result", (), {})

    def table(self) -> str:
        return "the table"

    def save(self, *args: Any, **options: Any) -> "Api":
        return self._called("save", args, options)

    def summary(self) -> str:
        return "the summary"

    def to_json(self) -> str:
        return json.dumps({"exact": self.exact})

    def to_dict(self) -> dict[str, Any]:
        return {"exact": self.exact}

    def record_check(self, *args: Any) -> None:
        self._called("record_check", args, {})

    def render_report(self, *args: Any) -> Path:
        self._called("render_report", args, {})
        return Path("report.html")

    def named(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return next((args, options) for called, args, options in self.calls if called == name)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    stand_in = Api()
    for name in STOOD_IN:
        monkeypatch.setattr(hgqify, name, getattr(stand_in, name), raising=False)
    monkeypatch.chdir(tmp_path)
    return stand_in


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_convert_is_the_default_command(api: Api) -> None:
    for args in (["m.keras", "--calib", "x.npy"], ["--calib", "x.npy", "m.keras"]):
        for prefix in ([], ["convert"]):
            api.calls.clear()
            result = run(*prefix, *args)
            assert result.exit_code == 0, result.output
            # What the user does not say is left to the API's defaults.
            kept = {"training_folder": Path("m_hgq.training")}
            assert api.named("convert") == (("m.keras", "x.npy"), {"exportable": True, **kept})
            command = f"main {' '.join(['convert', *args])}"
            assert api.named("save") == ((Path("m_hgq"),), {"force": False, "command": command})
            assert api.named("record_check") == ((Path("m_hgq"), {"exact": True}), {})
            assert api.named("check") == (
                (Path("m_hgq"),),
                {"data": "x.npy", "random": 200, "limit": 200},
            )
            assert result.stdout.splitlines()[0] == "the summary"
            assert "m_hgq" in result.stdout
            assert result.stderr.splitlines()[0].startswith("calibrate  5/10 samples")


def test_convert_passes_on_what_is_given(api: Api) -> None:
    options = (
        "--labels y --key a --key b --allow-pickle --unsafe -o out --force --weight-bits 6 "
        "--activation-bits 7 --weight-granularity element --activation-granularity tensor --overflow wrap "
        "--margin 1 --input-bits 9 --output-bits 12 --finetune-steps 0 --learning-rate 0.01 "
        "--batch-size 32 --backend Vitis --io-type io_stream --part xc7 --clock-period 4 --softmax refuse "
        "--clock-uncertainty 10 --strategy resource --reuse-factor 4 --parallelization-factor 2 "
        "--project-name top --no-check --seed 3 --quiet --equalize --no-correct-bias --resume "
        "--training-folder t --label-weight 0.5 --width-rate 0.02 --devices all"
    )
    result = run("m.keras", "--calib", "x.npz", *options.split())
    assert result.exit_code == 0, result.output
    assert api.named("convert")[1] == {
        "exportable": True,
        "labels": "y",
        "key": ("a", "b"),
        "allow_pickle": True,
        "safe_mode": False,
        "weight_bits": 6,
        "activation_bits": 7,
        "weight_granularity": "element",
        "activation_granularity": "tensor",
        "overflow": "WRAP",
        "margin": 1,
        "input_bits": 9,
        "output_bits": 12,
        "finetune_steps": 0,
        "learning_rate": 0.01,
        "batch_size": 32,
        "backend": "Vitis",
        "io_type": "io_stream",
        "part": "xc7",
        "clock_period": 4.0,
        "clock_uncertainty": 10.0,
        "strategy": "Resource",
        "reuse_factor": 4,
        "parallelization_factor": 2,
        "project_name": "top",
        "softmax": "refuse",
        "equalize": True,
        "correct_bias": False,
        "seed": 3,
        "resume": True,
        "force": True,
        "training_folder": Path("t"),
        "label_weight": 0.5,
        "width_rate": 0.02,
        "devices": "all",
    }
    (folder,), options = api.named("save")
    assert (folder, options["force"]) == (Path("out"), True)
    assert [name for name, *_ in api.calls] == ["convert", "save"]
    assert result.stderr == ""


def test_what_was_done_otherwise_than_asked_is_said(api: Api) -> None:
    api.notes = ("dense: reuse_factor 3 became 2",)
    result = run("m.keras", "--calib", "x.npy")
    assert result.stdout.splitlines()[1] == "note: dense: reuse_factor 3 became 2"


def test_the_strategies_are_those_of_the_exporter() -> None:
    option = next(p for p in convert.params if p.name == "strategy")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == [str(s) for s in Strategy]


def test_options_win_over_the_settings_file(api: Api, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        """
        [convert]
        weight_bits = 6
        learning_rate = 0.01
        seed = 4
        [project]
        part = "xc7"
        reuse_factor = 2
        layers."dense.*".ReuseFactor = 8
        [[rule]]
        path = "head"
        weight_bits = 9
        """
    )
    result = run("m.keras", "--calib", "x.npy", "--config", "c.toml", "--weight-bits", "7", "--part", "xc8")
    assert result.exit_code == 0, result.output
    assert api.named("convert")[1] == {
        "exportable": True,
        "training_folder": Path("m_hgq.training"),
        "weight_bits": 7,
        "learning_rate": 0.01,
        "seed": 4,
        "part": "xc8",
        "reuse_factor": 2,
        "layers": {"dense.*": {"ReuseFactor": 8}},
        "rules": (hgqify.Rule(path="head", weight_bits=9),),
    }
    assert api.named("check")[1]["seed"] == 4


def test_an_existing_output_is_refused_before_any_work(api: Api, tmp_path: Path) -> None:
    (tmp_path / "m_hgq").mkdir()
    (tmp_path / "m_hgq" / "report.json").touch()
    result = run("m.keras", "--calib", "x.npy")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert not api.calls
    assert run("m.keras", "--calib", "x.npy", "--force").exit_code == 0


def test_differing_codes_exit_with_1(api: Api) -> None:
    api.exact = False
    assert run("m.keras", "--calib", "x.npy").exit_code == 1
    assert run("check", "m_hgq", "--data", "x.npy").exit_code == 1
    assert run("m.keras", "--calib", "x.npy", "--no-check").exit_code == 0


def test_check(api: Api) -> None:
    result = run("check", "m_hgq", "--data", "x.npy", "--limit", "5", "--no-csim", "--random", "0")
    assert result.exit_code == 0
    assert result.output == "the summary\n"
    assert api.named("check") == (
        (Path("m_hgq"),),
        {"data": "x.npy", "random": 0, "limit": 5, "csim": False},
    )


def test_check_as_json(api: Api, tmp_path: Path) -> None:
    for args in (["--json"], ["--json", "-"]):
        result = run("check", "m_hgq", *args)
        assert result.exit_code == 0
        assert json.loads(result.stdout) == {"exact": True}
    api.exact = False
    result = run("check", "m_hgq", "--json", "check.json")
    assert result.exit_code == 1
    assert result.output == "the summary\n"
    assert json.loads((tmp_path / "check.json").read_text()) == {"exact": False}
    assert os.listdir(tmp_path) == ["check.json"]


@pytest.mark.parametrize("target", ["none/check.json", "."])
def test_json_that_cannot_be_written_is_refused_before_any_work(api: Api, target: str) -> None:
    result = run("check", "m_hgq", "--json", target)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert not api.calls


def test_check_in_silence(api: Api) -> None:
    result = run("check", "m_hgq", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "the summary\n", "")
    assert api.named("check")[1] == {"random": 200, "data": None, "progress": no_progress}


def test_inspect(api: Api) -> None:
    result = run("inspect", "m.keras")
    assert result.exit_code == 0
    assert "conv   Conv2D  converted" in result.output
    api.entries = (Entry(), Entry(layer="rnn", kind="GRU", status="refused", reason="why", remedy="do this"))
    result = run("inspect", "m.keras")
    assert result.exit_code == 1
    assert "why. do this" in result.output
    assert "1 converted, 1 refused" in result.output
    result = run("inspect", "m.keras", "--json")
    assert [entry["status"] for entry in json.loads(result.output)] == ["converted", "refused"]


@pytest.mark.parametrize(
    "args", [["m.keras", "--calib", "x.npy"], ["check", "d", "--data", "x.npy"], ["inspect", "m.keras"]]
)
def test_errors_become_one_message(api: Api, args: list[str], tmp_path: Path) -> None:
    api.error = DataError("the data is empty", where="x.npy", received="shape (0,)", remedy="give more")
    result = run(*args)
    assert result.exit_code == 2
    message = "Error: x.npy: the data is empty; received: shape (0,). Give more"
    assert result.stderr.splitlines()[-1] == message
    assert "Traceback" not in result.output
    api.error = KeyboardInterrupt()
    result = run(*args)
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr
    api.error = OSError(28, "No space left on device", "m_hgq/model.keras")
    result = run(*args)
    assert result.exit_code == 2
    assert "Error: No space left on device: m_hgq/model.keras" in result.stderr
    assert not os.listdir(tmp_path)


def test_sweep_leaves_to_the_api_what_is_not_given(api: Api) -> None:
    result = run("sweep", "some/m.keras", "--calib", "x.npy", "-q")
    assert result.exit_code == 0, result.output
    assert api.calls == [
        (
            "sweep",
            ("some/m.keras", "x.npy"),
            {"output": Path("m_sweep"), "force": False, "exportable": False, "progress": no_progress},
        )
    ]
    assert result.stdout == "the table\nwritten to m_sweep/: sweep.json, points/\n"


def test_sweep_passes_on_what_is_given(api: Api) -> None:
    Path("s.toml").write_text("[convert]\nmargin = 2\nweight_bits = 9\n")
    options = (
        "--labels y --key a --validation v.npz --validation-labels z --budgets 2e6,1000 --budgets 5 "
        "--max-drop 0.3 -o out --force --save-chosen best --jobs 2 --config s.toml --no-compensate "
        "--weight-bits 6 --io-type io_stream --seed 3 --softmax refuse --unsafe --allow-pickle"
    )
    result = run("sweep", "m.keras", "--calib", "x.npz", *options.split())
    assert result.exit_code == 0, result.output
    (_, _, passed), *after = api.calls
    del passed["progress"]
    assert passed == {
        "output": Path("out"),
        "force": True,
        "exportable": True,
        "key": "a",
        "allow_pickle": True,
        "safe_mode": False,
        "labels": "y",
        "validation": "v.npz",
        "validation_labels": "z",
        "budgets": [2_000_000, 1000, 5],
        "max_drop": 0.3,
        "jobs": 2,
        "compensate": False,
        "margin": 2,
        "weight_bits": 6,
        "io_type": "io_stream",
        "seed": 3,
        "softmax": "refuse",
    }
    assert [name for name, *_ in after] == ["result", "save"]
    (folder,), options = api.named("save")
    assert (folder, options["force"]) == (Path("best"), True)
    assert options["command"].startswith("main sweep m.keras --calib x.npz --labels y")
    assert "chosen point written to best/" in result.stdout


def test_convert_takes_budgets_too(api: Api, tmp_path: Path) -> None:
    (tmp_path / "m_hgq.training").mkdir()
    assert run("m.keras", "--calib", "x.npz", "--no-check", "--budgets", "8000,4000").exit_code == 0
    assert api.named("convert")[1]["budgets"] == [8000, 4000]
    assert "training_folder" not in api.named("convert")[1]  # nothing is trained
    assert (tmp_path / "m_hgq.training").exists()  # nor was looked at: it stays


def test_what_a_training_kept_goes_once_its_result_is_written(api: Api, tmp_path: Path) -> None:
    def made(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "training_state.npz").touch()
        return tmp_path / name

    default, own = made("m_hgq.training"), made("mine")
    api.interrupted = True
    result = run("m.keras", "--calib", "x.npz", "--no-check")
    assert "run again with --resume --force" in result.stdout
    assert default.exists()
    api.interrupted = False
    assert "--resume" not in run("m.keras", "--calib", "x.npz", "--no-check").stdout
    assert not default.exists()
    run("m.keras", "--calib", "x.npz", "--no-check", "--training-folder", "mine")
    assert own.exists()


def test_a_mistake_of_ours_is_not_hidden(api: Api) -> None:
    api.error = ZeroDivisionError()
    assert isinstance(run("inspect", "m.keras").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("m.keras", "--calib"),
        ("m.keras --calib", "--calib"),
        ("m.keras --calib x.npy --weight-bits none", "none"),
        ("m.keras --calib x.npy --weight-bits 0", "--weight-bits"),
        ("m.keras --calib x.npy --io-type serial", "io_parallel"),
        ("m.keras --calib x.npy --strategy fast", "resource_unrolled"),
        ("m.keras --calib x.npy --reuse-factor 0", "--reuse-factor"),
        ("m.keras --calib x.npy --config none.toml", "none.toml: the settings cannot be read"),
        ("m.keras other.keras --calib x.npy", "other.keras"),
        ("m.keras --calib x.npy --no-such", "--no-such"),
        ("chek m_hgq", "Did you mean 'check'?"),
        ("check", "DIR"),
        ("check m_hgq --random 0", "nothing to compare on"),
        ("inspect", "MODEL"),
        ("sweep m.keras", "--calib"),
        ("sweep m.keras --calib x.npy --budgets 5,x,1.5", "received: 'x', '1.5'"),
        ("sweep m.keras --calib x.npy --budgets 0", "received: '0'"),
        ("sweep m.keras --calib x.npy --budgets nan,inf", "received: 'nan', 'inf'"),
        ("sweep m.keras --calib x.npy --target-ebops 5", "--target-ebops"),
        ("sweep m.keras --calib x.npy --config none.toml", "none.toml: the settings cannot be read"),
        ("", "Usage"),
    ],
)
def test_misuse_exits_with_2(api: Api, args: str, message: str) -> None:
    result = run(*args.split())
    assert result.exit_code == 2
    assert message in result.output
    assert not api.calls


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output


def examples(name: str) -> list[str]:
    """The command lines in a help text, without their continuation."""
    text = run(*([name] if name != "main" else []), "--help").output
    block = text.split("Examples:\n")[1].split("\n\n")[0]
    return [line.strip() for line in re.sub(r"\\\n\s*", "", block).splitlines()]


@pytest.mark.parametrize("name", [*COMMANDS, "main"])
def test_examples_in_help_run(api: Api, name: str) -> None:
    """Each parses, and names files that are in the repository."""
    lines = examples(name)
    assert len(lines) >= 2
    root = Path(__file__).parents[2]
    for line in lines:
        program, *args = shlex.split(line)
        assert program == "hgqify"
        result = run(*args)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        for word in args:
            if word.startswith("fixtures/"):
                assert (root / word).exists(), word


def test_python_m() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hgqify", "--help"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("Usage: hgqify ")
