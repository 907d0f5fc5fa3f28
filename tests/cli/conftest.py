"""The stand-in for the API in place of the API."""

from pathlib import Path

import pytest
from stand_in import STOOD_IN, Api

import hgqify


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    stand_in = Api()
    for name in STOOD_IN:
        monkeypatch.setattr(hgqify, name, getattr(stand_in, name), raising=False)
    monkeypatch.chdir(tmp_path)
    return stand_in
