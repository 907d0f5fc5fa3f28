"""Settings: defaults, scopes, round trip, and messages that name the nearest valid word."""

import asyncio
import dataclasses
import json
import threading

import pytest

from hgqify.errors import RuleError
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers import Place, QType, QuantizerConfig, QuantizerConfigScope, resolve
from hgqify.quantizers.scope import OPTIONS


@pytest.mark.parametrize("place", ["weight", "bias", "table"])
def test_constants_default_to_the_page(place):
    config = QuantizerConfig(place=place)
    assert (config.q_type, config.overflow_mode, config.round_mode) == (
        QType.KBI,
        Overflow.SAT_SYM,
        Rounding.RND,
    )
    own = (config.homogeneous_axis, config.heterogeneous_axis)
    assert own == ((None, ()) if place == "table" else ((), None))


def test_data_defaults_to_the_page():
    config = QuantizerConfig()
    assert config.place is Place.DATALANE
    assert (config.q_type, config.overflow_mode) == (QType.KIF, Overflow.WRAP)
    assert config.homogeneous_axis == (0,)


def test_the_scopes_of_the_page_are_the_defaults():
    plain = [QuantizerConfig(place=place) for place in Place]
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
    ):
        assert [QuantizerConfig(place=place) for place in Place] == plain


def test_options_cover_the_dataclass():
    names = [field.name for field in dataclasses.fields(QuantizerConfig)]
    assert names == ["q_type", "place", *OPTIONS]


def test_inner_scopes_win_and_leave_no_trace():
    before = QuantizerConfig()
    with QuantizerConfigScope(f0=7, i0=3):
        with QuantizerConfigScope(place="datalane", f0=9, heterogeneous_axis=(-1,)):
            inner, weight = QuantizerConfig(), QuantizerConfig(place="weight")
            assert (inner.f0, inner.i0, inner.heterogeneous_axis, inner.homogeneous_axis) == (
                9,
                3,
                (-1,),
                None,
            )
            assert (weight.f0, weight.homogeneous_axis) == (7, ())
        assert QuantizerConfig().f0 == 7
        assert QuantizerConfig(f0=1).f0 == 1
        assert QuantizerConfig(homogeneous_axis=(0, 1)).heterogeneous_axis is None
    assert QuantizerConfig() == before


def test_a_scope_ends_when_its_block_fails():
    before = QuantizerConfig()
    with pytest.raises(KeyError), QuantizerConfigScope(f0=7):
        raise KeyError
    assert QuantizerConfig() == before


def test_scopes_select_by_place_and_parametrisation():
    with QuantizerConfigScope(q_type="kbi", place=("weight", "bias"), b0=5):
        assert QuantizerConfig(place="weight").b0 == 5
        assert QuantizerConfig("kif", "weight").b0 != 5
        assert QuantizerConfig(place="table").b0 != 5


def test_a_config_is_complete_and_independent_of_later_scopes():
    config = QuantizerConfig(place="weight", f0=3)
    with QuantizerConfigScope(b0=5, overflow_mode="WRAP", q_type="all"):
        assert QuantizerConfig.from_config(config.get_config()) == config
        assert resolve(config, "weight") is config


def test_round_trip_through_json():
    with QuantizerConfigScope(heterogeneous_axis=(-1,)):
        for place in Place:
            for q_type in QType:
                config = QuantizerConfig(q_type, place, i0=2, round_mode="RND_CONV", max_bits=12)
                assert QuantizerConfig.from_config(json.loads(json.dumps(config.get_config()))) == config


def test_threads_and_tasks_see_their_own_scopes():
    seen = {}
    inside, done = threading.Event(), threading.Event()

    def work():
        with QuantizerConfigScope(f0=9):
            seen["thread"] = QuantizerConfig().f0
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=work)
    with QuantizerConfigScope(f0=7):
        thread.start()
        inside.wait(10)
        seen["main"] = QuantizerConfig().f0
        done.set()
        thread.join()
    assert seen == {"thread": 9, "main": 7}

    async def task(f0):
        with QuantizerConfigScope(f0=f0):
            await asyncio.sleep(0)
            value = QuantizerConfig().f0
            await asyncio.sleep(0)
        return value

    async def tasks():
        return await asyncio.gather(*(task(n) for n in range(5)))

    assert asyncio.run(tasks()) == [0, 1, 2, 3, 4]


def test_one_scope_object_may_be_entered_again():
    scope = QuantizerConfigScope(f0=9)
    with scope, QuantizerConfigScope(f0=8), scope:
        assert QuantizerConfig().f0 == 9
    assert QuantizerConfig().f0 != 9


def test_resolve():
    assert resolve(None, "weight") == QuantizerConfig(place="weight")
    assert resolve({"q_type": "kif", "f0": 3}, "bias") == QuantizerConfig("kif", "bias", f0=3)
    assert resolve(QuantizerConfig(place="weight", f0=3), "bias").place is Place.BIAS
    with pytest.raises(RuleError, match="place 'datalane' cannot serve at place 'weight'"):
        resolve(QuantizerConfig(), "weight")
    with pytest.raises(RuleError, match="QuantizerConfig"):
        resolve(3, "weight")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overflow_mode": "SAT_SM"}, "'SAT_SYM'"),
        ({"round_mode": "RNDCONV"}, "'RND_CONV'"),
        ({"q_type": "kiv"}, "'kif'"),
        ({"place": "wieght"}, "'weight'"),
        ({"k0": 2}, "k0 must be 0"),
        ({"f0": float("nan")}, "f0 must be a number"),
        ({"i0": 1000}, "i0 must be a number"),
        ({"b0": "8"}, "b0 must be a number"),
        ({"max_bits": 25}, "max_bits"),
        ({"max_bits": 0}, "max_bits"),
        ({"width_gradient_part": 0}, "whole number, at least 1"),
        ({"width_gradient_part": 0.25}, "whole number, at least 1"),
        ({"width_gradient_part": True}, "whole number, at least 1"),
        ({"trainable": "no"}, "trainable must be"),
        ({"homogeneous_axis": 0.5}, "tuple of integers"),
        ({"homogeneous_axis": (0,), "heterogeneous_axis": (1,)}, "Give one of them"),
        ({"overflow_mode": "WRAP_SM", "k0": 0}, "needs a sign"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(RuleError, match=message):
        QuantizerConfig(**options)


def test_bad_names_are_refused_with_the_nearest():
    with pytest.raises(RuleError, match="Did you mean 'overflow_mode'"):
        QuantizerConfig.from_config({"overflow": "SAT"})
    with pytest.raises(RuleError, match="Did you mean 'round_mode'"):
        QuantizerConfigScope(rounding_mode="RND")
    with pytest.raises(RuleError, match="'datalane'"):
        QuantizerConfigScope(place="datalanes")
    with pytest.raises(RuleError, match="'SAT_SYM'"):
        QuantizerConfigScope(overflow_mode="SATSYM")
    with pytest.raises(RuleError, match="Did you mean 'f0'"):
        QuantizerConfig().replace(f=3)
    with pytest.raises(RuleError, match="twice"):
        QuantizerConfigScope(homogeneous_axis=(0,), heterogeneous_axis=(1,))


def test_names_are_accepted_in_any_case():
    config = QuantizerConfig("KIF", "Weight", overflow_mode="sat_sym")
    assert (config.q_type, config.place, config.overflow_mode) == (QType.KIF, Place.WEIGHT, Overflow.SAT_SYM)
