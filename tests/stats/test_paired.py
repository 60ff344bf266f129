"""Paired tables: laws by enumeration, symmetry, and the ends of the scale."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv, gammaln, xlogy
from statsmodels.stats.contingency_tables import mcnemar

from draftproof.stats import DiscordantPairs, PairedTable, clopper_pearson
from draftproof.stats.exact import (
    TIE,
    critical_z,
    exact_interval,
    exact_p_value,
    staircase,
    sup_tail,
    tail,
)
from draftproof.stats.intervals import melded_interval
from draftproof.stats.mcnemar import chi_square, loss_p_values, mcnemar_test
from draftproof.stats.paired import INTERVALS
from draftproof.stats.score import score_interval, score_statistic

cells = st.integers(0, 60)
tables = st.builds(PairedTable, both=cells, loss=cells, gain=cells, neither=cells)
EDGES = [
    (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (100, 0, 0, 0), (0, 0, 0, 100),
    (0, 10, 0, 0), (0, 0, 10, 0), (0, 5, 5, 0), (50, 0, 0, 50), (99, 1, 0, 0),
]  # fmt: skip


def table(cells):
    return PairedTable(**dict(zip(("both", "loss", "gain", "neither"), cells, strict=True)))


@pytest.mark.parametrize("method", [m for m in INTERVALS if m != "exact"])
@given(table=tables, level=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=40, deadline=None)
def test_swapping_the_arms_mirrors_every_interval(method, table, level):
    here, there = table.interval(level, method), table.swapped().interval(level, method)
    if not here.defined:
        assert not there.defined
        return
    assert here.low == pytest.approx(-there.high, abs=1e-9)
    assert here.high == pytest.approx(-there.low, abs=1e-9)
    assert -1 - 1e-9 <= here.low <= here.high <= 1 + 1e-9 or method == "wald"


@given(table=tables)
@settings(max_examples=60, deadline=None)
def test_score_limits_are_roots_and_contain_the_estimate(table):
    if table.n == 0:
        return
    interval = table.interval(0.9)
    assert interval.low <= table.difference <= interval.high
    for limit, z in ((interval.high, -1.6448536269514722), (interval.low, 1.6448536269514722)):
        if abs(limit) < 1 - 1e-9:
            assert float(score_statistic(table.loss, table.gain, table.n, limit)) == pytest.approx(
                z, abs=1e-6
            )


@pytest.mark.parametrize("n", [1, 10, 100])
def test_score_limits_when_every_pair_flips(n):
    # b = n: (n - n·t)/sqrt(n(1 - t²)) = z has the root (n - z²)/(n + z²)
    z2 = 1.6448536269514722**2
    low, high = score_interval(n, 0, n)
    assert (float(low), float(high)) == pytest.approx(((n - z2) / (n + z2), 1.0), abs=1e-12)
    low, high = score_interval(0, n, n)
    assert (float(low), float(high)) == pytest.approx((-1.0, (z2 - n) / (n + z2)), abs=1e-12)


@given(table=tables)
@settings(max_examples=40, deadline=None)
def test_a_higher_level_is_a_wider_interval(table):
    if table.n:
        inner, outer = table.interval(0.8), table.interval(0.99)
        assert outer.low <= inner.low + 1e-12
        assert inner.high <= outer.high + 1e-12


@pytest.mark.parametrize("cells", EDGES)
@pytest.mark.parametrize("method", INTERVALS)
def test_edges_are_defined_and_never_a_point(cells, method):
    here = table(cells)
    interval = here.interval(0.9, method)
    if method == "wald" and (here.discordant == 0 or abs(here.difference) == 1):
        assert not interval.defined
        assert not here.tost(0.03, "wald").equivalent()
    else:
        assert interval.defined
        # Newcombe's method 8 is a point at zero discordance, a known flaw of plain phi
        assert interval.width > 0 or (method == "newcombe-8" and cells == (50, 0, 0, 50))
        assert -1 <= interval.low <= interval.high <= 1


def test_no_pairs_is_undefined_everywhere_and_never_passes():
    nothing = PairedTable(both=0, loss=0, gain=0, neither=0)
    assert math.isnan(nothing.difference)
    assert math.isnan(nothing.baseline_rate)
    for method in INTERVALS:
        assert not nothing.interval(0.9, method).defined
        assert not nothing.interval(0.9, method).defined
    for method in ("exact", "tango", "wald"):
        assert math.isnan(nothing.tost(0.03, method).p_value)
        assert not nothing.tost(0.03, method).equivalent()
    assert nothing.mcnemar().p_value == 1.0
    assert math.isnan(nothing.cohen_h().h)
    assert nothing.odds_ratio().estimate == 1.0


@pytest.mark.parametrize(
    "bad", [{"loss": -1}, {"gain": 1.5}, {"both": "x"}, {"neither": None}, {"loss": True}]
)
def test_cells_are_checked_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PairedTable(**{**dict.fromkeys(("both", "loss", "gain", "neither"), 1), **bad})


def test_discordants_alone_do_what_they_can():
    pairs = DiscordantPairs(2, 0, 120)
    assert pairs.interval(0.9) == table((47, 2, 0, 71)).interval(0.9)
    with pytest.raises(ValueError, match="concordant"):
        pairs.interval(0.9, "newcombe")
    with pytest.raises(ValueError, match="loss"):
        DiscordantPairs(5, 6, 10)
    with pytest.raises(ValueError, match="method"):
        pairs.interval(0.9, "guess")
    with pytest.raises(ValueError, match="margin"):
        pairs.tost(0.0)


def enumerated_p(b, c, n, margin, points=4001):
    """Every table of n pairs at every nuisance value: the definition itself."""
    x, y = (grid.ravel() for grid in np.mgrid[: n + 1, : n + 1])
    x, y = x[x + y <= n], y[x + y <= n]
    observed = float(score_statistic(b, c, n, margin))
    inside = score_statistic(x, y, n, margin) <= observed + TIE
    x, y = x[inside], y[inside]
    best = 0.0
    for q in np.linspace(0, (1 - margin) / 2, points):
        log_p = (
            gammaln(n + 1) - gammaln(x + 1) - gammaln(y + 1) - gammaln(n - x - y + 1)
            + xlogy(x, q + margin) + xlogy(y, q) + xlogy(n - x - y, max(1 - 2 * q - margin, 0.0))
        )  # fmt: skip
        best = max(best, float(np.exp(log_p).sum()))
    return best


@pytest.mark.parametrize(
    ("b", "c", "n", "margin"),
    [(0, 0, 30, 0.1), (1, 2, 25, 0.1), (3, 3, 40, 0.03), (0, 4, 20, 0.2), (5, 0, 35, 0.25)],
)
def test_exact_p_value_is_the_definition(b, c, n, margin):
    assert exact_p_value(b, c, n, margin) == pytest.approx(enumerated_p(b, c, n, margin), abs=2e-6)


def test_without_discordance_the_exact_p_value_is_a_power():
    for n in (1, 10, 98, 99, 485):
        floor = 0.97**n
        assert exact_p_value(0, 0, n, 0.03) >= floor - 1e-12
    assert exact_p_value(0, 0, 99, 0.03) == pytest.approx(0.97**99, abs=1e-9)


@given(n=st.integers(20, 400), psi=st.floats(0, 0.2), margin=st.sampled_from([0.02, 0.03, 0.1]),
       seed=st.integers(0, 10**6))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_the_search_over_the_nuisance_misses_nothing(n, psi, margin, seed):
    rng = np.random.default_rng(seed)
    d = rng.binomial(n, psi)
    b = rng.binomial(d, 0.5)
    steps = staircase(float(score_statistic(b, d - b, n, margin)), n, margin)
    high = (1 - margin) / 2
    dense = np.unique(np.r_[np.linspace(0, high, 1501), high - np.geomspace(1e-6, high, 300)])
    assert tail(steps, n, margin, dense).max() <= sup_tail(steps, n, margin) + 1e-5


@pytest.mark.parametrize("n", [99, 157, 213, 485, 953, 4000])
def test_critical_value_and_p_value_decide_alike(n):
    limit = critical_z(n)
    steps = staircase(limit, n, 0.03)
    assert sup_tail(steps, n, 0.03) <= 0.05
    for c in (0, 1, 2, 5):
        b = int(steps[c])
        if b >= 0:
            assert exact_p_value(b, c, n, 0.03) <= 0.05
        assert exact_p_value(b + 1, c, n, 0.03) > 0.05


def test_a_coarse_nuisance_grid_is_liberal():
    # a grid of 120 fixed values misses a narrow peak near full discordance
    high = 0.485
    grid = np.unique(np.r_[0, np.geomspace(1e-6, high, 60), np.linspace(0, high, 60)])
    coarse = critical_z(4000, 0.03, 0.05, tuple(grid.tolist()))
    assert coarse > critical_z(4000) + 1e-3
    assert sup_tail(staircase(coarse, 4000, 0.03), 4000, 0.03) > 0.05


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 40), (2, 1, 60), (0, 3, 50), (6, 6, 12)])
def test_exact_interval_inverts_the_exact_test(b, c, n):
    interval = exact_interval(b, c, n, 0.9)
    mirror = exact_interval(c, b, n, 0.9)
    assert interval.high == pytest.approx(-mirror.low, abs=1e-7)
    if interval.high < 0.99:
        assert exact_p_value(b, c, n, interval.high + 1e-6) <= 0.05 + 1e-4
        assert exact_p_value(b, c, n, interval.high - 1e-4) > 0.05 - 1e-3
    low, high = score_interval(b, c, n, 0.9)
    assert interval.high >= float(high) - 0.02
    assert interval.low <= float(low) + 0.02


def test_melded_limits_in_closed_form():
    # all discordant pairs are losses: the upper limit is Clopper-Pearson's
    assert melded_interval(2, 0, 120).high == pytest.approx(clopper_pearson(2, 120, 0.9).high)
    assert melded_interval(5, 0, 100).high == pytest.approx(clopper_pearson(5, 100, 0.9).high)
    # every pair is discordant: it is McNemar's, 2β - 1
    assert melded_interval(5, 5, 10).high == pytest.approx(2 * betaincinv(6, 5, 0.95) - 1)
    assert melded_interval(10, 0, 10).high == 1.0


@given(b=st.integers(0, 12), c=st.integers(0, 12), extra=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_melded_is_compatible_with_mcnemar(b, c, extra):
    if b + c == 0:
        return
    low = melded_interval(b, c, b + c + extra, 0.9).low
    p = mcnemar_test(b, c, alternative="loss").p_value
    if abs(p - 0.05) > 1e-6:
        assert (low > 1e-9) == (p < 0.05)


def test_large_counts_do_not_overflow():
    n = np.array([2_000_000_000], dtype=np.int64)
    wide = score_interval(np.array([40_000], dtype=np.int32), np.array([30_000]), n)
    assert 0 < float(wide[0][0]) < 5e-6 < float(wide[1][0]) < 1e-5
    z = score_statistic(
        np.array([900], np.int32), np.array([800], np.int32), np.int32(60_000), 0.03
    )
    expected = float(score_statistic(900.0, 800.0, 60_000.0, 0.03))
    assert float(z[0]) == pytest.approx(expected, rel=1e-12)


@given(b=st.integers(0, 40), c=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_mcnemar_against_statsmodels(b, c):
    cross = [[10, b], [c, 5]]
    assert mcnemar_test(b, c).p_value == pytest.approx(mcnemar(cross, exact=True).pvalue, abs=1e-12)
    if b + c:
        reference = mcnemar(cross, exact=False, correction=False)
        assert mcnemar_test(b, c, method="asymptotic").p_value == pytest.approx(reference.pvalue)
    less = mcnemar_test(b, c, alternative="gain").p_value
    more = mcnemar_test(b, c, alternative="loss").p_value
    assert more == pytest.approx(mcnemar_test(c, b, alternative="gain").p_value, abs=1e-12)
    assert less + more >= 1 - 1e-12
    mid = mcnemar_test(b, c, method="midp").p_value
    assert mid <= mcnemar_test(b, c).p_value + 1e-12
    assert float(loss_p_values(np.array(b), np.array(c))) == pytest.approx(more, abs=1e-12)


def test_mcnemar_ends():
    for method in ("exact", "midp", "asymptotic", "corrected", "exact-unconditional"):
        assert mcnemar_test(0, 0, 50, method=method).p_value == 1.0
    assert chi_square(1, 1, correction=True) == 0.0
    assert mcnemar_test(3, 3, method="corrected").p_value == 1.0
    with pytest.raises(ValueError, match="n is needed"):
        mcnemar_test(1, 2, method="exact-unconditional")
    both = mcnemar_test(1, 7, 21, method="exact-unconditional", gamma=0.0).p_value
    gain = mcnemar_test(1, 7, 21, method="exact-unconditional", gamma=0.0, alternative="gain")
    loss = mcnemar_test(7, 1, 21, method="exact-unconditional", gamma=0.0, alternative="loss")
    assert gain.p_value == pytest.approx(loss.p_value, abs=1e-12)
    assert gain.p_value < both
    assert mcnemar_test(1, 7, 21).p_value > both


@given(table=tables)
@settings(max_examples=60, deadline=None)
def test_paired_h_mirrors(table):
    effect, mirror = table.cohen_h(), table.swapped().cohen_h()
    if table.n == 0:
        return
    assert effect.h == pytest.approx(-mirror.h, abs=1e-12)
    if not math.isnan(effect.se):
        assert effect.se == pytest.approx(mirror.se, abs=1e-12)
        assert effect.se <= 2 / math.sqrt(table.n) + 1e-12


def test_paired_h_standard_error_by_resampling():
    here = table((300, 12, 5, 83))
    rng = np.random.default_rng(3)
    cells = rng.multinomial(400, np.array([300, 12, 5, 83]) / 400, size=40_000)
    p1, p2 = (cells[:, 0] + cells[:, 1]) / 400, (cells[:, 0] + cells[:, 2]) / 400
    h = 2 * np.arcsin(np.sqrt(p1)) - 2 * np.arcsin(np.sqrt(p2))
    assert float(h.std()) == pytest.approx(here.cohen_h().se, rel=0.03)
