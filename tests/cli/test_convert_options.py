"""`hgqify MODEL`: what it passes on, refuses and cleans up."""

from pathlib import Path

import click
from stand_in import Api, run

import hgqify
from hgqify.cli.convert import convert
from hgqify.export import Strategy


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
            (folder, verdict), _ = api.named("record_check")
            assert (folder, verdict["exact"]) == (Path("m_hgq"), True)
            assert api.named("check") == (
                (Path("m_hgq"),),
                {"data": "x.npy", "random": 200, "limit": 200},
            )
            assert result.stdout.splitlines()[0] == "quality     good"
            assert "m_hgq" in result.stdout
            assert result.stderr.splitlines()[0].startswith("calibrate  5/10 samples")


def test_convert_passes_on_what_is_given(api: Api) -> None:
    given = (
        "--labels y --key a --key b --allow-pickle --unsafe -o out --force --weight-bits 6 "
        "--activation-bits 7 --weight-granularity element --activation-granularity tensor --overflow wrap "
        "--margin 1 --input-bits 9 --output-bits 12 --finetune-steps 0 --learning-rate 0.01 "
        "--batch-size 32 --backend Vitis --io-type io_stream --part xc7 --clock-period 4 --softmax refuse "
        "--clock-uncertainty 10 --strategy resource --reuse-factor 4 --parallelization-factor 2 "
        "--project-name top --no-check --seed 3 --quiet --equalize --no-correct-bias --resume "
        "--training-folder t --label-weight 0.5 --width-rate 0.02 --devices all"
    )
    result = run("m.keras", "--calib", "x.npz", *given.split())
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
    assert result.stdout.splitlines()[1] == "note        dense: reuse_factor 3 became 2"


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
