"""`hgqify inspect`: what it prints and returns."""

import json

from stand_in import Api, Entry, run


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
