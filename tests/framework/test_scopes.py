"""Layers made within scopes, in threads and tasks at once; unknown options by name."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from hgqify.config import LayerConfigScope, QuantizerConfigScope
from hgqify.errors import RuleError
from hgqify.layers import QDense


def layer(number: int) -> QDense:
    with (
        QuantizerConfigScope(place="weight", f0=number),
        LayerConfigScope(beta0=number / 8),
        LayerConfigScope(enable_ebops=bool(number % 2)),
    ):
        return QDense(1)


def check(found: QDense, number: int) -> None:
    assert found.kq.config.f0 == number
    assert found.layer_config.beta0 == number / 8
    assert found.layer_config.enable_ebops == bool(number % 2)


def test_threads_do_not_see_each_other() -> None:
    with QuantizerConfigScope(f0=77), LayerConfigScope(beta0=77), ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(layer, range(40))):
            check(found, number)
        # A thread starts from the defaults, not from whoever started it.
        assert pool.submit(QDense, 1).result().layer_config.beta0 == 1e-5
        assert QDense(1).layer_config.beta0 == 77


def test_tasks_do_not_see_each_other() -> None:
    async def work(number: int) -> QDense:
        with QuantizerConfigScope(place="weight", f0=number), LayerConfigScope(beta0=number / 8):
            await asyncio.sleep(0.001 * (number % 3))
            with LayerConfigScope(enable_ebops=bool(number % 2)):
                await asyncio.sleep(0.001 * (number % 2))
                return QDense(1)

    async def everything() -> list[QDense]:
        return await asyncio.gather(*(work(number) for number in range(20)))

    for number, found in enumerate(asyncio.run(everything())):
        check(found, number)
    assert QDense(1).layer_config.beta0 == 1e-5


def test_an_error_inside_leaves_the_scopes_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), LayerConfigScope(beta0=1), QuantizerConfigScope(f0=9):
        raise ZeroDivisionError
    assert QDense(1).layer_config.beta0 == 1e-5
    assert QDense(1).kq.config.f0 == 6


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LayerConfigScope(enable_ebop=True), "enable_ebops"),
        (lambda: LayerConfigScope(beta=1.0), "beta0"),
        (lambda: QuantizerConfigScope(overflow="WRAP"), "overflow_mode"),
        (lambda: QuantizerConfigScope(place="weights"), "weight"),
        (lambda: QuantizerConfigScope(overflow_mode="SAT_SM"), "SAT_SYM"),
        (lambda: QuantizerConfigScope(default_q_type="kbf"), "kbi"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(make, named) -> None:
    with pytest.raises(RuleError, match=named):
        make()
