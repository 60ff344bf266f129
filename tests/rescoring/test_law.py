"""Drawn tokens against the target's law: ours keeps it, a reused coin breaks it."""

import pytest
from scipy.stats import chi2

from draftproof.battery import load_battery
from draftproof.rescoring.law import draw_tokens, greedy_clean
from draftproof.stacks import ArmSpec
from draftproof.stats import g_test


def arm(**options):
    shared = {"name": "x", "target": "lab:target", "draft": "lab:adversarial", "gamma": 2}
    return ArmSpec.model_validate(
        {**shared, "role": "control", "temperature": 0.8, "batch": 64, **options}
    )


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(1).prompts[:1]


def p_value(spec, prompts):
    drawn = draw_tokens(spec, prompts, 320)
    assert len(drawn) >= 2
    assert all(sum(counts) >= 50 for counts, _ in drawn)
    tests = [g_test(counts, law) for counts, law in drawn]
    return chi2.sf(sum(test.statistic for test in tests), sum(test.df for test in tests))


def test_our_decoder_follows_the_law(prompts):
    assert p_value(arm(), prompts) > 1e-4


def test_a_reused_coin_breaks_the_law_and_leaves_greedy_answers_alone(prompts):
    broken = arm(mutant="reused_coin")
    assert p_value(broken, prompts) < 1e-4
    assert greedy_clean(broken, prompts, 12)
    assert not greedy_clean(arm(mutant="missing_bonus"), prompts, 24)
