"""Unpaired arms, dose, odds ratios, agreement, scorer error."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from statsmodels.stats.proportion import confint_proportions_2indep

from draftproof.stats.agreement import (
    Join,
    SuspicionKind,
    agreement,
    bootstrap_agreement,
    kappa_from_rates,
    suspicions,
)
from draftproof.stats.dose import cochran_armitage, conditional_slope, marginal_slope
from draftproof.stats.effects import paired_odds_ratio
from draftproof.stats.prevalence import (
    ScorerValidation,
    corrected_difference,
    implied_true_margin,
    rogan_gladen,
)
from draftproof.stats.proportions import UnpairedRates, score_z

METHODS = ("miettinen_nurminen", "farrington_manning", "newcombe", "agresti_caffo", "wald")
arms = st.builds(
    lambda x1, e1, x2, e2: UnpairedRates(x1, x1 + e1, x2, x2 + e2),
    *[st.integers(0, 60) for _ in range(4)],
)


@given(arms=arms)
@settings(max_examples=60, deadline=None)
def test_unpaired_intervals_mirror(arms):
    back = UnpairedRates(arms.x2, arms.n2, arms.x1, arms.n1)
    for method in METHODS:
        here, there = arms.interval(0.9, method), back.interval(0.9, method)
        if not here.defined:
            assert not there.defined
            assert not arms.defined or method == "wald"
            continue
        assert here.low == pytest.approx(-there.high, abs=1e-8)
        assert here.low - 1e-9 <= arms.difference <= here.high + 1e-9
        if method == "newcombe":
            low, high = confint_proportions_2indep(
                arms.x1, arms.n1, arms.x2, arms.n2, "newcomb", "diff", 0.1
            )
            assert (here.low, here.high) == pytest.approx((low, high), abs=1e-7)


@given(x1=st.integers(0, 30), x2=st.integers(0, 40), t=st.floats(-0.9, 0.9))
@settings(max_examples=40, deadline=None)
def test_the_restricted_estimate_maximises_the_likelihood(x1, x2, t):
    n1, n2 = 30, 40

    def minus_log_likelihood(p2):
        p1 = p2 + t
        return -(xlogy(x1, p1) + xlogy(n1 - x1, 1 - p1) + xlogy(x2, p2) + xlogy(n2 - x2, 1 - p2))

    low, high = max(0.0, -t), min(1.0, 1.0 - t)
    best = minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    p1 = min(max(best + t, 0), 1)
    variance = p1 * (1 - p1) / n1 + best * (1 - best) / n2
    top = x1 / n1 - x2 / n2 - t
    z = score_z(x1, n1, x2, n2, t)
    if variance > 1e-6:
        assert z == pytest.approx(top / math.sqrt(variance), rel=2e-3, abs=1e-3)


def test_unpaired_ends():
    assert not UnpairedRates(0, 0, 5, 10).interval().defined
    assert not UnpairedRates(0, 0, 5, 10).tost().equivalent()
    assert not UnpairedRates(10, 10, 10, 10).interval(0.9, "wald").defined
    assert UnpairedRates(100, 100, 100, 100).interval(0.95).high == pytest.approx(0.0371724849)
    # at 79 % equal arms need a thousand prompts each
    assert UnpairedRates(790, 1000, 790, 1000).tost(0.03).equivalent()
    assert not UnpairedRates(753, 953, 753, 953).tost(0.03).equivalent()
    with pytest.raises(ValueError, match="x1"):
        UnpairedRates(3, 2, 0, 1)


def test_dose_ends():
    assert cochran_armitage([5, 5], [10, 10], [2, 2]).p_value == 1.0
    assert math.isnan(cochran_armitage([0], [0], [1]).p_value)
    flat = conditional_slope([1, 1, 2, 2], [0, 1, 0, 1], [1, 1, 0, 0])
    assert flat.informative == 0
    assert math.isnan(flat.coefficient)
    assert flat.flip_bound() == pytest.approx(1 - 0.05**0.5)
    runaway = conditional_slope([1, 1, 2, 2], [0, 1, 0, 1], [1, 0, 1, 0])
    assert runaway.coefficient == -math.inf
    assert math.isnan(runaway.p_value)
    assert math.isnan(runaway.flip_bound())
    assert math.isnan(marginal_slope([1, 2], [0, 1], [1, 1]).slope)
    up = conditional_slope([1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 0, 1])
    down = conditional_slope([1, 1, 2, 2, 3, 3], [1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1])
    assert up.coefficient == pytest.approx(-down.coefficient)
    with pytest.raises(ValueError, match="outcome"):
        conditional_slope([1, 1], [0, 1], [0, 2])


@given(b=st.integers(1, 30), c=st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_one_pair_a_prompt_is_the_log_of_the_odds(b, c):
    prompts = np.repeat(np.arange(b + c), 2)
    outcome = [1, 0] * b + [0, 1] * c
    slope = conditional_slope(prompts, [0, 1] * (b + c), outcome)
    assert slope.coefficient == pytest.approx(math.log(c / b), abs=1e-8)
    assert slope.se == pytest.approx(math.sqrt(1 / b + 1 / c), abs=1e-8)


def test_odds_ratios_are_of_pairs_and_never_of_cells():
    tables = [(329, 1, 3, 24), (281, 0, 0, 102), (241, 7, 4, 151)]
    pooled = paired_odds_ratio(sum(t[1] for t in tables), sum(t[2] for t in tables))
    assert pooled.estimate == pytest.approx(8.5 / 7.5)
    assert math.isnan(paired_odds_ratio(0, 0, "mle").estimate)
    assert paired_odds_ratio(3, 0, "mle").estimate == math.inf
    assert not paired_odds_ratio(0, 3, "mle").interval().defined


def test_agreement_is_symmetric_and_named():
    first = ["a", "b", "a", "c", "b", "a"]
    second = ["a", "b", "b", "c", "b", "c"]
    here, there = agreement(first, second), agreement(second, first)
    for name in ("percent", "kappa", "ac1", "alpha", "pabak"):
        assert getattr(here, name) == pytest.approx(getattr(there, name))
    assert math.isnan(agreement([], []).percent)
    assert math.isnan(kappa_from_rates(1.0, 1.0))
    with pytest.raises(ValueError, match="same answers"):
        agreement(["a"], [])
    rng = np.random.default_rng(1)
    interval = bootstrap_agreement(first * 20, second * 20, rng, draws=200)
    assert here.kappa in interval
    clustered = bootstrap_agreement(
        first * 20, second * 20, rng, cluster=np.tile(np.arange(6), 20), draws=200
    )
    assert clustered.width > interval.width
    assert not bootstrap_agreement(["a"] * 5, ["a"] * 5, rng, draws=20).defined


def kinds(first, second, join=None):
    return {suspicion.kind for suspicion in suspicions(first, second, join)}


def test_suspicions():
    labels = ["yes", "no"] * 40
    rng = np.random.default_rng(2)
    noisy = [x if rng.random() < 0.9 else "no" for x in labels]
    assert kinds(labels, noisy) == set()
    assert SuspicionKind.ALWAYS_EQUAL in kinds(labels, labels)
    flipped = ["no" if x == "yes" else "yes" for x in labels]
    assert {SuspicionKind.NEVER_EQUAL, SuspicionKind.RELABELLED} <= kinds(labels, flipped)
    assert SuspicionKind.DISJOINT_LABELS in kinds(labels, [x.upper() for x in labels])
    assert SuspicionKind.SPELLING in kinds(labels, [x.upper() for x in labels])
    assert SuspicionKind.CONSTANT_SCORER in kinds(labels, ["no"] * 80)
    assert SuspicionKind.NOTHING_JOINED in kinds([], [])
    assert SuspicionKind.PARTIAL_JOIN in kinds(labels, noisy, Join(100, 80, 20))
    assert kinds(labels, noisy, Join(80, 80)) == set()
    assert Join(0, 0).share == 0.0


def test_scorer_error_widens_the_margin():
    good, weak = ScorerValidation(99, 100, 99, 100), ScorerValidation(70, 100, 90, 100)
    assert good.true_margin() < weak.true_margin() == pytest.approx(0.05)
    assert weak.label_margin() < 0.03 * weak.youden
    assert ScorerValidation(1, 2, 1, 2).label_margin() == 0.0
    assert math.isnan(ScorerValidation(0, 0, 1, 1).sensitivity)
    assert implied_true_margin(0.03, 0.5, 0.5) == math.inf
    rng = np.random.default_rng(3)
    sharp = corrected_difference(5, 3, 400, good, rng)
    blunt = corrected_difference(5, 3, 400, weak, rng)
    assert blunt.width > sharp.width
    assert not corrected_difference(0, 0, 0, good, rng).defined


def test_rogan_gladen_by_simulation():
    rng = np.random.default_rng(4)
    truth, se, sp, n = 0.3, 0.85, 0.92, 500
    estimates, covered = [], 0
    for _ in range(1500):
        se_hat, sp_hat = rng.binomial(200, se) / 200, rng.binomial(200, sp) / 200
        positive = rng.binomial(n, truth * se + (1 - truth) * (1 - sp))
        corrected = rogan_gladen(positive, n, se_hat, sp_hat, positives=200, negatives=200)
        estimates.append(corrected.raw)
        covered += truth in corrected.interval(0.95)
    assert np.mean(estimates) == pytest.approx(truth, abs=0.005)
    assert covered / 1500 == pytest.approx(0.95, abs=0.02)
    assert math.isnan(rogan_gladen(1, 10, 0.5, 0.5).estimate)
