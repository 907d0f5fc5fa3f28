"""Every quantized layer through the one contract."""

import keras
import pytest
from contract import Case, Run, check, run_family
from layer_cases import CASES, FAMILIES

from hgqify import layers
from hgqify.layers import QLayer


@pytest.fixture(scope="module")
def family(request, tmp_path_factory) -> dict[str, Run]:
    keras.utils.set_random_seed(1)
    return run_family(FAMILIES[request.param], tmp_path_factory.mktemp("models") / "model.keras")


@pytest.mark.parametrize(
    ("family", "case"),
    [pytest.param(name, case, id=case.name) for name, cases in FAMILIES.items() for case in cases],
    indirect=["family"],
)
def test_contract(family: dict[str, Run], case: Case) -> None:
    check(case, family[case.name])


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
