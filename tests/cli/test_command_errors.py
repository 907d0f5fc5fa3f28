"""Mistakes become one message and an exit status, never a traceback."""

import os
from pathlib import Path

import pytest
from stand_in import Api, run

from hgqify.errors import DataError


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
