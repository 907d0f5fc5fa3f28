"""`hgqify init`: a settings file in which every line can be used as it stands."""

import itertools
import os
import re
import tomllib
from pathlib import Path

import keras
import pytest
from stand_in import run

import hgqify
from hgqify.settings_file import tables


@pytest.fixture(scope="module")
def text(results: Path) -> str:
    done = run("init", str(results / "model.keras"), "-o", "-")
    assert done.exit_code == 0
    return done.stdout


def settings(text: str) -> list[tuple[str, str]]:
    """Table and line of every setting that is commented out, those of rules left out."""
    found, table = [], ""
    for line in text.split("# Rules:")[0].splitlines():
        if line.startswith("["):
            table = line
        elif re.match("#[a-z]", line):
            found.append((table, line[1:]))
    return found


def test_it_says_nothing_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    content = tomllib.loads(text)
    assert content == {"data": {}, "convert": {}, "project": {}}
    (tmp_path / "s.toml").write_text(text)
    assert hgqify.load_settings(tmp_path / "s.toml") == {}


def test_every_option_stands_there_with_a_text(text: str) -> None:
    known = tables()
    expected = {(f"[{table}]", key) for table in ("data", "convert", "project") for key in known[table]}
    expected -= {("[project]", "layers"), ("[data]", "calib_sha256"), ("[data]", "labels_sha256")}
    assert {(table, line.split(" = ")[0]) for table, line in settings(text)} == expected
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match("#[a-z]", line) and "[[rule]]" not in before and not re.match("#[a-z]", before):
            assert before.startswith("# "), line


def test_every_line_alone_is_accepted_and_says_the_default(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    owners = (
        hgqify.ConvertSettings,
        hgqify.CalibrateSettings,
        hgqify.FinetuneSettings,
        hgqify.ProjectOptions,
    )
    defaults = {f: getattr(owner(), f) for owner in owners for f in owner.__dataclass_fields__}
    for table, line in settings(text):
        path.write_text("\n".join([table, line]) if "data" not in table else f'[data]\ncalib = "x"\n{line}')
        if line.startswith("calib ="):
            path.write_text(f"{table}\n{line}")
        key = line.split(" = ")[0]
        loaded = hgqify.load_settings(path)
        assert key in loaded
        if defaults.get(key) is not None and key not in ("io_type", "ranges"):
            assert loaded[key] == defaults[key], line


def test_the_layers_are_rules(text: str, tmp_path: Path, results: Path) -> None:
    rules = re.sub("^#(?=[a-z\\[])", "", text, flags=re.MULTILINE).split("The layers of this model:")[1]
    path = tmp_path / "s.toml"
    path.write_text(rules)
    loaded = hgqify.load_settings(path)["rules"]
    assert [rule.path for rule in loaded] == ["dense", "dense_1", "dense_2"]
    assert "# dropout (Dropout) is removed: Dropout is an identity at inference" in text
    report = hgqify.inspect(results / "model.keras", rules=loaded)
    assert not report.refused


def test_refused_layers_and_odd_names(tmp_path: Path) -> None:
    stack = [
        keras.Input((8, 2)),
        keras.layers.Dense(2, name="a.b (c)"),
        keras.layers.Masking(name="masking"),
        keras.layers.GlobalAveragePooling1D(),
    ]
    keras.Sequential(stack).save(tmp_path / "m.keras")
    text = hgqify.settings_template("m.keras", hgqify.inspect(tmp_path / "m.keras"))
    assert "# masking (Masking) is refused: " in text
    path = re.search("^#path = .*", text, re.MULTILINE)
    assert path is not None
    assert re.fullmatch(tomllib.loads(path[0][1:])["path"], "a.b (c)")


def test_a_file_that_exists_is_kept(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(results / "model.keras")
    done = run("init", model)
    assert done.exit_code == 0
    assert "hgqify.toml" in done.stdout
    Path("hgqify.toml").write_text("mine")
    done = run("init", model)
    assert done.exit_code == 2
    assert "hgqify.toml is there already" in done.stderr
    assert Path("hgqify.toml").read_text() == "mine"
    assert run("init", model, "--force").exit_code == 0
    assert run("init", "none.keras", "-o", "other.toml").exit_code == 2
    assert os.listdir(tmp_path) == ["hgqify.toml"]
