"""`hgqify sweep`: what it passes on."""

from pathlib import Path

from stand_in import Api, run

from hgqify.progress import no_progress


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
    (folder,), kept = api.named("save")
    assert (folder, kept["force"]) == (Path("best"), True)
    assert kept["command"].startswith("main sweep m.keras --calib x.npz --labels y")
    assert "chosen point written to best/" in result.stdout
