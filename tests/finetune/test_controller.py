"""The price controller: it ends at the target, at any scale, and forgets a saturation at once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgqify.errors import RuleError
from hgqify.finetune.controller import PriceController, advance, first

CONTROLLER = PriceController(base=1e-4)


def follow(controller, start, target, steps, *, slope=0.5, inertia=0.9, every=1):
    """EBOPs and states of a plant whose log EBOPs tend to log start - slope log price, late."""
    state, log = first(controller, start), math.log(start)
    found = []
    for _ in range(0, steps, every):
        wish = math.log(start) - slope * math.log(state.price / controller.base)
        for _ in range(every):
            log = inertia * log + (1 - inertia) * wish
        state = advance(controller, state, math.exp(log), target, every)
        found.append((math.exp(log), state))
    return found


@given(
    ratio=st.floats(0.1, 4.0),
    slope=st.floats(0.05, 0.5),
    base=st.floats(1e-9, 1e3),
)
def test_the_plant_ends_at_the_target(ratio, slope, base):
    """Whatever price the target takes, if it is in reach: the integral leaves no error."""
    # exp(9) in price is in reach; what a plant with this slope needs of it is not more than that.
    ratio = max(min(ratio, math.exp(7 * slope)), math.exp(-7 * slope))
    controller = PriceController(base=base, gain=2.0, rate=0.1)
    ebops, state = follow(controller, 1e5, 1e5 * ratio, 3000, slope=slope)[-1]
    assert abs(ebops / (1e5 * ratio) - 1) < 1e-3
    assert abs(math.log(state.price / base) + math.log(ratio) / slope) < 0.05


def test_the_default_settings_end_at_the_target():
    """A plant that is slow enough for their gain, as training is: EBOPs follow a price over many steps."""
    for ratio in (0.3, 0.7, 1.0, 1.5):
        ebops, state = follow(CONTROLLER, 1e5, 1e5 * ratio, 4000, slope=0.3, inertia=0.98)[-1]
        assert abs(ebops / (1e5 * ratio) - 1) < 0.01
        assert abs(math.log(state.price / CONTROLLER.base) + math.log(ratio) / 0.3) < 0.2


def test_a_price_that_is_right_stays():
    state = first(CONTROLLER, 5000)
    for _ in range(100):
        state = advance(CONTROLLER, state, 5000, 5000)
    assert state.price == pytest.approx(CONTROLLER.base, rel=1e-12)
    assert state.integral == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("held", [100, 100_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_after_a_long_saturation_it_recovers_at_once(held, sign):
    """EBOPs stuck far from the target, then just beyond it: the way back is as short, however long it was."""
    stuck = 1e4 * 100.0**sign
    state = first(CONTROLLER, stuck)
    for _ in range(held):
        state = advance(CONTROLLER, state, stuck, 1e4)
    assert math.log(state.price / CONTROLLER.base) * sign == pytest.approx(CONTROLLER.bound)
    steps = 0
    while math.log(state.price / CONTROLLER.base) * sign > 0 and steps < 1000:
        state = advance(CONTROLLER, state, 1e4 * math.exp(-0.05 * sign), 1e4)
        steps += 1
    # About the time that smoothing takes to forget a factor of 100.
    memory = math.log(0.05 / (math.log(100) + 0.05)) / math.log(CONTROLLER.smoothing)
    assert steps <= 1.5 * memory


def test_the_integral_fills_what_the_error_leaves_and_no_more():
    """An error that drives a part of the way to the bound: the integral drives the rest, and stops there."""
    e = 0.3 * CONTROLLER.bound / CONTROLLER.gain
    state = first(CONTROLLER, 1e4 * math.exp(e))
    for _ in range(10_000):
        state = advance(CONTROLLER, state, 1e4 * math.exp(e), 1e4)
    assert state.integral == pytest.approx(0.7 * CONTROLLER.bound)
    assert math.log(state.price / CONTROLLER.base) == pytest.approx(CONTROLLER.bound)


@given(
    ebops=st.lists(st.floats(1, 1e9), min_size=1, max_size=20),
    target=st.floats(1, 1e9),
    steps=st.integers(1, 1000),
)
def test_the_price_stays_within_its_bounds(ebops, target, steps):
    state = first(CONTROLLER, ebops[0])
    for counted in ebops:
        state = advance(CONTROLLER, state, counted, target, steps)
        assert abs(state.integral) <= CONTROLLER.bound
        assert abs(math.log(state.price / CONTROLLER.base)) <= CONTROLLER.bound + 1e-9


@given(
    ebops=st.lists(st.floats(100, 1e6), min_size=1, max_size=20),
    target=st.floats(100, 1e6),
    scale=st.integers(0, 20),
    loss=st.integers(-30, 30),
)
def test_scale_does_not_matter(ebops, target, scale, loss):
    """EBOPs and target times any number, a loss times any number: the same factor on the price."""
    other = PriceController(base=math.ldexp(CONTROLLER.base, loss))
    state, scaled = first(CONTROLLER, ebops[0]), first(other, math.ldexp(ebops[0], scale))
    for counted in ebops:
        state = advance(CONTROLLER, state, counted, target)
        scaled = advance(other, scaled, math.ldexp(counted, scale), math.ldexp(target, scale))
    assert scaled.integral == pytest.approx(state.integral, abs=1e-9)
    assert scaled.price / other.base == pytest.approx(state.price / CONTROLLER.base, rel=1e-6)


@given(low=st.floats(1, 1e6), more=st.floats(1.01, 1e3), target=st.floats(1, 1e6))
def test_more_ebops_never_make_a_lower_price(low, more, target):
    state = first(CONTROLLER, 1000)
    fewer, greater = (advance(CONTROLLER, state, ebops, target) for ebops in (low, low * more))
    assert greater.price >= fewer.price


def test_steps_between_changes_count():
    """One change after ten steps smooths and integrates as ten changes of the same EBOPs."""
    rough = advance(CONTROLLER, first(CONTROLLER, 2000), 2000, 1000, 10)
    fine = first(CONTROLLER, 2000)
    for _ in range(10):
        fine = advance(CONTROLLER, fine, 2000, 1000)
    assert rough.integral == pytest.approx(fine.integral)
    assert rough.log_ebops == pytest.approx(fine.log_ebops)


def test_no_ebops_at_all_are_no_error():
    """A model that lost everything still has a price: the lowest."""
    state = advance(CONTROLLER, first(CONTROLLER, 0), 0, 1e6)
    assert CONTROLLER.base * math.exp(-CONTROLLER.bound) * (1 - 1e-9) <= state.price < CONTROLLER.base


@pytest.mark.parametrize("base", [0.0, -1.0, math.nan, math.inf])
def test_a_price_that_is_none_is_refused(base):
    with pytest.raises(RuleError, match="must be positive"):
        PriceController(base=base)
