"""A temperature above 0: laws are compared, not single answers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from draftproof.battery import Battery
from draftproof.records import Completion, Message, Pair, Prompt, Role, Speculation, State
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.screen import Arm, ScreenContext, judge_arms
from draftproof.screen.pairing import Pairing
from draftproof.screen.sampled import Drawn, Law, distribution, law_level

COUNTED = Speculation(rounds=3, drafted=12, accepted=6, histogram=(0, 1, 1, 1, 0))
GOOD, BAD = "I can't help with that.", "Sure, here it is."
PROMPTS, SAMPLES = 40, 8


def battery():
    return Battery(name="b", source="test", prompts=tuple(
        Prompt(id=f"p{i}#{k}", task="refusal", messages=(Message("user", f"q{i}"),),
               scorer="refusal", expect="refusal", cluster=f"p{i}")
        for i in range(PROMPTS) for k in range(SAMPLES)
    ))  # fmt: skip


def drawn(asked, name, rate, seed, speculation=None):
    """Answers that refuse with a rate of each prompt's own, about `rate`."""
    rng = np.random.default_rng(seed)
    out = {}
    for prompt in asked.prompts:
        text = GOOD if rng.random() < rate else BAD
        tokens = (*(ord(c) for c in text), int(rng.integers(3)))
        out[prompt.id] = Completion(arm=name, id=prompt.id, text=text, finish_reason="stop",
                                    token_ids=tokens, speculation=speculation)  # fmt: skip
    return out


def verdict(rate, *, law=None, rule=None, before=0.9):
    asked = battery()
    base = Arm(name="t", role=Role.BASELINE, answers=drawn(asked, "t", before, 1),
               speculative=False, rescorer=lambda: None)  # fmt: skip
    candidate = Arm(name="d", role=Role.CANDIDATE, answers=drawn(asked, "d", rate, 2, COUNTED),
                    speculative=True, rescorer=lambda: pytest.fail("nobody is to be asked"),
                    law=law)  # fmt: skip
    control = replace(candidate, name="bad", role=Role.CONTROL,
                      answers=drawn(asked, "bad", 0.2, 3, COUNTED), law=None)  # fmt: skip
    return judge_arms(asked, base, [candidate, control], label=score,
                      rule=rule or Decision(margin=0.15),
                      context=ScreenContext(name="test", temperature=0.8))  # fmt: skip


def test_the_same_law_passes_though_answers_differ():
    found = verdict(0.9).candidates[0]
    assert found.counts.identical < found.counts.n
    assert found.divergences == ()
    assert found.state is State.PASS
    assert found.promise.shown == "L1"
    assert (found.distribution.prompts, found.distribution.samples) == (PROMPTS, SAMPLES)
    assert found.distribution.mmd_p > 0.05
    assert found.sensitivity.token_rate is None


def test_another_law_fails_by_its_answers():
    found = verdict(0.5)
    assert found.candidates[0].state is State.FAIL
    assert found.controls[0].state is State.FAIL
    assert "distribution-shifted" in [r.code for r in found.candidates[0].reasons]
    assert found.candidates[0].promise.shown == "L0"


def test_repeats_of_a_prompt_are_one_cluster():
    task = verdict(0.9).candidates[0].tasks[0]
    assert task.clusters == PROMPTS
    assert task.n == PROMPTS * SAMPLES


def test_drawn_tokens_that_break_the_law_fail_and_are_named():
    law = [0.5, 0.3, 0.2]
    right = Law([Drawn([500, 300, 200], law)], greedy_clean=True)
    wrong = replace(right, drawn=[Drawn([300, 500, 200], law)])
    assert verdict(0.9, law=lambda: right).candidates[0].state is State.PASS
    found = verdict(0.9, law=lambda: wrong).candidates[0]
    assert found.state is State.FAIL
    assert found.reasons[0].code == "law-broken"
    assert found.known_cause.name == "reused_coin"
    unclean = verdict(0.9, law=lambda: replace(wrong, greedy_clean=False)).candidates[0]
    assert unclean.state is State.FAIL
    assert unclean.known_cause is None


def test_too_few_draws_are_inconclusive():
    found = verdict(0.9, rule=Decision(margin=0.01)).candidates[0]
    assert found.state is State.INCONCLUSIVE
    assert found.promise.shown is None


def null_pairs(rng, prompts, samples, *, shared=False):
    """Draws of both arms from one law a prompt: a few likely answers with common beginnings.

    With `shared` the candidate's draws repeat the baseline's coins, in another order.
    """
    pairs = []
    for i in range(prompts):
        answers = rng.integers(50, size=(6, 16))
        answers[:, : rng.integers(2, 12)] = answers[0, 0]
        weights = rng.dirichlet(np.full(6, 0.5))
        before = rng.choice(6, size=samples, p=weights)
        after = rng.permutation(before) if shared else rng.choice(6, size=samples, p=weights)
        for k in range(samples):
            said = [Completion(arm=arm, id=f"p{i}#{k}", text="", finish_reason="length",
                               token_ids=tuple(answers[one[k]].tolist()))
                    for arm, one in (("t", before), ("d", after))]  # fmt: skip
            prompt = Prompt(id=f"p{i}#{k}", task="refusal", messages=(Message("user", "q"),))
            pairs.append(Pair(prompt=prompt, baseline=said[0], candidate=said[1]))
    return Pairing(tuple(pairs), (), ())


def p_values(runs, **options):
    found = []
    for run in range(runs):
        joined = null_pairs(np.random.default_rng([17, run]), 8, 6, **options)
        found.append(distribution(joined, 0.8, None, 0.0125)[0].mmd_p)
    return np.array(found)


def test_p_values_are_uniform_where_nothing_differs():
    found = p_values(250)
    for level in (0.05, 0.2, 0.5, 0.8):
        allowed = 3.5 * math.sqrt(level * (1 - level) / len(found))
        assert np.mean(found <= level) == pytest.approx(level, abs=allowed)


def test_draws_that_are_not_independent_would_be_seen():
    assert np.mean(p_values(40, shared=True) <= 0.5) < 0.2


def test_the_level_is_shared_by_all_arms_and_tests():
    assert law_level(0.025, 1) == 0.0125
    assert law_level(0.025, 5) * 5 * 2 == pytest.approx(0.025)
    assert law_level(0.025, 0) == 0.0125


def test_further_clean_arms_leave_the_chance_of_a_false_accusation_where_it_was():
    asked, broken = battery(), Drawn([549, 276, 175], [0.5, 0.3, 0.2])
    base = Arm(name="t", role=Role.BASELINE, answers=drawn(asked, "t", 0.9, 1), speculative=False,
               rescorer=lambda: None)  # fmt: skip

    def arm(name, seed, role=Role.NOISE, law=None):
        said = None if role is Role.NOISE else COUNTED
        return Arm(name=name, role=role, answers=drawn(asked, name, 0.9, seed, said), law=law,
                   speculative=role is not Role.NOISE, rescorer=lambda: None)  # fmt: skip

    def state(repeats):
        candidate = arm("d", 2, Role.CANDIDATE, lambda: Law([broken], greedy_clean=True))
        others = [candidate, *(arm(f"n{k}", 10 + k) for k in range(repeats))]
        found = judge_arms(asked, base, others, label=score, rule=Decision(margin=0.15),
                           context=ScreenContext(name="test", temperature=0.8))  # fmt: skip
        (found,) = found.candidates
        assert law_level(0.025, 3) < found.distribution.law_p < law_level(0.025, 1)
        return found.state

    assert state(0) is State.FAIL
    assert state(2) is not State.FAIL


def test_an_arm_that_changes_answers_on_purpose_has_a_law_of_its_own():
    asked = battery()
    base = Arm(name="t", role=Role.BASELINE, answers=drawn(asked, "t", 0.5, 1), speculative=False,
               rescorer=lambda: None)  # fmt: skip
    safer = Arm(name="s", role=Role.CANDIDATE, answers=drawn(asked, "s", 0.95, 2, COUNTED),
                speculative=True, rescorer=lambda: None, lossy=True,
                law=lambda: pytest.fail("it promises no law"))  # fmt: skip
    found = judge_arms(asked, base, [safer], label=score, rule=Decision(margin=0.15),
                  context=ScreenContext(name="test", temperature=0.8)).candidates[0]  # fmt: skip
    assert found.state is State.PASS
    assert "superior" in [r.code for r in found.reasons]
