"""The decision: what passes, what fails, and that nothing passes by omission."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from statsmodels.stats.multitest import multipletests

from draftproof.records import State
from draftproof.stats import (
    EXACT,
    AssayEvidence,
    ByteEvidence,
    Code,
    ForensicEvidence,
    Stratum,
    equivalence_decisions,
    gate,
    gate_decisions,
    holm,
    screen_verdict,
)
from draftproof.stats.decisions import CRITICAL_Z, FIRST_N, critical_value, critical_values
from draftproof.stats.exact import TIE, critical_z, exact_p_value, staircase, sup_tail
from draftproof.stats.flips import flip_upper, flips_tolerated, rung
from draftproof.stats.operating import (
    gate_probabilities,
    mcnemar_power,
    outcome_weights,
    wald_tost_probability,
)
from draftproof.stats.sizes import discordance_bound, pairs_needed

SURE = AssayEvidence(0.95)


def codes(result):
    return {reason.code for reason in result.reasons}


@pytest.mark.parametrize(
    ("loss", "n"), [(0, 99), (1, 157), (2, 208), (3, 257), (4, 303), (9, 521), (10, 562)]
)
def test_the_ladder_is_sharp(loss, n):
    assert gate(loss, 0, n).state is State.PASS
    assert gate(loss, 0, n - 1).state is not State.PASS
    assert rung(loss) == n
    assert flips_tolerated(n) == loss
    assert flip_upper(loss, n) <= 0.03 < flip_upper(loss, n - 1)


@pytest.mark.parametrize(("loss", "state"), [(5, State.INCONCLUSIVE), (6, State.FAIL)])
def test_six_to_nothing_in_a_hundred_fails(loss, state):
    assert gate(loss, 0, 100).state is state
    # gains alone are no loss: they keep from PASS, they do not FAIL
    assert gate(0, loss, 100).state is State.INCONCLUSIVE


def test_no_pairs_and_missing_arms():
    assert codes(gate(0, 0, 0)) == {Code.NO_PAIRS}
    assert codes(gate(0, 0, 0, missing=100)) == {Code.ARM_MISSING}
    for mode in ("equivalence", "noninferiority"):
        for profile in ("exact", "tais"):
            result = gate(0, 0, 0, mode=mode, profile=profile)
            assert result.state is State.INCONCLUSIVE
            assert math.isnan(result.p_equivalence)
            assert math.isnan(result.smallest_loss_compatible)
    assert gate(0, 0, 1).state is State.INCONCLUSIVE
    assert gate(1, 0, 1).state is State.INCONCLUSIVE


@given(loss=st.integers(0, 4), gain=st.integers(0, 4), missing=st.integers(0, 3),
       n=st.integers(99, 400))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_pass_survives_every_fate_of_the_missing_pairs(loss, gain, missing, n):
    if gate(loss, gain, n, missing=missing, gross_margin=1.0).state is State.PASS:
        for lost in range(missing + 1):
            for gained in range(missing + 1 - lost):
                fate = gate(loss + lost, gain + gained, n + missing, gross_margin=1.0)
                assert fate.p_equivalence <= 0.05 + 1e-9


def test_the_flip_bound_sees_what_the_difference_cancels():
    churn = gate(9, 9, 400)
    assert churn.p_equivalence <= 0.05
    assert churn.state is State.INCONCLUSIVE
    assert codes(churn) == {Code.FLIP_BOUND, Code.GAIN_BOUND}
    assert gate(9, 9, 400, gross_margin=1.0).state is State.PASS
    assert gate(9, 9, 400, profile="tais", cohen_h=0.0).state is State.PASS


def test_drift_is_flagged():
    result = gate(8, 0, 953)
    assert result.state is State.PASS
    assert result.drift
    assert Code.DRIFT in codes(result)
    assert not gate(0, 8, 953).drift


def test_noninferiority_lets_gains_pass():
    assert gate(0, 40, 400, mode="noninferiority").state is State.PASS
    assert gate(0, 40, 400).state is State.FAIL
    assert gate(0, 12, 400).state is State.INCONCLUSIVE


def test_what_is_needed_is_said():
    result = gate(5, 0, 100)
    assert result.n_needed is None
    assert "3.9 % of the labels are lost by chance" in result.size_needed().why
    assert result.rung == rung(5)
    # with none observed the estimate alone would promise that none ever flips
    assert gate(0, 0, 50).n_needed == pairs_needed(discordance_bound(0, 50)).n > 700
    assert gate(0, 0, 400, missing=20).n_needed == 400, "never below what was asked"
    assert "6 independent pairs are too few" in gate(0, 0, 6).size_needed().why
    assert gate(0, 0, 100).n_needed is None
    assert gate(1, 0, 250).size_needed(unexplained=True).n is None, "it has passed"
    few = gate(0, 1, 150)
    assert few.size_needed(unexplained=True).n > few.n_needed
    assert 0 < result.smallest_loss_compatible < 0.05 < result.interval.high


@pytest.mark.parametrize(
    "bad", [{"margin": 0}, {"alpha": 1}, {"alpha_fail": math.nan}, {"mode": "both"},
            {"profile": "strict"}, {"missing": -1}],
)  # fmt: skip
def test_arguments_are_checked_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        gate(0, 0, 100, **bad)


@given(b=st.integers(0, 30), c=st.integers(0, 30), n=st.integers(60, 1000))
@settings(max_examples=15, deadline=None)
def test_vectorised_decisions_are_the_exact_test(b, c, n):
    equivalent = bool(equivalence_decisions(b, c, n))
    p = max(exact_p_value(b, c, n, 0.03), exact_p_value(c, b, n, 0.03))
    if abs(p - 0.05) > 1e-6:
        assert equivalent == (p <= 0.05)
    assert bool(equivalence_decisions(c, b, n)) == equivalent
    assume(b + c <= n)
    for bound in (None, 1.0):
        state = gate(b, c, n, gross_margin=bound).state.value
        assert int(gate_decisions(b, c, n, gross_margin=bound)) == _NUMBERS[state]


_NUMBERS = {"PASS": 1, "FAIL": -1, "INCONCLUSIVE": 0}


@pytest.mark.parametrize("n", [1, 40, 99, 157])
def test_enumeration_is_of_the_gate_itself(n):
    for b in range(min(n, 9) + 1):
        for c in range(min(n - b, 9) + 1):
            assert int(gate_decisions(b, c, n)) == _NUMBERS[gate(b, c, n).state.value], (b, c)


def test_the_table_of_critical_values_is_what_the_search_finds():
    for n in (50, 99, 213, 307, 485, 646, 1000):
        assert CRITICAL_Z[n - FIRST_N] == pytest.approx(critical_z(n), abs=2e-8)
    assert critical_values([0]).tolist() == [-math.inf]
    assert critical_value(157, 0.05, 0.025) == critical_z(157, 0.05, 0.025)


@pytest.mark.parametrize("n", [50, 88, 100, 157, 200, 468, 953])
@pytest.mark.parametrize("psi", [0.03, 0.05, 0.1])
def test_false_pass_at_the_margin_is_at_most_five_percent(n, psi):
    p10, p01 = (psi + 0.03) / 2, (psi - 0.03) / 2
    assert gate_probabilities(n, p10, p01).pass_ <= 0.05
    # and on the other side of the margin, where the candidate gained
    assert gate_probabilities(n, p01, p10).pass_ <= 0.05
    # more flips than the margin allows are no loss: they FAIL by the other test
    by_loss = gate_probabilities(n, psi / 2, psi / 2, gross_margin=1.0).fail
    assert by_loss <= 0.025
    assert gate_probabilities(n, psi / 2, psi / 2).fail <= 0.025 or psi / 2 > 0.03


def test_the_published_wald_rule_is_liberal_and_the_score_test_slightly():
    assert wald_tost_probability(100, 0.03, 0.0) > 0.19
    assert wald_tost_probability(4000, 0.03, 0.0) > 0.06
    size = sup_tail(staircase(float(ndtri(0.05)) - TIE, 88, 0.03), 88, 0.03)
    assert size == pytest.approx(0.97**88, abs=1e-6)


@given(n=st.integers(0, 300), p=st.floats(0, 0.5), q=st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_outcome_weights_sum_to_one(n, p, q):
    losses, gains, weights = outcome_weights(n, p, q)
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    assert ((losses + gains) <= n).all()
    assert float(losses @ weights) == pytest.approx(n * p, abs=1e-6)


def test_enumeration_against_simulation():
    rng = np.random.default_rng(7)
    draws = rng.multinomial(208, [0.02, 0.01, 0.97], size=40_000)
    states = gate_decisions(draws[:, 0], draws[:, 1], 208)
    exact = gate_probabilities(208, 0.02, 0.01)
    assert exact.pass_ == pytest.approx((states == 1).mean(), abs=0.01)
    assert exact.fail == pytest.approx((states == -1).mean(), abs=0.01)
    assert mcnemar_power(208, 0.05, 0.0) > mcnemar_power(208, 0.03, 0.0)


@pytest.mark.slow
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_adjusted_p_values_against_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
    assert (holm(p) >= np.asarray(p) - 1e-15).all()


def test_an_undefined_member_never_helps_a_family():
    assert holm([math.nan, 0.01]).tolist() == [1.0, 0.02]
    with pytest.raises(ValueError, match="p_values"):
        holm([1.2])


def strata(*counts):
    return [Stratum(f"s{k}", *row) for k, row in enumerate(counts)]


def test_every_stratum_must_pass():
    good = strata((0, 0, 120), (1, 0, 208))
    assert screen_verdict(good, assay=SURE).state is State.PASS
    one_open = strata((0, 0, 120), (1, 0, 120))
    result = screen_verdict(one_open, assay=SURE)
    assert result.state is State.INCONCLUSIVE
    assert result.reasons[0].code is Code.STRATUM_OPEN
    assert {r.task for r in result.reasons if r.code is Code.NOT_SHOWN} == {"s1"}


def test_fail_is_held_to_the_family():
    # 6:0 has p = 0.0156: enough alone, not among four strata
    alone = screen_verdict(strata((6, 0, 100)), assay=SURE)
    assert alone.state is State.FAIL
    family = screen_verdict(strata((6, 0, 100), *[(0, 0, 120)] * 3), assay=SURE)
    assert family.state is State.INCONCLUSIVE
    assert family.strata[0].p_loss_family == pytest.approx(0.0625)
    assert screen_verdict(strata((9, 0, 100), *[(0, 0, 120)] * 3)).state is State.FAIL


def test_preconditions():
    good = strata((0, 0, 120))
    assert screen_verdict([]).reasons[0].code is Code.NO_STRATA
    assert screen_verdict([]).state is State.INCONCLUSIVE
    invalid = screen_verdict(good, problems=["no acceptance counters"])
    assert invalid.state is State.INVALID
    assert invalid.strata == ()
    assert codes(screen_verdict(good)) >= {Code.ASSAY_ABSENT}
    dull = screen_verdict(good, assay=AssayEvidence(0.5))
    assert dull.state is State.INCONCLUSIVE
    assert Code.ASSAY_INSENSITIVE in codes(dull)
    assert screen_verdict(good, assay=AssayEvidence(math.nan)).state is State.INCONCLUSIVE
    noisy = screen_verdict(strata((9, 0, 100)), assay=AssayEvidence(0.9, noise_failed=True))
    assert noisy.state is State.INCONCLUSIVE
    with pytest.raises(ValueError, match="different names"):
        screen_verdict([good[0], good[0]])


def test_bytes_pass_without_a_scorer():
    silent = Stratum("s", 0, 0, 0, bytes=ByteEvidence(0, 99))
    result = screen_verdict([silent])
    assert result.state is State.PASS
    assert result.strata[0].by_bytes
    short = Stratum("s", 0, 0, 0, bytes=ByteEvidence(0, 98))
    assert screen_verdict([short]).state is State.INCONCLUSIVE
    one = Stratum("s", 0, 0, 0, bytes=ByteEvidence(1, 500))
    assert screen_verdict([one]).state is State.INCONCLUSIVE
    gone = Stratum("s", 0, 0, 0, missing=1, bytes=ByteEvidence(0, 500))
    assert screen_verdict([gone]).state is State.INCONCLUSIVE
    assert screen_verdict([silent], lossless_claimed=False).state is State.INCONCLUSIVE


def test_divergence_beyond_the_noise_rejects_the_claim_of_losslessness():
    loud = ByteEvidence(20, 120, noise_divergent=0, noise_total=120)
    stratum = Stratum("s", 0, 0, 120, cohen_h=0.0, bytes=loud)
    exact = screen_verdict([stratum], assay=SURE)
    assert exact.lossless_rejected
    assert exact.state is State.PASS  # the rate channel decides
    tais = screen_verdict([stratum], profile="tais")
    assert tais.state is State.INCONCLUSIVE
    assert Code.BYTES_BEYOND_NOISE in codes(tais)
    assert not ByteEvidence(1, 120, 0, 120).beyond_noise()
    assert not ByteEvidence(50, 120).beyond_noise()
    with pytest.raises(ValueError, match="divergent"):
        ByteEvidence(3, 2)


def test_one_leak_decides_under_the_exact_profile():
    good = strata((0, 0, 500))
    leak = ForensicEvidence(leaks=1)
    result = screen_verdict(good, forensics=leak, assay=SURE)
    assert result.state is State.FAIL
    assert result.reasons[0].code is Code.FORENSIC_LEAK
    assert screen_verdict(good, forensics=ForensicEvidence(faults=1)).state is State.FAIL
    assert screen_verdict(good, forensics=ForensicEvidence(ties=9), assay=SURE).state is State.PASS
    lossy = screen_verdict(good, forensics=leak, assay=SURE, lossless_claimed=False)
    assert lossy.state is State.PASS


def test_the_published_profile_needs_its_three_criteria():
    same = ByteEvidence(0, 120, 0, 120)
    full = Stratum("s", 0, 0, 120, cohen_h=0.02, bytes=same)
    assert screen_verdict([full], profile="tais").state is State.PASS
    bare = Stratum("s", 0, 0, 120, cohen_h=0.02)
    assert Code.BYTES_UNPROVEN in codes(screen_verdict([bare], profile="tais"))
    far = Stratum("s", 0, 0, 120, cohen_h=0.02, cutoff=0.01, bytes=same)
    assert Code.EFFECT_SIZE in codes(screen_verdict([far], profile="tais"))
    unknown = Stratum("s", 0, 0, 120, bytes=same)
    assert screen_verdict([unknown], profile="tais").state is State.INCONCLUSIVE
    assert EXACT.effect_cutoff is None
