"""Planning, sensitivity, early stopping, clusters and the noise floor."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from draftproof.records import State
from draftproof.stats.clusters import cluster_pairs
from draftproof.stats.effects import modelled_h_cutoff
from draftproof.stats.flips import rung
from draftproof.stats.operating import gate_probabilities
from draftproof.stats.paired import excess_divergence
from draftproof.stats.score import score_interval
from draftproof.stats.sensitivity import (
    Leak,
    canned_leak,
    detection_curve,
    minimum_detectable_leak,
)
from draftproof.stats.sequential import (
    log_e_loss,
    log_e_margin,
    monitor,
    sequential_state,
)
from draftproof.stats.sizes import (
    detectable_loss,
    discordance_bound,
    observed_rates,
    pairs_needed,
    pass_power,
    scorer_discordance,
)


@pytest.mark.parametrize(
    ("psi", "explained", "not_explained"),
    [(0.001, 99, 99), (0.005, 157, 208), (0.01, 257, 392), (0.02, 478, None), (0.03, 925, None)],
)
def test_a_size_needed_is_the_first_from_which_all_suffice(psi, explained, not_explained):
    for unexplained, expected in ((False, explained), (True, not_explained)):
        if expected is None:
            continue
        assert pairs_needed(psi, unexplained=unexplained).n == expected
        if expected > 99:
            assert pass_power(expected - 1, psi, unexplained=unexplained) < 0.80
        for n in range(expected, expected + 60):
            assert pass_power(n, psi, unexplained=unexplained) >= 0.80


def test_the_curve_saws():
    powers = [round(pass_power(n, 0.01), 2) for n in (157, 207, 208)]
    assert powers == [0.66, 0.52, 0.83]


def test_beyond_the_table_the_worst_sizes_suffice_too():
    n = pairs_needed(0.04).n
    assert n > 1000
    assert pass_power(rung(10) - 1, 0.04) < 0.80 <= pass_power(n, 0.04)
    wide, narrow = (pairs_needed(0.01, margin=m).n for m in (0.05, 0.02))
    assert wide < pairs_needed(0.01).n < narrow


def test_where_no_size_suffices_it_is_said_why():
    assert pairs_needed(0.0).n == 99
    lost = pairs_needed(0.06)
    assert (lost.n, "3 % of the labels are lost" in lost.why) == (None, True)
    flips = pairs_needed(0.03, unexplained=True)
    assert (flips.n, "no model finds why" in flips.why) == (None, True)
    assert "more than 100,000" in pairs_needed(0.0599).why


def test_planning_ends():
    assert pass_power(0, 0.0) == 0.0
    assert discordance_bound(0, 0) == 1.0
    assert scorer_discordance(0.01) == pytest.approx(0.0198)
    assert observed_rates(0.02, 0.02) == (0.02, 0.0)
    p10, p01 = observed_rates(0.02, 0.02, 0.05)
    assert p10 - p01 == pytest.approx(0.02 * 0.9)
    assert p10 + p01 == pytest.approx(0.02 * 0.81 + 0.095)
    with pytest.raises(ValueError, match="exceeds"):
        observed_rates(0.05, 0.01)
    assert math.isnan(detectable_loss(0, 0.1))
    assert math.isnan(detectable_loss(1, 0.0))
    loss = detectable_loss(300, 0.01)
    assert gate_probabilities(300, 0.005 + loss, 0.005).fail >= 0.80
    assert gate_probabilities(300, 0.005 + loss - 0.001, 0.005).fail < 0.80


def test_detection_curves_of_the_gate():
    curve = detection_curve(303, canned_leak(0.79), [0.0, 0.03, 0.05, 1.0])
    assert curve.pass_ + curve.fail + curve.inconclusive == pytest.approx(np.ones(4))
    assert curve.fail[1] == pytest.approx(0.725, abs=0.001)
    assert curve.pass_[1] == pytest.approx(0.15, abs=0.005)
    assert curve.pass_[0] == pytest.approx(1.0)
    assert curve.fail[3] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("n", "background", "fail80", "fail95"),
    [(50, 0.0, 0.154, 0.199), (208, 0.0, 0.038, 0.050), (468, 0.01, 0.025, 0.034)],
)
def test_minimum_detectable_loss_of_the_gate(n, background, fail80, fail95):
    leak = Leak(1.0, 0.0, background)
    assert minimum_detectable_leak(n, leak, step=0.0005) == pytest.approx(fail80, abs=0.0011)
    rate = minimum_detectable_leak(n, leak, power=0.95, step=0.0005)
    assert rate == pytest.approx(fail95, abs=0.0011)


def test_an_insensitive_assay_says_so():
    safer = Leak(lost=0.0, gained=0.02)
    assert math.isnan(minimum_detectable_leak(300, safer))
    assert minimum_detectable_leak(50, canned_leak(0.8), target="not-pass") == 0.0


def test_e_values_have_expectation_at_most_one_under_the_null():
    # after n pairs, over all tables, exactly at the margin
    n, margin = 40, 0.1
    for q in (0.0, 0.05, 0.2):
        b, c = (g.ravel() for g in np.mgrid[: n + 1, : n + 1])
        b, c = b[b + c <= n], c[b + c <= n]
        weight = binom.pmf(c, n, q) * binom.pmf(b, n - c, (q + margin) / (1 - q))
        value = np.exp(log_e_margin(b, c, np.full(b.size, n), margin))
        assert float(weight @ value) == pytest.approx(1.0, abs=1e-9)
    m = 30
    b = np.arange(m + 1)
    at_half = binom.pmf(b, m, 0.5) @ np.exp(log_e_loss(b, m - b))
    assert float(at_half) == pytest.approx(1.0, abs=1e-9)
    assert float(binom.pmf(b, m, 0.4) @ np.exp(log_e_loss(b, m - b))) < 1.0


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 114), (1, 0, 203), (1, 1, 203), (2, 0, 279)])
def test_when_the_monitor_may_pass(b, c, n):
    assert sequential_state(b, c, n).state is State.PASS
    assert sequential_state(b, c, n - 1).state is State.INCONCLUSIVE
    assert sequential_state(c, b, n).state is State.PASS


def test_monitor_ends():
    assert monitor([]).pairs == 0
    assert monitor([1] * 20).state is State.FAIL
    assert monitor([-1] * 20).state is State.INCONCLUSIVE
    assert monitor([0] * 50).state is State.INCONCLUSIVE


def monitored(p10, p01, pairs, rng, runs):
    """Stopped runs of the monitor over simulated pairs."""
    uniforms = rng.random((runs, pairs))
    differences = np.where(uniforms < p10, 1, np.where(uniforms < p10 + p01, -1, 0))
    return [monitor(row) for row in differences]


def test_stopping_holds_the_error_and_saves_pairs():
    rng = np.random.default_rng(11)
    at_margin = [run.state for run in monitored(0.03, 0.0, 500, rng, 200)]
    # three standard errors above the nominal level
    assert at_margin.count(State.PASS) / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    no_loss = monitored(0.005, 0.005, 600, rng, 100)
    states = [run.state for run in no_loss]
    assert states.count(State.FAIL) / 100 <= 0.025 + 3 * math.sqrt(0.025 / 100)
    assert np.median([run.pairs for run in no_loss]) < 300
    assert states.count(State.PASS) / 100 > 0.8


def test_copies_of_a_prompt_are_one_prompt():
    rng = np.random.default_rng(5)
    d = rng.choice([-1, 0, 1], p=[0.02, 0.93, 0.05], size=120)
    single = cluster_pairs(np.arange(120), d)
    copied = cluster_pairs(np.repeat(np.arange(120), 7), np.repeat(d, 7))
    assert copied.n == 840
    assert copied.effective_n == pytest.approx(120, rel=0.01)
    assert copied.interval().low == pytest.approx(single.interval().low, abs=2e-3)
    assert copied.interval(0.9, "t").width == pytest.approx(single.interval(0.9, "t").width)
    assert copied.effective_pairs().n <= 120
    assert copied.swapped().interval().high == pytest.approx(-copied.interval().low)


def test_independent_pairs_have_no_design_effect():
    rng = np.random.default_rng(6)
    d = rng.choice([-1, 0, 1], p=[0.05, 0.9, 0.05], size=600)
    pairs = cluster_pairs(np.arange(600), d)
    assert pairs.design_effect == pytest.approx(1.0, abs=0.01)
    assert pairs.variance == pytest.approx(d.var() / 599)
    by_t, by_score = pairs.interval(0.9, "t"), pairs.interval(0.9)
    assert by_score.low == pytest.approx(by_t.low, abs=0.005)


def test_cluster_ends():
    silent = cluster_pairs([1, 1, 2, 2, 3, 3], [0] * 6)
    assert math.isnan(silent.design_effect)
    assert silent.effective_n == 3
    assert silent.effective_pairs().n == 3
    assert not silent.interval(0.9, "t").defined
    assert silent.interval().high == pytest.approx(float(score_interval(0, 0, 3)[1]))
    empty = cluster_pairs([], [])
    assert not empty.interval().defined
    assert math.isnan(empty.difference)
    with pytest.raises(ValueError, match="difference"):
        cluster_pairs([1], [2])
    with pytest.raises(ValueError, match="length"):
        cluster_pairs([1, 2], [0])
    with pytest.raises(ValueError, match="method"):
        silent.interval(0.9, "naive")


def test_modelled_cutoff_tightens_with_repeats():
    rng = np.random.default_rng(9)
    loose = modelled_h_cutoff(rng, 0.8, 1, 100, 200)
    tight = modelled_h_cutoff(rng, 0.8, 10, 1000, 200)
    assert loose.low <= loose.estimate <= loose.value
    assert tight.value < loose.value
    assert not math.isnan(modelled_h_cutoff(rng, 1.0, 0, 100, 100).value)


def test_excess_divergence_is_paired():
    divergence = excess_divergence([True] * 10 + [False] * 90, [False] * 100)
    assert divergence.excess == pytest.approx(0.1)
    assert divergence.test().p_value == pytest.approx(2.0**-10)
    assert divergence.interval().low > 0.03
    same = excess_divergence([True] * 50 + [False] * 50, [True] * 50 + [False] * 50)
    assert (same.pairs.loss, same.pairs.gain, same.pairs.n) == (0, 0, 100)
    assert same.pairs.noninferiority(0.03).p_value <= 0.05
    with pytest.raises(ValueError, match="length"):
        excess_divergence([True], [True, False])
