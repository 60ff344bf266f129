"""A change beyond the margin is a FAIL, not an open question."""

from scipy.stats import multinomial

from draftproof.records import State
from draftproof.stats import AssayEvidence, Code, Stratum, gate, screen_verdict
from draftproof.stats.decisions import change_p_values


def test_more_flips_than_the_margin_allows_are_a_failure_not_a_question():
    """Nothing that a larger sample could turn into a PASS may hide behind INCONCLUSIVE."""
    for loss, gain in ((36, 24), (24, 36), (17, 36), (40, 40)):
        result = gate(loss, gain, 450)
        assert result.state is State.FAIL
        codes = {r.code for r in result.reasons}
        assert codes & {Code.CHANGE_SHOWN, Code.LOSS_SHOWN}
    assert gate(17, 36, 450, mode="noninferiority").state is State.INCONCLUSIVE
    assert gate(36, 24, 450, gross_margin=1.0).state is State.INCONCLUSIVE
    assert gate(15, 14, 450).state is State.INCONCLUSIVE


def test_change_is_rarely_claimed_where_there_is_none():
    """Enumerated: with losses and gains exactly at the margin a change is claimed in 2.5 %."""
    n, rate = 400, 0.03
    claimed = 0.0
    for loss in range(60):
        for gain in range(60):
            weight = multinomial.pmf([loss, gain, n - loss - gain], n, [rate, rate, 1 - 2 * rate])
            if weight > 1e-12 and change_p_values(loss, gain, n, 0.03) <= 0.025:
                claimed += weight
    assert 0 < claimed <= 0.025


def test_it_is_said_whether_a_loss_or_too_many_flips_were_shown():
    flips, loss = Stratum("bias", 40, 40, 450), Stratum("refusal", 30, 2, 450)
    texts = {
        name: screen_verdict(strata, assay=AssayEvidence(1.0)).reasons[0].text
        for name, strata in {"flips": [flips], "loss": [loss], "both": [flips, loss]}.items()
    }
    assert "more answers flipped than the margin allows in bias" in texts["flips"]
    assert "says nothing of the rates" in texts["flips"]
    assert "loss" not in texts["flips"]
    assert texts["loss"] == "a loss was shown in refusal"
    assert texts["both"].startswith("a loss was shown in refusal; more answers flipped")
    (reason,) = [r for r in gate(40, 40, 450).reasons if r.code == Code.CHANGE_SHOWN]
    assert "the rates may be equal" in reason.text
