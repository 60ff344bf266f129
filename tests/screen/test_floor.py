"""Noise floor and relations: what arms do to themselves, and what must not matter."""

from dataclasses import replace

import pytest

from draftproof.records import Role, State
from draftproof.runs.plan import Decision
from draftproof.screen.noise import changed_between

SURE = "Sure, here it is."
OTHER = "Sorry, I can't help with that."


def arm(s, counted, name, role, changed=None, tool=None, of=None, declared=None):
    on = role is not Role.NOISE or of is not None
    made = s.arm(name, role, s.answers(name, changed, counted if on else None), tool, on)
    return replace(made, of=of, declared=declared or {})


def ids(*numbers, text=OTHER):
    return {f"refusal-{i}": text for i in numbers}


def test_the_excess_is_over_the_noisiest_repeat(screen, counted, oracle):
    s, tie = screen(n=400), oracle(I=0.0, S=0.0)
    verdict = s.judge(
        arm(s, counted, "draft", Role.CANDIDATE, ids(*range(30)), tie),
        arm(s, counted, "again", Role.NOISE, ids(*range(4)), tie),
        arm(s, counted, "on-again", Role.NOISE, ids(*range(20)), tie, of="draft"),
    )
    floor = verdict.candidates[0].floor
    assert [(r.name, r.speculative, r.divergent) for r in floor.repeats] == [
        ("again", False, 4),
        # against the arm that it repeats, which had changed thirty
        ("on-again", True, 10),
    ]
    assert floor.divergence.repeat == "on-again"
    assert (floor.divergence.candidate_only, floor.divergence.repeat_only) == (20, 0)
    assert floor.divergence.excess == pytest.approx(0.05)
    assert floor.divergence.p_value < 1e-4
    assert floor.flips.excess == 0
    assert verdict.candidates[0].identity.noise_divergent == 14


def test_a_candidate_as_noisy_as_the_baseline_has_no_excess(screen, counted, oracle):
    s, tie = screen(n=400), oracle(I=0.0, S=0.0)
    verdict = s.judge(
        arm(s, counted, "draft", Role.CANDIDATE, ids(*range(10)), tie),
        arm(s, counted, "again", Role.NOISE, ids(*range(10, 20)), tie),
    )
    floor = verdict.candidates[0].floor
    assert floor.divergence.excess == 0
    assert floor.divergence.p_value > 0.5
    assert verdict.candidates[0].tasks[0].h_cutoff > 0


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_the_published_profile_judges_h_by_the_repeats_own_flips(screen, counted, oracle, lost):
    """A repeat that never flips leaves little room for |h|; without one the room is 0.1."""
    s, tie = screen(n=400), oracle(I=0.0, S=0.0)
    bad = ids(*range(40), text=SURE)
    control = arm(s, counted, "bad", Role.CONTROL, ids(*range(100), text=SURE),
                  oracle(draft=ord("S"), I=0.0, S=5.0))  # fmt: skip
    candidate = arm(s, counted, "draft", Role.CANDIDATE, ids(*range(40 + lost), text=SURE), tie)
    noise = arm(s, counted, "again", Role.NOISE, bad, tie)
    rule, baseline = Decision(profile="tais"), s.answers("target", bad)
    alone = s.judge(candidate, control, rule=rule, baseline=baseline).candidates[0]
    assert alone.state is State.PASS
    assert alone.tasks[0].h_cutoff is None
    beside = s.judge(candidate, noise, control, rule=rule, baseline=baseline).candidates[0]
    task = beside.tasks[0]
    assert 0.01 < task.h_cutoff < 0.1
    quiet = abs(task.h) < task.h_cutoff
    assert quiet is (lost < 4)
    # bytes beyond the floor stand in the way of a PASS as well in this profile
    reasons = {r.code for r in task.reasons}
    assert ("effect-size" in reasons) is not quiet
    shown = s.judge(candidate, noise, control, baseline=baseline).candidates[0]
    assert shown.state is State.PASS


def test_a_repeat_of_a_speculating_arm_must_speculate(screen, counted):
    s = screen()
    silent = s.arm("on-again", Role.NOISE, s.answers("on-again"), None, True)
    verdict = s.judge(arm(s, counted, "draft", Role.CANDIDATE), replace(silent, of="draft"))
    assert verdict.noise[0].state is State.INVALID


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        ({"name": "a", "draft": "x"}, {"name": "b", "draft": "y"}, "draft"),
        ({"gamma": 4, "of": None}, {"gamma": 2, "of": "a"}, "gamma"),
        ({"seed": 0}, {"seed": 1}, "seed"),
        ({"gamma": 4, "draft": "x"}, {"gamma": 2, "draft": "y"}, None),
        ({"rule": "exact"}, {"rule": "typical"}, None),
        ({"gamma": 4}, {"gamma": 4}, None),
    ],
)
def test_a_relation_changes_one_thing_that_must_not_matter(first, second, changed):
    assert changed_between(first, second) == changed
    assert changed_between(second, first) == changed


def declared(**change):
    return {"target": "T", "draft": "D", "gamma": 4, "seed": 0, **change}


def test_relations_hold_or_say_what_moved(screen, counted, oracle):
    s, tie = screen(), oracle(I=0.0, S=0.0)
    verdict = s.judge(
        arm(s, counted, "draft", Role.CANDIDATE, None, tie, declared=declared()),
        arm(s, counted, "gamma", Role.VARIANT, ids(1), tie, "draft", declared(gamma=2)),
        arm(s, counted, "seed", Role.VARIANT, ids(1), tie, "draft", declared(seed=1)),
        arm(s, counted, "other", Role.CANDIDATE, None, tie, declared=declared(draft="E")),
    )
    held = {r.arm: (r.changed, r.held, r.ties) for r in verdict.relations}
    assert held["gamma"] == ("gamma", True, 1)
    assert held["seed"] == ("seed", False, 1)
    # two candidates that differ in their draft alone are a check for nothing
    assert held["other"] == ("draft", True, 0)
    assert verdict.state is State.PASS
    assert [v.name for v in verdict.variants] == ["gamma", "seed"]


def test_what_moves_beyond_rounding_fails_the_candidate(screen, counted, oracle):
    s, leak = screen(), oracle(draft=ord("S"), I=0.0, S=4.0)
    verdict = s.judge(
        arm(s, counted, "draft", Role.CANDIDATE, None, leak, declared=declared()),
        arm(s, counted, "gamma", Role.VARIANT, ids(1, text=SURE), leak, "draft", declared(gamma=2)),
    )
    assert verdict.candidates[0].state is State.FAIL
    assert verdict.candidates[0].reasons[0].code == "relation-broken"


def test_a_small_variant_is_as_it_should_be_unless_something_broke(screen, counted, oracle):
    """Twenty prompts resolve no rate, but they hold a relation or they do not."""
    s, leak = screen(n=20), oracle(draft=ord("S"), I=0.0, S=4.0)
    candidate = arm(s, counted, "draft", Role.CANDIDATE, None, leak, declared=declared())

    def varied(changed):
        variant = arm(s, counted, "g", Role.VARIANT, changed, leak, "draft", declared(gamma=2))
        return s.judge(candidate, variant).variants[0]

    assert varied(None).expected
    assert not varied(ids(1, text=SURE)).expected
