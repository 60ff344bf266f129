"""Leaks among ties: the law of the direction test by enumeration, J's ends, alarms and power."""

import itertools
import math

import numpy as np
import pytest
from benchmarks.scored_arms import (
    KINDS,
    answered,
    draw_gaps,
    hidden_margins,
    noise_of,
    planted,
)
from benchmarks.verdict import clean_run
from scipy.stats import fisher_exact
from statsmodels.stats.contingency_tables import StratifiedTable

from draftproof.stats.contamination import CUT, contamination, leaks_detectable, share_test
from draftproof.stats.direction import Direction, NearTies, near_ties
from draftproof.stats.positions import pooled, scored_positions


def tables(*rows):
    """Strata of (both, proposed, said, size)."""
    return NearTies(*(np.array(column) for column in zip(*rows, strict=True)))


def clean(rng, sigma=0.02, kind="logistic"):
    gaps, noise = draw_gaps(rng), noise_of(rng, kind)
    return [answered(gaps, noise.draw(rng, sigma)) for _ in range(2)]


# --- contamination ---


def test_equal_arms_show_nothing():
    first, _ = clean(np.random.default_rng(1))
    assert contamination(first, first, shape=first).statistic == pytest.approx(0, abs=1e-9)


def test_leaks_of_the_baseline_never_accuse_the_candidate():
    rng = np.random.default_rng(2)
    baseline, candidate = clean(rng)
    leaky = planted(rng, baseline, hidden_margins(rng, 40))
    assert contamination(leaky, candidate, shape=leaky).statistic < 1
    found = contamination(candidate, leaky, shape=candidate)
    assert found.fails
    assert found.candidate_share > found.baseline_share
    without = contamination(candidate, leaky, shape=None)
    assert without.exceeds
    assert not without.fails
    # leaks of the shape arm alone are noise of the shape
    assert contamination(candidate, leaky, shape=leaky).statistic < 1


@pytest.mark.parametrize(("copies", "leaks"), [(1, 5), (3, 5), (9, 5)])
def test_far_leaks_give_the_likelihood_ratio_of_two_shares(copies, leaks):
    gap = np.linspace(0.01, 8.0, 2000)
    far = np.where(np.arange(2000) >= 2000 - leaks, gap, 0.0)
    one = np.zeros(2000, dtype=int)
    baseline = pooled(*[scored_positions(gap, np.zeros(2000), one)] * copies)
    statistic = contamination(baseline, scored_positions(gap, far, one), shape=None).statistic
    assert statistic == pytest.approx(2 * leaks * math.log(1 + copies), rel=0.02)


def test_the_leaks_that_would_be_found():
    assert [leaks_detectable(r * 3840, 3840) for r in (1, 3, 9)] == [5, 3, 2]
    assert leaks_detectable(3840, 3840, unexplained=10) > 5
    assert leaks_detectable(1, 3) == 4  # three leaks of three beside one position: J is 4.5
    assert leaks_detectable(0, 50) == 51


def test_a_share_of_its_own_is_tested_by_bootstrap():
    rng = np.random.default_rng(3)
    first, _ = clean(rng)
    quiet = share_test(first, seed=1, replicates=20)
    assert not quiet.exceeds
    assert quiet.cut == CUT
    leaky = planted(rng, first, np.full(10, 1.0))
    loud = share_test(leaky, seed=1, replicates=20)
    assert loud.exceeds
    assert loud == share_test(leaky, seed=1, replicates=20)


@pytest.mark.parametrize("kind", KINDS)
def test_clean_arms_are_not_accused(kind):
    accused = 0
    for seed in range(24):
        rng = np.random.default_rng([seed, 7])
        run = clean_run(rng, kind, 0.02, (1, 2, 4)[seed % 3])
        accused += run.leaks_among_ties or run.named >= 2
    # at a rate of 1 % three or more of 24 have probability .002
    assert accused <= 2


def test_ten_hidden_leaks_are_found():
    found = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 8])
        baseline, candidate = clean(rng)
        leaky = planted(rng, candidate, hidden_margins(rng, 10))
        found += contamination(baseline, leaky, shape=baseline).fails
    # at a power of .95 fewer than 52 of 60 have probability .004
    assert found >= 52


# --- direction ---


@pytest.mark.parametrize("row", [(3, 4, 5, 10), (0, 4, 5, 10), (4, 4, 5, 12), (2, 9, 3, 12)])
def test_one_stratum_is_fishers_test(row):
    both, proposed, said, size = row
    cells = [[both, proposed - both], [said - both, size - proposed - said + both]]
    expected = fisher_exact(cells, alternative="greater").pvalue
    assert tables(row).p_value == pytest.approx(expected, rel=1e-12)


def test_the_law_of_two_strata_by_enumeration():
    rows = [(2, 3, 2, 6), (1, 2, 3, 5)]
    counts = {}
    spaces = [itertools.combinations(range(n), m) for _, _, m, n in rows]
    for picks in itertools.product(*map(list, spaces)):
        x = sum(sum(i < k for i in pick) for pick, (_, k, _, _) in zip(picks, rows, strict=True))
        counts[x] = counts.get(x, 0) + 1
    total = sum(counts.values())
    first, law = tables(*rows).log_law
    for x, ways in counts.items():
        assert math.exp(law[x - first]) == pytest.approx(ways / total, rel=1e-12)
    assert tables(*rows).p_value == pytest.approx(
        sum(w for x, w in counts.items() if x >= 3) / total, rel=1e-12
    )


def test_the_pooled_odds_are_those_of_statsmodels():
    rows = [(3, 5, 6, 12), (2, 6, 5, 12), (4, 6, 7, 12)]
    cells = [np.array([[a, k - a], [m - a, n - k - m + a]]) for a, k, m, n in rows]
    oracle = StratifiedTable(cells)
    ties = tables(*rows)
    assert ties.log_odds == pytest.approx(oracle.logodds_pooled)
    assert ties.standard_error == pytest.approx(oracle.logodds_pooled_se)


def test_mirrored_tables_mirror_the_odds():
    rows = [(3, 5, 6, 12), (2, 6, 5, 12)]
    mirrored = [(m - a, n - k, m, n) for a, k, m, n in rows]
    assert tables(*mirrored).log_odds == pytest.approx(-tables(*rows).log_odds)


def test_margins_that_fix_the_statistic_show_nothing():
    fixed = tables((0, 5, 0, 12), (3, 12, 3, 12))
    assert fixed.p_value == 1
    assert math.isnan(fixed.log_odds)
    following = tables(*[(3, 6, 3, 12)] * 5)
    assert math.isinf(following.log_odds)
    assert math.isnan(following.standard_error)
    # a baseline without a deviation tells nothing of its own draft
    assert not Direction(following, fixed).fails
    assert Direction(following, fixed).excess_p_value == 1
    empty = near_ties([], [], [], widest=0.1)
    assert empty.p_value == 1
    assert not Direction(empty, empty).fails


def test_a_tail_below_the_smallest_float_is_still_compared():
    following = tables(*[(6, 6, 6, 12)] * 300)
    clean_arm = tables(*[(3, 6, 6, 12)] * 300)
    assert following.p_value == 0
    direction = Direction(following, clean_arm)
    assert direction.excess_p_value == 0
    assert direction.excess_z == math.inf
    assert direction.fails
    assert not Direction(clean_arm, following).fails


def test_the_excess_is_exact_by_enumeration():
    candidate, baseline = tables((3, 4, 4, 8)), tables((1, 4, 3, 8))
    (fc, lc), (fb, lb) = candidate.log_law, baseline.log_law
    weights = {
        x: math.exp(lc[x - fc] + lb[4 - x - fb])
        for x in range(5)
        if 0 <= x - fc < lc.size and 0 <= 4 - x - fb < lb.size
    }
    expected = sum(w for x, w in weights.items() if x >= 3) / sum(weights.values())
    assert Direction(candidate, baseline).excess_p_value == pytest.approx(expected)


def test_near_ties_are_stratified_by_gap():
    gap = np.linspace(0, 1, 101)
    ties = near_ties(gap, gap > 0.1, gap > 0.2, widest=0.5)
    assert ties.size.sum() == 50
    assert set(ties.size) <= {12, 13}
    for bad in ([math.nan], [-0.1], [math.inf]):
        with pytest.raises(ValueError, match="gaps"):
            near_ties(bad, [True], [True], widest=1.0)
    with pytest.raises(ValueError, match="one length"):
        near_ties([0.1, 0.2], [True], [True], widest=1.0)


def followed(seed, *, rule, shared=0.0, positions=3000):
    """A baseline and a candidate beside a draft that tosses a coin, or shares the rounding."""
    rng = np.random.default_rng(seed)
    directions = []
    for leaky in (True, False):
        gap = rng.exponential(0.5, positions)
        rounding = rng.logistic(0, 0.1 / 1.702, positions)
        coin = rng.logistic(0, 0.1 / 1.702, positions)
        draft = np.where(rng.random(positions) < shared, rounding > gap, coin > gap)
        draft = draft if shared else rng.random(positions) < 0.5
        said = rounding > gap
        if rule and leaky:
            said = np.where(gap < 0.1, draft, said)
        directions.append(near_ties(gap, said, draft, widest=0.5))
    return Direction(*directions)


def test_a_rule_that_keeps_drafts_at_ties_follows_them():
    assert all(followed(seed, rule=True).fails for seed in range(10))


def test_clean_stacks_do_not_follow_even_a_draft_that_shares_their_rounding():
    assert sum(followed(seed, rule=False).fails for seed in range(60)) == 0
    sharing = [followed(seed, rule=False, shared=0.8) for seed in range(20)]
    assert all(d.candidate.p_value < 1e-6 for d in sharing)
    assert not any(d.fails for d in sharing)
