"""What the peers lack or get wrong, feature by feature: exact here, or refused with a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest
from branches import IO_TYPES, Joined, Outcome, convert_joined
from feature_models import BRANCHES, PARALLEL_ONLY
from refused_models import REFUSED

import hgqify
from hgqify.convert import default_registry, recurrent, refusals
from hgqify.errors import UnsupportedLayerError
from hgqify.export import compiler

Results = dict[str, dict[str, Outcome]]


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:  # itertools has it from 3.12 on
    """Lists of so many items, the last one shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


GROUP = 12
"""Features side by side in one build: hls4ml's passes take as long as the square of what a project holds."""


@pytest.fixture(scope="module")
def groups() -> list[Joined]:
    return [convert_joined(dict(group)) for group in batched(BRANCHES.items(), GROUP)]


@pytest.fixture(scope="module")
def results(groups: list[Joined], tmp_path_factory: pytest.TempPathFactory) -> Results:
    found: Results = {"Keras": {}}
    for joined in groups:
        found["Keras"] |= joined.keras()
        if compiler() is not None:
            for io_type, outcomes in joined.simulate(tmp_path_factory.mktemp("features")).items():
                found.setdefault(io_type, {}).update(outcomes)
    return found


@pytest.mark.parametrize("feature", BRANCHES)
@pytest.mark.parametrize("computation", ["Keras", *IO_TYPES])
def test_every_feature_is_exact(results: Results, computation: str, feature: str) -> None:
    if computation not in results:
        pytest.skip("C simulation needs g++")
    outcome = results[computation][feature]
    if computation == "io_stream" and feature in PARALLEL_ONLY:
        assert outcome.refused
        return
    assert not outcome.refused
    assert outcome.exact, str(outcome)


def test_every_converter_is_among_them(groups: list[Joined]) -> None:
    """A converter that no feature and no refusal reaches would be tested by nothing here."""
    made = {"Quantize"}  # at the edges of a model, by the conversion itself
    made |= {"QLargest"}  # by calibration, where rows differ in size: tests/convert/test_row_scaling.py
    refused = set(refusals.converters()) | set(recurrent.converters()) | {"Softmax"}
    kinds = set().union(*(joined.kinds for joined in groups))
    assert set(default_registry()) - kinds - made - refused == set()


@pytest.mark.parametrize("feature", [name for name in REFUSED if not name.startswith("D10")])
def test_what_is_not_supported_is_refused_before_the_data_is_opened(feature: str) -> None:
    make, layer, remedy = REFUSED[feature]
    with pytest.raises(UnsupportedLayerError) as caught:
        hgqify.convert(make(), "no such file.npy")
    assert layer in str(caught.value)
    assert remedy[0].upper() + remedy[1:] in str(caught.value)
