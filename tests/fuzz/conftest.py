"""Counts of the fuzz tests, printed at the end of the run."""

import pytest
from check import Tally

_TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(request):
    """One count for all fuzz tests of the run."""
    stash = request.config.stash
    if _TALLY not in stash:
        stash[_TALLY] = Tally()
    return stash[_TALLY]


def pytest_terminal_summary(terminalreporter, config):
    """What was fuzzed."""
    if _TALLY in config.stash:
        terminalreporter.section("fuzzing")
        terminalreporter.write_line(config.stash[_TALLY].table())
