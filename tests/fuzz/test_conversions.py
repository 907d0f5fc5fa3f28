"""Random float models of all that is converted: the clone equals the float model, Keras = integer reference,
a sample of them = C simulation.

A fixed run by default, in which every family occurs; `pytest -m fuzz --hypothesis-profile=thorough` draws ten
times as many (--hypothesis-seed chooses which). A number names a network: `float_network(number, wanted)`.
"""

import functools

import numpy as np
import pytest
from check import Subject, Tally, check_simulation
from convert_check import Reached, check_conversion, passes
from float_networks import ALONE, NAMES, float_network, float_settings
from hypothesis import settings

from hgqify.convert import default_registry, recurrent, refusals
from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, compiler, refuse_unprintable
from hgqify.graph.passes.operation_moves import SPLITS
from hgqify.graph.passes.operation_rules import RULES

pytestmark = pytest.mark.fuzz

THOROUGH = settings.default.max_examples >= 1000
ROUNDS = 10 if THOROUGH else 1
TOGETHER = 4
"""Families that a network holds for certain; up to two more are drawn."""
MIXED = -(-len(NAMES) // TOGETHER)
COUNT = MIXED + 1
"""Networks of a round."""
SIMULATED = 48 if THOROUGH else 8
"""Networks that go through C simulation, half of them as streams."""


def wanted(number: int, first: int) -> list[str]:
    """Families of a network: in every round of `COUNT` networks each occurs once."""
    turn, place = divmod(number, COUNT)
    if place == MIXED:
        return list(ALONE)
    order = np.random.default_rng((first, turn)).permutation(NAMES)
    return [str(name) for name in order[place::MIXED]]


@pytest.fixture(scope="module")
def first(request):
    """What all numbers of the run start from."""
    given = request.config.getoption("--hypothesis-seed") if THOROUGH else None
    return int(given or 0)


@pytest.fixture(scope="module")
def converted(first, tally: Tally):
    """The checked conversion of a number; once for all tests."""

    @functools.cache
    def run(number: int) -> Reached:
        seed = 10_000 * first + number
        network, chosen = float_network(seed, wanted(number, first)), float_settings(seed)
        try:
            return check_conversion(network, chosen, tally)
        except Exception as error:
            error.add_note(f"{network}\n  {chosen}")
            raise

    return run


@pytest.mark.parametrize("number", range(ROUNDS * COUNT))
def test_conversion(converted, number):
    converted(number)


def test_every_converter_is_reached(converted):
    """In one round: every kind in the registry, every pass, every rule of an operation."""
    runs = [converted(number) for number in range(COUNT)]
    refused = set(refusals.converters()) | set(recurrent.converters()) | {"Softmax"}
    kinds = set().union(*(run.kinds for run in runs))
    edges = {"Quantize"}  # at inputs and outputs of every model, behind the graph
    assert set(default_registry()) - kinds - refused - edges == set()
    operations = set().union(*(run.operations for run in runs))
    renamed = {"Abs"}  # an Absolute, as Keras makes it now
    assert (set(RULES) | set(SPLITS)) - renamed - operations == set()
    changed = set().union(*(run.passes for run in runs))
    assert {step.name for step in passes()} - changed == set()


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_c_simulation(converted, io_type, tally, tmp_path):
    chosen = []
    for number in range(io_type == "io_stream", ROUNDS * COUNT, 2):
        program, options = converted(number).program, ProjectOptions(io_type=io_type)
        try:
            refuse_unprintable(program, options)
        except ExportError:
            continue
        if len(program.nodes) <= 60:  # the compiler's time
            chosen.append(Subject(program, options, f"number {number}"))
        if len(chosen) == SIMULATED // 2:
            break
    assert chosen
    check_simulation(chosen, tmp_path, tally)
