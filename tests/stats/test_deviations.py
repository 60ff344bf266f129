"""Noise scale of a scored arm: the likelihood by hand, its ends, and recovery of σ and ε."""

import math

import numpy as np
import pytest
from benchmarks.scored_arms import answered, draw_gaps, noise_of, ordinary_margins, planted
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.stats import deviations
from draftproof.stats.deviations import (
    EPSILONS,
    NO_EVENT,
    SIGMAS,
    DeviationLikelihood,
    fit_noise,
    peak,
)
from draftproof.stats.naming import (
    NoiseScale,
    audit,
    name_tokens,
    smallest_share,
    token_threshold,
)
from draftproof.stats.positions import pooled, scored_positions


def arm(gap, deviation):
    return scored_positions(gap, deviation, np.zeros(len(gap), dtype=int))


def by_hand(gap, deviation, sigma, epsilon):
    total = 0.0
    for g, d in zip(gap, deviation, strict=True):
        tail = 1 / (1 + math.exp(min(700.0, 1.702 * (d if d > 0 else g) / sigma)))
        said = (1 - epsilon) * tail + epsilon
        agreed = (1 - epsilon) * (1 - tail)
        total += math.log(said if d > 0 else agreed)
    return total


def simulated(seed, sigma, leaks=0, kind="logistic"):
    rng = np.random.default_rng(seed)
    clean = answered(draw_gaps(rng), noise_of(rng, kind).draw(rng, sigma))
    return planted(rng, clean, ordinary_margins(rng, leaks)) if leaks else clean


# --- the likelihood ---


def test_the_likelihood_is_the_product_over_positions():
    gap = np.array([0.0, 0.004, 0.02, 0.5, 3.0, 0.03, 1.0])
    deviation = np.array([0.0, 0.0, 0.02, 0.0, 0.0, 0.05, 1.0])
    likelihood = DeviationLikelihood(gap, deviation)
    for i in (110, 125, 140):
        epsilon = np.full(SIGMAS.size, 0.07)
        expected = by_hand(gap, deviation, SIGMAS[i], 0.07)
        assert likelihood.at_share(epsilon)[i] == pytest.approx(expected, abs=1e-3)
        expected = by_hand(gap, deviation, SIGMAS[i], 0.0)
        assert likelihood.without_share[i] == pytest.approx(expected, abs=1e-3)


def test_the_two_outcomes_of_a_position_add_up_to_one():
    gap = np.array([0.03])
    epsilon = np.full(SIGMAS.size, 0.2)
    agrees = DeviationLikelihood(gap, np.zeros(1)).at_share(epsilon)
    deviates = DeviationLikelihood(gap, gap).at_share(epsilon)
    np.testing.assert_allclose(np.exp(agrees) + np.exp(deviates), 1, atol=1e-4)


def test_the_share_maximises_the_likelihood_at_every_scale():
    leaky = simulated(3, 0.02, 20)
    likelihood = DeviationLikelihood(leaky.gap, leaky.deviation)
    table = np.array(
        [likelihood.without_share]
        + [likelihood.at_share(np.full(SIGMAS.size, e)) for e in EPSILONS[1:]]
    )
    assert (likelihood.sigma_profile >= table.max(0) - 1e-8).all()
    assert peak(likelihood.sigma_profile)[1] == pytest.approx(
        peak(likelihood.share_profile, 1)[1], abs=0.05
    )


def test_many_deviations_are_binned_without_loss():
    fine = simulated(4, 0.5)
    assert fine.deviates.sum() < 500
    twice, once = fit_noise(pooled(fine, fine)), fit_noise(fine)
    assert twice.deviations > 500
    assert twice.sigma == pytest.approx(once.sigma, rel=1e-2)
    assert twice.epsilon == pytest.approx(once.epsilon, abs=1e-4)


def test_a_peak_narrower_than_the_grid_has_an_interval_all_the_same():
    """Its top by the parabola lies above every point of the grid by more than the interval does."""
    profile = np.full(deviations.EPSILONS.size, -1000.0)
    profile[10], profile[11], profile[9] = 0.0, -1e-9, -40.0
    found = deviations._share_interval(profile)
    assert deviations.EPSILONS[9] < found.low <= found.high < deviations.EPSILONS[12]
    scales = np.full(deviations.SIGMAS.size, -1000.0)
    scales[10], scales[11], scales[9] = 0.0, -1e-9, -40.0
    top = deviations.peak(scales)[1]
    upper = deviations._sigma_upper(scales, top - 1.0)
    assert deviations.SIGMAS[10] <= upper < deviations.SIGMAS[12]


def test_a_parabola_is_read_off_exactly():
    x = np.arange(9.0)
    assert peak(-((x - 3.3) ** 2)) == (pytest.approx(3.3), pytest.approx(0))
    assert peak(x) == (8.0, 8.0)


# --- the ends ---


def test_no_deviation_bounds_the_scale_exactly():
    gap = np.random.default_rng(1).exponential(0.8, 3000)
    fit = fit_noise(arm(gap, np.zeros(3000)))
    assert (fit.sigma, fit.epsilon, fit.deviations, fit.share_ratio) == (0, 0, 0, 0)
    never = -np.log1p(np.exp(-1.702 * gap / fit.sigma_upper)).sum()
    assert never == pytest.approx(-NO_EVENT, rel=0.02)  # linear between points of the grid
    assert fit.epsilon_interval.low == 0
    assert fit.epsilon_interval.high == pytest.approx(1.92 / 3000, rel=0.1)


def test_huge_gaps_alone_bound_nothing():
    fit = fit_noise(arm(np.full(5, 90.0), np.zeros(5)))
    assert fit.sigma == 0
    assert math.isinf(fit.sigma_upper)
    assert name_tokens(arm([1.0], [9.0]), fit.sigma_upper).count == 0


def test_exact_ties_say_nothing_of_the_scale():
    alone = simulated(5, 0.02)
    ties = arm(np.zeros(50), np.zeros(50))
    assert fit_noise(pooled(alone, ties)).sigma == pytest.approx(fit_noise(alone).sigma, rel=1e-6)
    assert math.isinf(fit_noise(ties).sigma_upper)


def test_a_far_deviation_is_a_share_and_no_scale():
    gap = np.full(1000, 5.0)
    deviation = np.zeros(1000)
    deviation[7] = 5.0
    fit = fit_noise(arm(gap, deviation))
    assert fit.sigma < 0.5
    assert fit.epsilon == pytest.approx(1e-3, rel=1e-3)
    assert fit.epsilon in fit.epsilon_interval


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_unexplained(bad):
    for gap, deviation in (([0.1, bad], [0.0, 0.0]), ([0.1, 0.2], [0.0, bad])):
        scored = scored_positions(gap, deviation, [0, 1], [3, 4])
        assert (scored.n, scored.unexplained) == (1, 1)
        assert scored.row.tolist() == [0]
        assert scored.position.tolist() == [3]


@pytest.mark.parametrize(
    ("gap", "deviation"),
    [([-0.1], [0.0]), ([0.1], [-0.1]), ([0.2], [0.1]), ([0.1, 0.2], [0.0]), ([[0.1]], [[0.0]])],
)
def test_impossible_positions_are_refused(gap, deviation):
    with pytest.raises(ValueError, match=r"gap|deviation"):
        scored_positions(gap, deviation, [0] * len(gap))


def test_an_arm_without_positions_has_no_scale():
    empty = scored_positions([math.nan], [0.0], [0])
    for call in (fit_noise, audit, lambda a: name_tokens(a, 0.1)):
        with pytest.raises(ValueError, match="no position"):
            call(empty)
    with pytest.raises(ValueError, match="at least one arm"):
        pooled()


@given(factor=st.sampled_from([0.5, 2.0, 4.0]), seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_scale_and_bound_scale_with_the_unit(factor, seed):
    one = simulated(seed, 0.02)
    other = arm(one.gap * factor, one.deviation * factor)
    a, b = fit_noise(one), fit_noise(other)
    assert b.sigma == pytest.approx(a.sigma * factor, rel=0.01)
    assert b.sigma_upper == pytest.approx(a.sigma_upper * factor, rel=0.01)


# --- recovery ---


@pytest.mark.parametrize("sigma", [0.006, 0.02, 0.1])
def test_the_scale_is_recovered_and_bounded(sigma):
    fits = [fit_noise(simulated(seed, sigma)) for seed in range(60)]
    spread = np.mean([fit.sigma for fit in fits]) / sigma
    assert 0.85 < spread < 1.1
    # the bound is to hold with 95 %; 60 simulated arms leave six points either side
    assert np.mean([fit.sigma_upper >= sigma for fit in fits]) >= 0.86


def test_leaks_neither_inflate_the_scale_nor_hide():
    fits = [fit_noise(simulated(seed, 0.02, 186)) for seed in range(20)]
    assert 0.5 < np.mean([fit.sigma for fit in fits]) / 0.02 < 1.3
    assert np.mean([fit.epsilon for fit in fits]) == pytest.approx(186 / 3840, rel=0.06)
    assert np.mean([0.97 * 186 / 3840 in fit.epsilon_interval for fit in fits]) >= 0.8
    leaky = simulated(0, 0.02, 186)
    named = name_tokens(leaky, fit_noise(leaky).sigma_upper)
    assert named.count > 150  # with ε fixed at 0 none is


# --- the scale of the pair, names, and the audit ---


def test_the_candidate_may_be_noisier_up_to_four_times():
    fits = {sigma: fit_noise(simulated(1, sigma)) for sigma in (0.01, 0.02, 0.2)}
    quiet, middle, loud = fits.values()
    assert NoiseScale(middle, quiet).sigma == middle.sigma_upper
    assert NoiseScale(quiet, middle).sigma == middle.sigma_upper
    assert not NoiseScale(quiet, middle).coarser_arithmetic
    assert NoiseScale(quiet, loud).sigma == 4 * quiet.sigma_upper
    assert NoiseScale(quiet, loud).coarser_arithmetic


def test_a_token_is_named_beyond_both_bounds():
    scored = arm([0.1] * 4 + [1.0] * 96, [0.0, 0.35, 0.5, 0.9] + [0.0] * 96)
    assert token_threshold(0.03, 100) == pytest.approx(0.03 * math.log(1e8) / 1.702)
    assert name_tokens(scored, 0.03).index.tolist() == [1, 2, 3]
    named = name_tokens(scored, 0.03, largest_clean=0.25)
    assert named.index.tolist() == [3]  # 0.5 is below three times the largest of the clean arms
    assert named.margin == 0.75
    assert not named.rounding_hides_leaks
    assert name_tokens(scored, 0.15).rounding_hides_leaks
    assert named.foreign
    assert name_tokens(scored, 0.0).count == 3  # kernels whose bits do not depend on shape
    for sigma, clean in ((math.nan, 0.0), (0.1, math.nan), (-1.0, 0.0)):
        with pytest.raises(ValueError, match="nats"):
            name_tokens(scored, sigma, clean)


def test_the_audit_says_which_share_it_would_have_shown():
    clean = audit(simulated(2, 0.02))
    assert clean.named.count == 0
    assert clean.epsilon.low == 0
    assert clean.smallest_share == pytest.approx(1 - 0.05 ** (1 / 3840), rel=1e-6)
    leaky = audit(simulated(2, 0.02, 100))
    assert leaky.named.count > 70
    assert leaky.epsilon.low > 0.015
    assert audit(arm(np.full(5, 90.0), np.zeros(5))).smallest_share == 1


def test_the_smallest_share_solves_its_binomial():
    s = smallest_share(1000, named=2)
    assert 1 - (1 - s) ** 1000 - 1000 * s * (1 - s) ** 999 == pytest.approx(0.95, abs=1e-9)
    assert smallest_share(1000, beyond_margin=0.5) == pytest.approx(2 * smallest_share(1000))
    assert smallest_share(1, named=2) == 1
    assert smallest_share(1000, beyond_margin=0.0) == 1
    with pytest.raises(ValueError, match="named"):
        smallest_share(10, named=0)


@pytest.mark.parametrize(("sigma", "expected"), [(0.006, 0.97), (0.02, 0.90), (0.1, 0.50)])
def test_one_leak_is_named(sigma, expected):
    found = 0
    for seed in range(100):
        baseline = simulated(1000 + seed, sigma)
        leaky = simulated(seed, sigma, leaks=1)
        scale = NoiseScale(fit_noise(baseline), fit_noise(leaky))
        found += name_tokens(leaky, scale.sigma, baseline.largest).count >= 1
    # three standard errors of a hundred runs
    assert found / 100 > expected - 3 * math.sqrt(expected * (1 - expected) / 100)
