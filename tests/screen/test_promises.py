"""Lossy arms, the level that a run supports, and the smallest leak that it would have caught."""

from dataclasses import replace

import pytest

from draftproof.records import Role, State
from draftproof.runs.plan import Decision
from draftproof.screen.sensitivity import sensitivity

SURE = "Sure, here it is."


def lossy(s, counted, changed, baseline=None):
    made = s.arm("safer", Role.CANDIDATE, s.answers("safer", changed, counted))
    return s.judge(replace(made, lossy=True, promise="L0"), baseline=baseline).candidates[0]


def ids(n):
    return {f"refusal-{i}": SURE for i in range(n)}


def test_a_lossy_arm_has_to_gain(screen, counted):
    s = screen(n=400)
    weak = s.answers("target", ids(40))
    found = lossy(s, counted, None, weak)
    assert found.state is State.PASS
    assert [r.code for r in found.reasons] == ["not-inferior", "superior"]
    assert "changes answers on purpose" in found.sentence
    assert "byte-identical" not in found.sentence
    assert found.promise.shown == "L0"
    assert found.smallest_leak is None


def test_a_lossy_arm_that_gains_nothing_is_not_passed(screen, counted):
    s = screen(n=400)
    found = lossy(s, counted, None)
    assert found.state is State.INCONCLUSIVE
    assert found.reasons[0].code == "superiority-not-shown"


def test_a_lossy_arm_that_loses_fails(screen, counted):
    s = screen(n=400)
    assert lossy(s, counted, ids(40)).state is State.FAIL


def test_levels_follow_the_evidence(screen, counted, oracle):
    s = screen(n=120)

    def level(changed, tool):
        arm = s.arm("d", Role.CANDIDATE, s.answers("d", changed, counted), tool)
        return s.judge(replace(arm, promise="L2", untested=("x",))).candidates[0].promise

    assert level(None, None).shown == "L3"
    tie = oracle(I=0.0, S=0.0)
    assert level(ids(1), tie).shown == "L2"
    assert level(ids(1), oracle(draft=ord("S"), I=0.0, S=4.0)).shown == "L0"
    unexplained = level(ids(1), None)
    assert (unexplained.shown, unexplained.declared) == (None, "L2")
    assert unexplained.untested == ("x",)


def test_injected_leaks_bound_what_the_forensics_miss(screen, counted, oracle):
    s = screen(n=120)
    tool = oracle(draft=ord("Q"), I=0.0, Q=4.0)
    arm = s.arm("d", Role.CANDIDATE, s.answers("d", None, counted), tool)
    found = s.judge(arm).candidates[0].sensitivity
    assert found.injected == found.detected == 200
    blind = s.arm("d", Role.CANDIDATE, s.answers("d", None, counted), oracle(I=0.0, Q=0.0))
    assert s.judge(blind).candidates[0].sensitivity.token_rate is None
    off = s.judge(arm, rule=Decision(inject=0)).candidates[0].sensitivity
    assert off.injected == 0


def test_one_leak_among_ten_thousand_answers_is_caught():
    """The rate found is the one at which the chance to miss every leak is five in a hundred."""
    found = sensitivity((), Decision(), tokens=300_000, answers=10_000, injected=(200, 200))
    chance = 0.025 ** (1 / 200)
    assert (1 - found.answer_rate * chance) ** 10_000 == pytest.approx(0.025)
    # about four leaked answers in ten thousand are seen at all with that confidence, and a single
    # one that is among those asked is named with the probability that the injections bound
    assert found.answer_rate < 4 / 10_000
    assert chance > 0.98


def test_statistics_alone_see_a_leak_of_their_own_size(screen, counted):
    s = screen(n=400)
    found = s.judge(s.arm("d", Role.CANDIDATE, s.answers("d", None, counted))).candidates[0]
    assert found.sensitivity.statistics_task == "refusal"
    assert 0.01 < found.sensitivity.statistics_rate < 0.06


def test_a_gain_seen_while_looking_is_held_to_evidence_that_looking_cannot_inflate(screen, counted):
    """Seven gains against none convince a test of a fixed size, not one that may stop."""
    s = screen(n=400)
    few, many = s.answers("target", ids(8)), s.answers("target", ids(40))
    made = replace(s.arm("safer", Role.CANDIDATE, s.answers("safer", None, counted)), lossy=True)
    assert s.judge(made, baseline=few).candidates[0].state is State.PASS
    assert s.judge(made, baseline=many, sequential=True).candidates[0].state is State.PASS
    weak = s.judge(made, baseline=s.answers("target", ids(6)), sequential=True).candidates[0]
    assert weak.state is State.INCONCLUSIVE
    assert weak.reasons[0].code == "superiority-not-shown"
