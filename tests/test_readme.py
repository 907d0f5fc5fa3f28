"""The README's code runs as it stands."""

import contextlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from hgqify.export import random_inputs
from hgqify.layers import QLayer
from hgqify.precision import lower
from hgqify.reference import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(word: str) -> str:
    (found,) = [text for text in BLOCKS if word in text]
    return found


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """The README's example as it stands, run where it may write; it compares firmware and Keras itself."""
    keras.utils.set_random_seed(0)
    names: dict = {}
    here = tmp_path_factory.mktemp("by_hand")
    (here / "fixtures").symlink_to(ROOT / "fixtures")
    with contextlib.chdir(here):
        exec(block("convert_from_keras_model(model"), names)
    return names["model"]


def test_a_hand_built_model_trains_and_lowers_to_the_same_codes(by_hand):
    assert sum(isinstance(layer, QLayer) for layer in by_hand.layers) == 2
    program = lower(by_hand)
    for inputs in (random_inputs(program, 40, seed=0), random_inputs(program, 40, seed=1, reach=50)):
        (expected,) = run(program, list(inputs)).values
        np.testing.assert_array_equal(by_hand.predict(inputs[0], verbose=0).astype(np.float64), expected)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"fixtures/[\w./]+\.\w+", README))))
def test_every_fixture_named_exists(path):
    assert (ROOT / path).is_file()


def test_every_option_named_exists():
    from click.testing import CliRunner

    from hgqify.cli import main

    commands = ([], ["convert"], ["check"], ["sweep"], ["inspect"], ["init"], ["compare"], ["export"])
    text = "".join(CliRunner().invoke(main, [*c, "--help"]).output for c in commands)
    ours = re.sub(r"`(pytest|python) [^`]*`|&& pytest .*", "", README)
    for option in set(re.findall(r"(?<=[ `])--[a-z][a-z-]+", ours)):
        assert option in text, option
