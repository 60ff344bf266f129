"""Token tests and answer distributions at temperature above 0."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, ncx2

from draftproof.stats.sampling import (
    g_test,
    hamming_kernel,
    law_test,
    mmd_test,
    total_variation,
    total_variation_upper,
)

LAW = np.array([0.4, 0.3, 0.2, 0.07, 0.02, 0.01])


def test_token_tests_hold_their_level_and_have_their_power():
    rng = np.random.default_rng(5)
    level = np.mean([g_test(rng.multinomial(1000, LAW), LAW).p_value <= 0.05 for _ in range(1500)])
    assert level == pytest.approx(0.05, abs=0.02)
    actual = LAW * 0.9 + 0.1 * np.array([0, 0, 0, 0.5, 0.3, 0.2])
    hits = np.mean([g_test(rng.multinomial(400, actual), LAW).p_value <= 0.05 for _ in range(600)])
    noncentrality = 400 * float(((actual - LAW) ** 2 / LAW).sum())
    assert hits == pytest.approx(ncx2.sf(chi2.isf(0.05, 5), 5, noncentrality), abs=0.12)


def test_token_test_ends():
    assert g_test([1, 99], [0.0, 1.0]).p_value == 0.0
    assert g_test([0, 0], [0.5, 0.5]).p_value == 1.0
    assert g_test([3], [1.0]).p_value == 1.0
    with pytest.raises(ValueError, match="law"):
        g_test([1, 1], [0.5, 0.6])
    assert total_variation([1, 0], [0, 1]) == 1.0
    assert total_variation_upper([0, 0], [0.5, 0.5]) == 1.0


def chi_square_limit(tests):
    """p-value of the summed statistics by the chi-square limit."""
    return chi2.sf(sum(test.statistic for test in tests), sum(test.df for test in tests))


def test_the_law_test_is_exact_where_the_chi_square_limit_is_not():
    # forty tokens expected five times each, at four prefixes
    law, rng = np.full(40, 1 / 40), np.random.default_rng(8)
    seen = [[(rng.multinomial(200, law), law) for _ in range(4)] for _ in range(400)]
    limit = [chi_square_limit([g_test(*draws) for draws in many]) for many in seen]
    exact = [law_test(many, np.random.default_rng(9), 399).p_value for many in seen]
    assert np.mean(np.array(limit) <= 0.05) > 0.1
    for level in (0.05, 0.25, 0.5):
        allowed = 3.5 * math.sqrt(level * (1 - level) / len(seen))
        assert np.mean(np.array(exact) <= level) == pytest.approx(level, abs=allowed)


def test_law_test_ends():
    rng = np.random.default_rng(1)
    assert law_test([], rng).p_value == 1.0
    assert law_test([([3], [1.0])], rng).p_value == 1.0
    assert law_test([([1, 99], [0.0, 1.0])], rng).p_value == 0.0
    shifted = [([300, 500, 200], [0.5, 0.3, 0.2])]
    assert law_test(shifted, rng, 499).p_value == pytest.approx(1 / 500)
    with pytest.raises(ValueError, match="law"):
        law_test([([1, 1], [0.5, 0.6])], rng)


def test_the_upper_bound_of_the_distance_covers():
    rng = np.random.default_rng(6)
    actual = LAW * 0.95 + 0.05 * np.full(6, 1 / 6)
    truth = total_variation(actual, LAW)
    bounds = [total_variation_upper(rng.multinomial(2000, actual), LAW) for _ in range(300)]
    assert np.mean(np.array(bounds) >= truth) >= 0.95
    assert np.median(bounds) < 0.12


def test_kernels():
    assert hamming_kernel([], []) == 1.0
    assert hamming_kernel([1], []) == 0.0
    assert hamming_kernel([1, 2, 3], [1, 2, 3]) == 1.0


def sampler(leak):
    def draw(rng):
        return np.where(
            rng.random(12) < leak, rng.integers(4, 8, 12), rng.integers(0, 4, 12)
        ).tolist()

    return draw


def rejections(baseline, candidate, rng, runs):
    """Share of simulated comparisons of five prompts, five answers each, that reject at 5 %."""
    p_values = []
    for _ in range(runs):
        first, second = (
            [[draw(rng) for _ in range(5)] for _ in range(5)] for draw in (baseline, candidate)
        )
        p_values.append(mmd_test(first, second, rng, permutations=99).p_value)
    return np.mean(np.array(p_values) <= 0.05)


def test_mmd_holds_its_level_and_sees_large_leaks():
    rng = np.random.default_rng(7)
    assert rejections(sampler(0.0), sampler(0.0), rng, 60) <= 0.17
    assert rejections(sampler(0.0), sampler(0.6), rng, 20) >= 0.9


def test_mmd_ends():
    rng = np.random.default_rng(8)
    nothing = mmd_test([], [], rng)
    assert math.isnan(nothing.p_value)
    assert not nothing.equivalent(1.0)
    same = mmd_test([[[1, 2]] * 3] * 4, [[[1, 2]] * 3] * 4, rng, permutations=50)
    assert same.p_value == 1.0
    assert not same.equivalent(0.1)
    # a permutation p-value counts the observed labelling too and is never 0
    apart = mmd_test([[[1, 2]] * 6] * 9, [[[7, 8]] * 6] * 9, rng, permutations=99)
    assert apart.p_value == pytest.approx(0.01)
    draw = sampler(0.0)
    arms = [[[draw(rng) for _ in range(8)] for _ in range(30)] for _ in range(2)]
    equal_laws = mmd_test(*arms, rng, permutations=99)
    assert equal_laws.upper() > equal_laws.mmd2
    assert equal_laws.equivalent(0.1)
    with pytest.raises(ValueError, match="two answers"):
        mmd_test([[[1]]], [[[1], [2]]], rng)
    with pytest.raises(ValueError, match="same prompts"):
        mmd_test([[[1], [2]]], [], rng)
