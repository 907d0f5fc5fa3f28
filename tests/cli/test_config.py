"""The settings file: every mistake in it is named by its path, all at once, before any work."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import hgqify
from hgqify import toml_text
from hgqify.cli import main
from hgqify.convert import ConvertSettings, Rule
from hgqify.errors import RuleError
from hgqify.finetune import FinetuneSettings
from hgqify.settings_file import tables

FULL = """
[convert]
weight_bits = 6
weight_granularity = "element"
overflow = "SAT_SYM"
margin = 2
equalize = true
seed = 3
finetune_steps = 0
label_weight = 0

[project]
backend = "Vivado"
io_type = "auto"
clock_period = 4
strategy = "resource"

[project.layers."dense.*"]
reuse_factor = 4
[project.layers.conv]
Strategy = "Latency"
ParallelizationFactor = 2

[[rule]]
layer_type = "Dense"
weight_bits = 8
[[rule]]
path = "head"
keep_float = true
"""


def load(folder: Path, text: str) -> dict[str, object]:
    path = folder / "s.toml"
    path.write_text(text)
    return hgqify.load_settings(path)


def test_a_file_becomes_keywords(tmp_path: Path) -> None:
    assert load(tmp_path, FULL) == {
        "weight_bits": 6,
        "weight_granularity": "element",
        "overflow": "SAT_SYM",
        "margin": 2,
        "equalize": True,
        "seed": 3,
        "finetune_steps": 0,
        "label_weight": 0,
        "backend": "Vivado",
        "io_type": "auto",
        "clock_period": 4,
        "strategy": "resource",
        "layers": {
            "dense.*": {"reuse_factor": 4},
            "conv": {"Strategy": "Latency", "ParallelizationFactor": 2},
        },
        "rules": (Rule(layer_type="Dense", weight_bits=8), Rule(path="head", keep_float=True)),
    }
    assert load(tmp_path, "") == {}


def test_no_key_is_in_two_tables() -> None:
    known = tables()
    assert not set(known["convert"]) & set(known["project"])


@pytest.mark.parametrize("kind", [ConvertSettings, FinetuneSettings, hgqify.ProjectOptions])
def test_defaults_are_accepted(kind: type, tmp_path: Path) -> None:
    """Every default that TOML can hold, written down, is what was there before."""
    table = "project" if kind is hgqify.ProjectOptions else "convert"
    defaults = {name: value for name, value in vars(kind()).items() if value not in (None, {})}
    defaults = {name: value for name, value in defaults.items() if name in tables()[table]}
    lines = [f"{name} = {toml_text.value(value)}" for name, value in defaults.items()]
    assert load(tmp_path, f"[{table}]\n" + "\n".join(lines)) == defaults
    assert len(defaults) >= 5


MISTAKES = {
    "[convrt]\nweight_bits = 6": r"convrt: unknown table\. Did you mean convert\?",
    "weight_bits = 6": r"weight_bits: unknown table",
    "[convert]\nwieght_bits = 6": r"convert\.wieght_bits: unknown setting\. Did you mean weight_bits\?",
    "[convert]\nsteps = 6": r"convert\.steps: unknown setting\. Did you mean finetune_steps\?",
    "[convert]\nio_type = 'io_stream'": r"convert\.io_type: unknown setting",
    "[convert]\nweight_bits = '6'": r"convert\.weight_bits: a whole number is needed; received: '6'",
    "[convert]\nweight_bits = true": r"convert\.weight_bits: a whole number is needed; received: True",
    "[convert]\nweight_bits = 1": r"convert\.weight_bits: .*from 2 to 24; received: 1",
    "[convert]\noverflow = 'SATT'": r"convert\.overflow: .*SATT.*SAT",
    "[convert]\nlearning_rate = 'fast'": r"convert\.learning_rate: a number is needed",
    "[convert]\nholdout = 2": r"convert\.holdout: holdout must lie between 0 and 1",
    "[convert]\nseed = -1": r"convert\.seed: must not be negative",
    "[convert]\nbudgets = 5": r"convert\.budgets: a list is needed; received: 5",
    "[convert]\nbudgets = [5, 0, 'x']": r"convert\.budgets: every budget must be .* received: 0, 'x'",
    "convert = 5": r"convert: a table is needed; received: 5\. Write \[convert\]",
    "[project]\nbackend = 'Vitus'": r"project\.backend: unknown backend.*did you mean Vitis\?",
    "[project]\nbackend = 'oneAPI'": r"project\.backend: this backend is not supported: .*icpx.*Use one of",
    "[project]\nstrategy = 'Resouce'": r"project\.strategy: unknown strategy.*did you mean Resource\?",
    "[project]\nstrategy = 'distributed_arithmetic'": r"project\.strategy: .*not supported: da4ml",
    "[project]\nreuse_factor = 0": r"project\.reuse_factor: .*whole number from 1 on; received: 0",
    "[project]\nclock_period = -1.0": r"project\.clock_period: .*positive number",
    "[project]\nclock_uncertainty = 100": r"project\.clock_uncertainty: .*below 100",
    "[project]\npart = 'a b; exec'": r"project\.part: part is the name of an FPGA",
    "[project]\nlayers = 3": r"project\.layers: a table is needed",
    "[project.layers.a]\nReuse = 3": r"project\.layers\.a\.Reuse: unknown option.*mean reuse_factor\?",
    "[project.layers.a]\nprecision = 'ap'": r"project\.layers\.a: types cannot be overridden",
    "[project.layers.a]": r"project\.layers\.a: no option is set",
    "[project.layers.'(']\nreuse_factor = 2": r"project\.layers\.\(: not a regular expression",
    "[project.layers.a]\nstrategy = 'x'": r"project\.layers\.a: unknown strategy",
    "[project]\nio_type = 'io_stream'\nparallelization_factor = 2": r"project: .*streams come one position",
    "[convert]\nactivation_granularity = 'element'\n[project]\nio_type = 'io_stream'": "convert: .*stream",
    "[[rule]]\nweight_bits = 6": r"rule\[0\]: a rule must say what it matches",
    "[[rule]]\npath = 'a'": r"rule\[0\]: a rule must set something",
    "[[rule]]\npath = '('\nweight_bits = 6": r"rule\[0\]: path is not a regular expression",
    "[[rule]]\npath = 3\nweight_bits = 6": r"rule\[0\]\.path: text is needed; received: 3",
    "[[rule]]\nlayer = 'a'": r"rule\[0\]\.layer: unknown setting\. Did you mean layer_type\?",
    "[[rule]]\npredicate = 'a'": r"rule\[0\]\.predicate: unknown setting",
    "[rule]\npath = 'a'": r"rule: rules are a list\. Write \[\[rule\]\]",
    "[convert\n": r"not a TOML file: .*\. Correct it there",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(text)
    result = CliRunner().invoke(main, ["m.keras", "--calib", "x.npy", "--config", "s.toml", "-o", "out"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: s.toml: ")
    with pytest.raises(RuleError, match=MISTAKES[text]):
        hgqify.load_settings("s.toml")
    assert sorted(os.listdir(tmp_path)) == ["s.toml"]


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    text = (
        "[convert]\nweight_bit = 6\nholdout = 2\n[project]\nreuse_factor = 0\n[project.layers.a]\nx = 1\n"
        "[[rule]]\npath = 'a'\n[more]\n"
    )
    with pytest.raises(RuleError, match="6 settings are wrong") as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()[1:]
    starts = ["more", "convert.weight_bit", "convert.holdout", "project.reuse_factor", "project.layers.a.x"]
    for line, start in zip(lines, [*starts, "rule[0]"], strict=True):
        assert line.startswith(f"  {start}: ")
