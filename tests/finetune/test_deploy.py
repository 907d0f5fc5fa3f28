"""Deployed within a budget whatever a twin's widths became, by the exact count of the firmware's integers."""

import functools

import numpy as np
import pytest
from budget_cases import Case, cnn, kernels, make_case, mlp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hgqify.finetune.deploy import deploy, deploy_within, fitted
from hgqify.layers import quantized_layers, span
from hgqify.precision import lower
from hgqify.reference import run
from hgqify.training import exact_ebops

BUILDS = {"mlp": mlp, "cnn": cnn}
CASES = [("mlp", "element"), ("cnn", "element")]
QUICK = settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@functools.cache
def _case(build: str, granularity: str) -> Case:
    return make_case(BUILDS[build], 0.2, weight_granularity=granularity)


def moved(case: Case, shift: float, spread: float, seed: int = 0):
    """A twin whose weights' widths were trained somewhere else."""
    twin, rng = case.twin(seed), np.random.default_rng(seed)
    for layer in case.linear:
        f = twin.get_layer(layer.name).kq.f
        f.assign(np.asarray(f) + shift + rng.uniform(-spread, spread, f.shape))
    return twin


def deployed(case: Case, twin, target: int | None = None) -> int:
    target = case.budget.target_ebops if target is None else target
    return deploy_within(twin, case.model, case.budget.limits, target, case.count)


@pytest.mark.parametrize("build", CASES, ids="-".join)
@given(shift=st.floats(-0.6, 0.6), spread=st.floats(0, 0.5), seed=st.integers(0, 99))
@QUICK
def test_the_budget_is_kept_and_used(build, shift, spread, seed):
    case = _case(*build).again()
    found = deployed(case, moved(case, shift, spread, seed))
    assert found == exact_ebops(case.model)
    assert 0.95 * case.budget.target_ebops < found <= case.budget.target_ebops


@pytest.mark.parametrize("build", [*CASES, ("mlp", "channel"), ("mlp", "tensor")], ids="-".join)
@given(part=st.floats(0.5, 1.5), shift=st.floats(-1, 1), seed=st.integers(0, 99))
@QUICK
def test_never_above_the_target_where_a_shift_meets_it(build, part, shift, seed):
    """Any target that the farthest common shift down meets; formats that many weights share go by jumps."""
    case = _case(*build).again()
    twin = moved(case, shift, 0.3, seed)
    target = int(part * case.budget.target_ebops)
    deploy(twin, case.model, case.budget.limits, -1.0)
    reachable = case.count() <= target
    found = deployed(case, twin, target)
    assert found == exact_ebops(case.model)
    assert found <= target or not reachable


def test_a_budget_out_of_reach_is_said():
    """Not met by any shift: the fewest EBOPs there are, and the number says so."""
    case = _case("mlp", "element").again()
    twin = moved(case, 1.0, 0.0)
    found = deployed(case, twin, 100)
    assert found == exact_ebops(case.model) > 100
    least = case.again()
    deploy(twin, least.model, case.budget.limits, -1.0)
    assert found <= 1.01 * least.count()


def test_more_than_enough_changes_no_code():
    """A budget that the widest shift keeps: every weight is as fine as its limits and the shift allow."""
    case = _case("mlp", "element").again()
    twin = case.twin()
    found = deployed(case, twin, 10**9)
    assert found == exact_ebops(case.model)
    best = case.again()
    deploy(twin, best.model, case.budget.limits, 1.0)
    best.settle(best.model)
    for name, kernel in kernels(best.model).items():
        np.testing.assert_array_equal(kernels(case.model)[name], kernel)


@given(low=st.floats(-2, 2), more=st.floats(0, 2), scale=st.floats(0.1, 20), seed=st.integers(0, 99))
@QUICK
@pytest.mark.parametrize("granularity", ["element", "channel"])
def test_a_larger_shift_is_never_coarser(granularity, low, more, scale, seed):
    """What bisection relies on: fractional bits rise with the shift, the error of a weight is half an LSB."""
    case = _case("mlp", granularity)
    twin = moved(case, 0.0, 0.3, seed)
    for layer in case.linear:
        other, limits = twin.get_layer(layer.name), case.budget.limits[layer.name]
        kernel = np.asarray(other.kernel, np.float64) * scale
        other.kernel.assign(kernel)
        kernel = np.asarray(other.kernel, np.float64)
        (coarse, few), (fine, many) = (fitted(other, limits, shift) for shift in (low, low + more))
        assert (coarse <= fine).all()
        for f, codes in ((coarse, few), (fine, many)):
            assert (f <= limits.kernel_f).all()
            assert (np.abs(codes) < 2**limits.kernel_bits).all()
            assert (np.abs(np.ldexp(codes.astype(np.float64), -f) - kernel) <= np.ldexp(0.5, -f)).all()
            if granularity == "channel":
                assert (f == f[:1]).all()


def test_what_is_deployed_is_what_was_fitted():
    """Codes times their LSB are the kernel; the integers of the firmware give the model's outputs."""
    case = _case("cnn", "element").again()
    twin = moved(case, -0.2, 0.4)
    deploy(twin, case.model, case.budget.limits)
    for layer in case.linear:
        f, codes = fitted(twin.get_layer(layer.name), case.budget.limits[layer.name], 0.0)
        values = np.ldexp(codes.astype(np.float64), -f)
        np.testing.assert_array_equal(layer.quantized_weights()["kernel"], values.astype(np.float32))
        assert layer.ebops() == layer.count_ebops(layer.input_bits(), span(values))
    case.settle(case.model)
    program = lower(case.model)
    (outputs,) = run(program, case.x[:50]).values
    np.testing.assert_array_equal(outputs, case.model.predict_on_batch(case.x[:50]))
    assert exact_ebops(case.model) == sum(layer.ebops() for layer in quantized_layers(case.model))
