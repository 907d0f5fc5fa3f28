"""What is printed: tables, colours where they are seen, JSON alone where it was asked for."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from stand_in import Api, run

from hgqify.cli import main
from hgqify.cli.output import colours, table
from hgqify.export import Limit

ESCAPE = "\x1b["


def on_terminal(*args: str, **environment: str) -> Result:
    """As on a terminal that shows colours."""
    return CliRunner(env=environment).invoke(main, args, color=True)


def test_colours_only_where_they_are_seen(api: Api) -> None:
    args = ("m.keras", "--calib", "x.npy")
    assert ESCAPE not in run(*args).stdout
    shown = on_terminal(*args, "-o", "other").stdout
    assert ESCAPE in shown
    assert click.unstyle(shown).splitlines()[:-1] == run(*args, "-o", "third").stdout.splitlines()[:-1]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, None), ({"NO_COLOR": ""}, None), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_who_wants_no_colours(environment: dict[str, str], expected: bool | None) -> None:
    assert colours(environment) is expected


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_is_kept_to(environment: dict[str, str], api: Api) -> None:
    """https://no-color.org: any text will do."""
    shown = on_terminal("m.keras", "--calib", "x.npy", **environment)
    assert "quality     good" in shown.stdout
    assert ESCAPE not in shown.output


def test_verbose_lists_layers_and_times(api: Api) -> None:
    lines = run("m.keras", "--calib", "x.npy", "--verbose").stdout.splitlines()
    header = "layer kind output input bits weight bits zeros EBOPs share SQNR dB"
    assert " ".join(lines[0].split()) == header
    assert " ".join(lines[1].split()) == "dense QDense 3 12 3-10 25 % 7,000 100.0 % 40.0"
    assert "stages      calibrate 1.5 s, finetune 2.5 s" in lines
    short = run("m.keras", "--calib", "x.npy", "-o", "b").stdout.splitlines()
    assert short[0] == "quality     good"
    assert not any(line.startswith(("layer ", "stages ")) for line in short)


def test_quiet_and_verbose_contradict_each_other(api: Api) -> None:
    done = run("m.keras", "--calib", "x.npy", "-q", "-v")
    assert done.exit_code == 2
    assert "contradict each other" in done.stderr
    assert not api.calls


def test_json_is_all_that_is_printed(api: Api, tmp_path: Path) -> None:
    told = json.loads(run("m.keras", "--calib", "x.npy", "--json", "-").stdout)
    assert (told["written"], told["notes"], told["report"]) == ("m_hgq", [], {"ebops": 7000})
    assert told["check"]["exact"] is True
    done = run("m.keras", "--calib", "x.npy", "--json", "all.json", "-o", "b", "--no-check")
    assert "quality     good" in done.stdout
    assert "not checked" in done.stdout
    assert json.loads((tmp_path / "all.json").read_text())["check"] is None
    api.calls.clear()
    done = run("m.keras", "--calib", "x.npy", "--json", "none/all.json", "-o", "c")
    assert (done.exit_code, api.calls) == (2, [])


def test_a_limit_is_told_after_the_verdict(api: Api) -> None:
    api.limits = (Limit(name="EBOPs", value=7000, bound=6000, at_most=True),)
    done = run("check", "d")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == (
        "limit       EBOPs 7,000, at most 6,000 is allowed: LIMIT LEFT by 1,000"
    )


def test_numbers_stand_at_the_right() -> None:
    assert table(("a", "n"), [("x", "1"), ("yy", "100")], right=[1]) == "a     n\nx     1\nyy  100"
