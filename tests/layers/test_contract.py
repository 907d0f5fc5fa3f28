"""Every quantized layer through the one contract."""

import functools
from collections.abc import Callable

import keras
import pytest
from contract import Case, Run, check, run_family
from layer_cases import CASES, FAMILIES

from hgqify import layers
from hgqify.layers import QLayer


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Callable[[str], dict[str, Run]]:
    """What each family did; computed when first asked for."""

    @functools.cache
    def run(family: str) -> dict[str, Run]:
        keras.utils.set_random_seed(1)
        return run_family(FAMILIES[family], tmp_path_factory.mktemp(family) / "model.keras")

    return run


@pytest.mark.parametrize(
    ("family", "case"),
    [pytest.param(name, case, id=case.name) for name, cases in FAMILIES.items() for case in cases],
)
def test_contract(runs: Callable[[str], dict[str, Run]], family: str, case: Case) -> None:
    check(case, runs(family)[case.name])


def test_every_layer_has_a_case() -> None:
    classes = {getattr(layers, name) for name in layers.__all__}
    public = {
        c
        for c in classes
        if isinstance(c, type)
        and issubclass(c, QLayer)
        and keras.saving.get_registered_name(c).startswith("hgqify>")
    }
    assert public == {type(case.make()) for case in CASES}
