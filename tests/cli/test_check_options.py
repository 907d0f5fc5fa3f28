"""`hgqify check`: what it passes on, prints and returns."""

import json
import os
from pathlib import Path

import pytest
from stand_in import Api, run

from hgqify.progress import no_progress


def test_differing_codes_exit_with_1(api: Api) -> None:
    api.exact = False
    assert run("m.keras", "--calib", "x.npy").exit_code == 1
    assert run("check", "m_hgq", "--data", "x.npy").exit_code == 1
    assert run("m.keras", "--calib", "x.npy", "--no-check").exit_code == 0


def test_check(api: Api) -> None:
    result = run("check", "m_hgq", "--data", "x.npy", "--limit", "5", "--no-csim", "--random", "0")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "compared    Keras = reference on x.npy: 0 of 15 codes differ (5 samples)",
        "exact       every code is equal",
    ]
    assert api.named("check") == (
        (Path("m_hgq"),),
        {"data": "x.npy", "random": 0, "limit": 5, "csim": False},
    )


def test_check_writes_into_the_report_when_asked(api: Api) -> None:
    assert run("check", "m_hgq").exit_code == 0
    assert "record_check" not in [name for name, *_ in api.calls]
    assert run("check", "m_hgq", "--record").exit_code == 0
    (folder, verdict), _ = api.named("record_check")
    assert (folder, verdict["exact"]) == (Path("m_hgq"), True)


def test_check_as_json(api: Api, tmp_path: Path) -> None:
    for args in (["--json"], ["--json", "-"]):
        result = run("check", "m_hgq", *args)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["exact"] is True
    api.exact = False
    result = run("check", "m_hgq", "--json", "check.json")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("NOT EXACT")
    assert json.loads((tmp_path / "check.json").read_text())["exact"] is False
    assert os.listdir(tmp_path) == ["check.json"]


@pytest.mark.parametrize("target", ["none/check.json", "."])
def test_json_that_cannot_be_written_is_refused_before_any_work(api: Api, target: str) -> None:
    result = run("check", "m_hgq", "--json", target)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert not api.calls


def test_check_in_silence(api: Api) -> None:
    result = run("check", "m_hgq", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "exact       every code is equal"
    assert api.named("check")[1] == {"random": 200, "data": None, "progress": no_progress}
