"""Code for code equality with the real `ap_fixed` and `ap_ufixed`."""

from pathlib import Path

import ap_fixed_oracle as oracle
import numpy as np
import pytest

from hgqify.errors import PrecisionError
from hgqify.fixed import Format, Overflow, Rounding, requantize, to_codes

pytestmark = pytest.mark.skipif(oracle.compiler() is None, reason="no g++ to compile ap_fixed with")

# Every mode with every other: an ordinary format, no fractional bits, one bit.
CROSSED = [
    Format.from_WI(8, 3),
    Format.from_WI(1, 1),
    Format.from_WI(6, 6, signed=False),
]
# Each rounding mode once, overflow modes in turn: I > W, I < 0, I = 0, I = W, few bits, many bits.
SAMPLED = [
    *(Format.from_WI(*WI) for WI in [(1, 0), (1, -3), (1, 4), (2, 1), (2, 5), (3, 0), (4, 4), (5, 9)]),
    *(Format.from_WI(*WI) for WI in [(7, -2), (10, 10), (12, 40), (16, 6), (24, 8), (33, 1), (62, 31)]),
    *(Format.from_WI(*WI, signed=False) for WI in [(1, 1), (1, 0), (1, -2), (1, 5), (3, 1), (4, -3)]),
    *(Format.from_WI(*WI, signed=False) for WI in [(5, 8), (9, 4), (17, 0), (32, 16), (62, 20)]),
]


NO_CODE = np.iinfo(np.int64).min


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory):
    grid = oracle.targets(CROSSED, all_modes=True) + oracle.targets(SAMPLED, all_modes=False)
    values = oracle.values_for(CROSSED + SAMPLED, seed=1)
    return grid, values, oracle.run(grid, values, Path(tmp_path_factory.mktemp("ap_fixed")))


def test_codes_of_doubles_equal_ap_fixed(results):
    grid, values, answers = results
    for target, (expected, *_) in zip(grid, answers, strict=True):
        fmt = target.format
        codes = to_codes(values.doubles, fmt.k, fmt.i, fmt.f, target.rounding, target.overflow)
        np.testing.assert_array_equal(codes, expected, err_msg=str(target))


@pytest.mark.parametrize(("block", "source"), [(1, oracle.WIDE), (2, oracle.NATURAL), (3, oracle.COARSE)])
def test_requantized_codes_equal_ap_fixed(results, block: int, source: Format):
    grid, values, answers = results
    for target, answer in zip(grid, answers, strict=True):
        fmt = target.format
        if oracle.aborts(source, target):
            assert set(answer[block]) == {NO_CODE}, target
            continue
        codes = requantize(
            values.blocks[block], source.f, fmt.k, fmt.i, fmt.f, target.rounding, target.overflow
        )
        np.testing.assert_array_equal(codes, answer[block], err_msg=f"{source} to {target}")


def test_one_signed_bit_keeps_its_negative_code_under_sat_sym(results):
    grid, _, answers = results
    target = oracle.Target(Format.from_WI(1, 1), Rounding.TRN, Overflow.SAT_SYM)
    expected = answers[grid.index(target)][0]
    assert set(np.unique(expected)) == {-1, 0}
    assert target.format.low_code(Overflow.SAT_SYM) == -1


def test_wrap_sm_without_sign_is_refused_as_ap_ufixed_refuses_it():
    with pytest.raises(PrecisionError, match="WRAP_SM needs a sign"):
        to_codes(1.0, 0, 4, 4, Rounding.TRN, Overflow.WRAP_SM)
