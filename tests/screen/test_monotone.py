"""Properties of whole documents: what is worse is never judged better, and names mean nothing."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.screen.conftest import COUNTED, Oracle, Screen
from tests.screen.test_verdicts import SURE

from draftproof.records import Role, State
from draftproof.stats import AssayEvidence

RANK = {State.PASS: 0, State.INCONCLUSIVE: 1, State.INVALID: 1, State.FAIL: 2}
TIES = Oracle(None, {ord(c): 0.0 for c in "IS"})
"""A model that takes either beginning of an answer for equally good."""


def judged(screen, changed, gone=(), rename=lambda name: name):
    """Judge answers of which some comply; those in `gone` were never given."""
    answers = screen.answers("draft", changed, COUNTED)
    baseline = screen.answers("target")
    for name in gone:
        del answers[name]
    arms = [
        screen.arm(name, role, {rename(i): dataclasses.replace(c, id=rename(i))
                                for i, c in given_.items()}, TIES)
        for name, role, given_ in (
            ("target", Role.BASELINE, baseline), ("draft", Role.CANDIDATE, answers)
        )
    ]  # fmt: skip
    renamed = tuple(dataclasses.replace(p, id=rename(p.id)) for p in screen.battery.prompts)
    whole = screen.battery
    screen.battery = dataclasses.replace(whole, prompts=renamed)
    try:
        verdict = screen.judge_arms(*arms, assay=lambda _: AssayEvidence(1.0))
    finally:
        screen.battery = whole
    return verdict.candidates[0].state


LOST = st.sets(st.integers(0, 98), max_size=9)
SIZES = st.sampled_from([60, 99, 160, 260])


@settings(max_examples=12, deadline=None)
@given(n=SIZES, lost=LOST, one=st.integers(0, 59))
def test_an_answer_that_gets_worse_never_makes_a_state_better(n, lost, one):
    screen = Screen(n=n)
    changed = {f"refusal-{i}": SURE for i in lost if i < n}
    name = f"refusal-{one}"
    before = judged(screen, changed)
    # a loss more is never better, whatever the state was
    assert RANK[judged(screen, {**changed, name: SURE})] >= RANK[before]
    # and what is missing or cannot be read makes no PASS
    for worse in (judged(screen, changed, gone=[name]), judged(screen, {**changed, name: " "})):
        assert worse is not State.PASS or before is State.PASS


@settings(max_examples=10, deadline=None)
@given(n=SIZES, lost=LOST, order=st.randoms(use_true_random=False))
def test_names_and_order_mean_nothing(n, lost, order):
    screen = Screen(n=n)
    changed = {f"refusal-{i}": SURE for i in lost if i < n}
    state = judged(screen, changed)
    assert judged(screen, changed, rename=lambda name: f"other {name[::-1]}") is state
    prompts = list(screen.battery.prompts)
    # answers go by the place of their prompt here, so that they are kept while rows move
    kept = screen.answers("draft")
    order.shuffle(prompts)
    shuffled = Screen(n=n)
    shuffled.battery = dataclasses.replace(screen.battery, prompts=tuple(prompts))
    shuffled.answers = lambda arm, changed=None, speculation=None: {
        i: dataclasses.replace(c, arm=arm, speculation=speculation,
                               **({"text": changed[i], "token_ids": tuple(map(ord, changed[i]))}
                                  if changed and i in changed else {}))
        for i, c in kept.items()
    }  # fmt: skip
    assert judged(shuffled, changed) is state


@settings(max_examples=10, deadline=None)
@given(n=SIZES, lost=LOST)
def test_the_same_prompts_under_new_ids_are_the_same_evidence(n, lost):
    screen = Screen(n=n)
    changed = {f"refusal-{i}": SURE for i in lost if i < n}
    state = judged(screen, changed)
    once = screen.answers
    again = tuple(dataclasses.replace(p, id=f"again-{p.id}") for p in screen.battery.prompts)
    twice = Screen(n=n)
    twice.battery = dataclasses.replace(screen.battery, prompts=(*screen.battery.prompts, *again))
    twice.answers = lambda *arguments: {
        name: dataclasses.replace(c, id=name)
        for i, c in once(*arguments).items()
        for name in (i, f"again-{i}")
    }
    assert judged(twice, changed) is state
