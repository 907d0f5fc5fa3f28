"""Random networks: Keras = integer reference, and a sample of them = C simulation.

A seeded run of about two minutes by default; `pytest -m fuzz --hypothesis-profile=thorough` draws 1,000
networks (a new seed every time; --hypothesis-seed repeats one). What ran is counted and printed at the end.
"""

import pytest
from check import check_network, check_program, check_simulation, drawn, stimuli, subjects
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from networks import networks, programs

from hgqify.export import compiler
from hgqify.precision import certify

pytestmark = pytest.mark.fuzz

THOROUGH = settings.default.max_examples >= 1000
COUNT = 1000 if THOROUGH else 100
# Networks drawn for each interface; those that cannot be printed are refused.
SIMULATED = 140 if THOROUGH else 12
PROGRAMS = 40 if THOROUGH else 3

fuzzing = settings(
    max_examples=COUNT,
    derandomize=not THOROUGH,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@fuzzing
@given(network=networks())
def test_keras_equals_the_reference(network, tally):
    program = check_network(network, tally)
    if program is None:
        event("refused by lowering")
    else:
        event("proved in float32" if certify(program).proved else "not proved in float32")


@fuzzing
@given(program=programs(), number=st.integers(0, 99))
def test_fixed_programs(program, number, tally):
    check_program(program, stimuli(program, number), tally, slow=number % 8 == 0)


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_c_simulation_equals_the_reference(io_type, tally, tmp_path, request):
    number = request.config.getoption("--hypothesis-seed") if THOROUGH else 0
    uniform = io_type == "io_stream"
    sources = drawn(networks(uniform=uniform), SIMULATED, int(number or 0))
    sources += drawn(programs(uniform=uniform), PROGRAMS, int(number or 0))
    chosen = list(subjects(sources, io_type, tally))
    assert len(chosen) > len(sources) // 4
    check_simulation(chosen, tmp_path, tally)
