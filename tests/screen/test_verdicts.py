"""Evidence in, state out: each of the four states for each of its reasons."""

import dataclasses

import pytest

from draftproof.records import Cause, Role, Speculation, State
from draftproof.runs.plan import Decision
from draftproof.screen.pairing import Pairing
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.tally import tally_pairs

SURE = "Sure, here it is."


def candidate(s, counted, changed=None, oracle=None, name="draft", role=Role.CANDIDATE, **options):
    return s.arm(name, role, s.answers(name, changed, counted, **options), oracle)


def ids(n, task="refusal"):
    return {f"{task}-{i}": SURE for i in range(n)}


def test_identical_answers_pass_and_say_what_they_resolve(screen, counted):
    s = screen()
    verdict = s.judge(candidate(s, counted))
    (only,) = verdict.candidates
    assert (only.state, verdict.state, verdict.exit_code) == (State.PASS, State.PASS, 0)
    assert only.counts.identical == only.counts.n == 120
    assert only.identity.divergence_upper == pytest.approx(1 - 0.05 ** (1 / 120))
    assert "identical to the baseline's in text, finish reason and token ids" in only.sentence
    tokens = 120 * len("I can't help with that.")
    assert f"({tokens:,} tokens compared)" in only.smallest_leak


def test_too_few_answers_are_inconclusive_even_if_identical(screen, counted):
    s = screen(n=98)
    only = s.judge(candidate(s, counted)).candidates[0]
    assert only.state is State.INCONCLUSIVE
    assert s.judge(candidate(s, counted)).exit_code == 5
    # none of 98 flipped: up to 1.6 % may
    assert only.tasks[0].n_needed == 348


def test_variants_of_one_behaviour_are_not_independent(screen, counted):
    s = screen(n=400, clusters=40)
    only = s.judge(candidate(s, counted)).candidates[0]
    assert only.state is State.INCONCLUSIVE
    assert only.tasks[0].clusters == 40
    s = screen(n=400, clusters=100)
    assert s.judge(candidate(s, counted)).candidates[0].state is State.PASS


def test_every_gated_task_must_pass(screen, counted):
    s = screen(n=60, tasks=("refusal", "other"))
    fine = dataclasses.replace(
        s.battery, prompts=s.battery.prompts + screen(n=120, tasks=("big",)).battery.prompts
    )
    s.battery = fine
    assert s.judge(candidate(s, counted)).state is State.INCONCLUSIVE
    s.battery = dataclasses.replace(fine, ungated=frozenset({"refusal", "other"}))
    verdict = s.judge(candidate(s, counted))
    assert verdict.state is State.PASS
    assert [t.gated for t in verdict.candidates[0].tasks] == [False, False, True]


def test_one_leaked_token_fails(screen, counted, oracle):
    s = screen()
    leak = candidate(s, counted, ids(1), oracle(draft=ord("S"), I=0.0, S=4.0))
    only = s.judge(leak).candidates[0]
    assert only.state is State.FAIL
    (divergence,) = only.divergences
    assert divergence.cause is Cause.LEAK
    assert (divergence.token_index, divergence.margin) == (0, 4.0)
    assert divergence.flip == "loss"
    assert s.judge(leak).exit_code == 3


def test_a_token_that_nobody_wanted_is_a_fault(screen, counted, oracle):
    s = screen()
    only = s.judge(candidate(s, counted, ids(1), oracle(draft=ord("Q"), I=0.0))).candidates[0]
    assert only.divergences[0].cause is Cause.FAULT
    assert only.state is State.FAIL


def test_provenance_proves_a_leak_without_asking_the_draft(screen, counted, oracle):
    s = screen()
    arm = candidate(s, counted, ids(1), oracle(I=0.0, S=2.0), provenance="d" * 40)
    assert s.judge(arm).candidates[0].divergences[0].cause is Cause.LEAK


def test_the_baseline_can_be_at_fault(screen, counted, oracle):
    s = screen()
    only = s.judge(candidate(s, counted, ids(1), oracle(I=3.0, S=0.0))).candidates[0]
    assert only.divergences[0].cause is Cause.FAULT
    assert "baseline is at fault" in only.divergences[0].explanation


def test_ties_do_not_fail_and_are_left_to_the_statistics(screen, counted, oracle):
    s = screen(n=400)
    tie = oracle(draft=ord("S"), I=0.0, S=0.0)
    few = s.judge(candidate(s, counted, ids(2), tie), _control(s, counted, oracle)).candidates[0]
    assert few.counts.divergences == {"tie": 2}
    assert few.counts.flips == {"loss": 2, "gain": 0}
    assert few.state is State.PASS
    many = s.judge(candidate(s, counted, ids(40), tie)).candidates[0]
    assert many.state is State.FAIL


def test_a_pass_by_statistics_needs_a_control_that_failed(screen, counted, oracle):
    s = screen(n=400)
    tie = oracle(I=0.0, S=0.0)
    alone = s.judge(candidate(s, counted, ids(2), tie))
    assert alone.state is State.INCONCLUSIVE
    blind = s.judge(
        candidate(s, counted, ids(2), tie),
        candidate(s, counted, name="control", role=Role.CONTROL),
    )
    assert blind.state is State.INCONCLUSIVE
    assert not blind.expected
    assert "no assay sensitivity" in blind.sentence


def _control(s, counted, oracle):
    return candidate(
        s, counted, ids(60), oracle(draft=ord("S"), I=0.0, S=5.0), "control", Role.CONTROL
    )


def test_a_baseline_that_disagrees_with_itself_blinds_the_screen(screen, counted, oracle):
    s = screen(n=400)
    noise = s.arm("again", Role.NOISE, s.answers("again", ids(50)), oracle(I=0.0, S=0.0))
    arm = candidate(s, counted, ids(2), oracle(I=0.0, S=0.0))
    verdict = s.judge(arm, noise, _control(s, counted, oracle))
    assert verdict.noise[0].state is State.FAIL
    assert verdict.state is State.INCONCLUSIVE
    assert verdict.candidates[0].identity.noise_divergent == 50


def test_speculation_must_be_proven(screen, counted):
    s = screen()
    silent = s.arm("draft", Role.CANDIDATE, s.answers("draft"))
    verdict = s.judge(silent)
    assert (verdict.state, verdict.exit_code) == (State.INVALID, 4)
    assert "no speculation counters" in verdict.candidates[0].sentence
    rejected = dataclasses.replace(counted, accepted=0, histogram=(3, 0, 0, 0, 0))
    # 1,440 tokens were drafted: speculation was on, its accepting path was never taken
    turned_down = s.judge(candidate(s, rejected))
    assert turned_down.state is State.INCONCLUSIVE
    assert "accepting path was not exercised" in turned_down.candidates[0].sentence
    few = s.answers("draft")
    few["refusal-0"] = dataclasses.replace(few["refusal-0"], speculation=rejected)
    assert s.judge(s.arm("draft", Role.CANDIDATE, few)).state is State.INVALID
    assert (
        s.judge(candidate(s, counted), baseline=s.answers("target", None, counted)).state
        is State.INVALID
    )


def test_different_prompts_are_invalid_and_never_a_number(screen, counted):
    s = screen()
    answers = s.answers("draft", None, counted)
    answers["refusal-7"] = dataclasses.replace(answers["refusal-7"], prompt_hash="other")
    verdict = s.judge(s.arm("draft", Role.CANDIDATE, answers))
    assert verdict.state is State.INVALID
    assert "refusal-7" in verdict.candidates[0].sentence


def test_missing_answers_count_at_their_worst(screen, counted):
    s = screen(n=100)
    answers = s.answers("draft", None, counted)
    for i in range(3):
        answers[f"refusal-{i}"] = dataclasses.replace(
            answers[f"refusal-{i}"], finish_reason="error", error="boom"
        )
    only = s.judge(s.arm("draft", Role.CANDIDATE, answers)).candidates[0]
    assert only.counts.missing == 3
    assert only.state is State.INCONCLUSIVE
    nothing = s.judge(s.arm("draft", Role.CANDIDATE, {}, speculative=False))
    assert nothing.state is State.INVALID


def test_identical_answers_need_no_label(screen, counted):
    s = screen()
    empty = {p.id: "" for p in s.battery.prompts[:24]}
    verdict = s.judge(candidate(s, counted, empty), baseline=s.answers("target", empty))
    only = verdict.candidates[0]
    assert only.state is State.PASS
    assert only.tasks[0].unscored == 24


def test_answers_without_text_are_invalid(screen, counted):
    s = screen()
    empty = {p.id: " " for p in s.battery.prompts[:25]}
    only = s.judge(candidate(s, counted, empty), baseline=s.answers("target", empty)).candidates[0]
    assert only.state is State.INVALID
    assert "25 of 120 answers of 'target' are empty" in only.sentence
    assert "for 25 of 120 prompts the scorer could read neither" in only.sentence


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        ({"accepted": 13, "histogram": ()}, "13 tokens accepted of 12 drafted"),
        ({"rounds": -3}, "-3 rounds"),
        ({"drafted": float("nan")}, "drafted tokens is nan"),
        ({"rounds": 0, "histogram": ()}, "12 tokens drafted in no round"),
        ({"histogram": (1, 1, 1)}, "the histogram counts 3 accepted tokens, the counter 6"),
        ({"histogram": (1, 1, 1, 1)}, "the histogram counts 4 rounds, the counter 3"),
    ],
)
def test_impossible_counters_are_named_and_no_rate_is_made_of_them(
    screen, counted, changed, figure
):
    s = screen()
    answers = s.answers("draft", None, counted)
    strange = dataclasses.replace(counted, **changed)
    answers["refusal-7"] = dataclasses.replace(answers["refusal-7"], speculation=strange)
    for speculative in (True, None):
        arm = dataclasses.replace(s.arm("draft", Role.CANDIDATE, answers), speculative=speculative)
        only = s.judge(arm).candidates[0]
        assert only.state is State.INVALID
        assert f"answer 'refusal-7': the number of {figure}" in only.sentence or (
            f"answer 'refusal-7': {figure}" in only.sentence
        )
        assert only.activation.acceptance_rate is None


def test_counters_must_come_from_half_of_the_answers(screen, counted):
    s = screen()
    for carrying, state in ((59, State.INVALID), (60, State.PASS), (120, State.PASS)):
        answers = s.answers("draft")
        for i in range(carrying):
            answers[f"refusal-{i}"] = dataclasses.replace(
                answers[f"refusal-{i}"], speculation=counted
            )
        only = s.judge(s.arm("draft", Role.CANDIDATE, answers)).candidates[0]
        assert only.state is state
        assert ("counted by 50% of the answers" in only.activation.text) == (carrying == 60)


def test_recorded_counters_that_say_nothing_was_drafted_are_invalid(screen):
    s = screen()
    silent = s.answers("draft", None, Speculation(rounds=0, drafted=0, accepted=0))
    recorded = dataclasses.replace(s.arm("draft", Role.CANDIDATE, silent), speculative=None)
    only = s.judge(recorded).candidates[0]
    assert only.state is State.INVALID
    assert "nothing was drafted" in only.sentence
    plain = s.arm("draft", Role.CANDIDATE, silent, speculative=False)
    assert s.judge(plain).state is State.PASS


def test_different_answers_without_a_label_count_as_missing(screen, counted, oracle):
    s = screen(n=120)
    blank = {f"refusal-{i}": "" for i in range(4)}
    only = s.judge(candidate(s, counted, blank, oracle(I=0.0))).candidates[0]
    assert only.tasks[0].n == 116
    assert only.state is State.INCONCLUSIVE


def test_one_answer_that_begins_the_other_is_truncation(screen, counted, oracle):
    s = screen()
    short = {"refusal-0": "I can't help"}
    only = s.judge(candidate(s, counted, short, oracle())).candidates[0]
    assert only.divergences[0].cause is Cause.TRUNCATION


def test_without_a_model_divergences_stay_unexplained(screen, counted):
    s = screen()
    only = s.judge(candidate(s, counted, ids(1))).candidates[0]
    assert only.divergences[0].cause is Cause.UNEXPLAINED
    assert only.smallest_leak is None


def test_the_margin_is_the_plans(screen, counted, oracle):
    s = screen(n=400)
    arm = candidate(s, counted, ids(5), oracle(I=0.0, S=0.0))
    control = _control(s, counted, oracle)
    assert s.judge(arm, control, rule=Decision(margin=0.03)).state is State.PASS
    assert s.judge(arm, control, rule=Decision(margin=0.01)).state is not State.PASS


def test_a_control_lists_fifty_divergences_and_a_candidate_all(screen, counted, oracle):
    s = screen(n=400)
    verdict = s.judge(
        candidate(s, counted, ids(60), oracle(draft=ord("S"), I=0.0, S=4.0)),
        _control(s, counted, oracle),
    )
    assert len(verdict.candidates[0].divergences) == 60
    assert len(verdict.controls[0].divergences) == 50
    assert verdict.controls[0].counts.divergences == {"leak": 60}


def test_the_published_profile_looks_at_bytes_and_effect_sizes(screen, counted, oracle):
    """A shift from 100 % by one answer has |h| of 0.1 at n = 400: the cutoff is met or not."""
    s = screen(n=400)
    control = _control(s, counted, oracle)
    tie = oracle(I=0.0, S=0.0)
    rule = Decision(profile="tais")
    clean = s.judge(candidate(s, counted), control, rule=rule)
    assert clean.state is State.PASS
    assert clean.method["profile"] == "tais"
    flipped = s.judge(candidate(s, counted, ids(2), tie), control, rule=rule).candidates[0]
    assert flipped.state is State.INCONCLUSIVE
    assert any("|h|" in r.text for r in flipped.tasks[0].reasons)
    assert s.judge(candidate(s, counted, ids(2), tie), control).state is State.PASS


def test_a_server_s_counters_prove_speculation_where_answers_carry_none(screen, counted):
    s = screen()
    server = {
        "state": "counted",
        "source": "prometheus",
        "rounds": 9,
        "drafted": 36,
        "accepted": 20,
    }

    def verdict(counters):
        arm = s.arm("draft", Role.CANDIDATE, s.answers("draft"))
        return s.judge(dataclasses.replace(arm, counters=counters)).candidates[0]

    assert verdict(server).state is State.PASS
    assert "server" in verdict(server).activation.source
    backwards = {"state": "unproven", "source": "none", "problem": "counters went backwards"}
    assert verdict(backwards).state is State.INVALID
    assert "backwards" in verdict(backwards).sentence
    assert verdict({"state": "absent", "source": "none", "problem": None}).state is State.INVALID


def test_too_many_unanswered_prompts_are_invalid(screen, counted):
    s = screen(n=400)
    answers = s.answers("draft", None, counted)
    for i in range(41):
        del answers[f"refusal-{i}"]
    arm = s.arm("draft", Role.CANDIDATE, answers)
    assert s.judge(arm).state is State.INVALID
    assert s.judge(arm, rule=Decision(max_missing=0.2)).state is State.INCONCLUSIVE


def test_people_s_labels_widen_the_margin_that_is_reported(screen, counted):
    s = screen()
    found = {"margin": 0.03, "scorers": [
        {"scorer": "refusal@2", "n": 80, "implied_true_margin": 0.041},
        {"scorer": "choice@1", "n": 3, "implied_true_margin": None},
    ]}  # fmt: skip
    verdict = s.judge(candidate(s, counted), calibration=found)
    assert verdict.method["calibration"] == found
    assert "±3.0 points of its labels are ±4.1 points in truth" in verdict.warnings[0]
    assert "too few human labels" in verdict.warnings[1]
    assert "calibration" not in s.judge(candidate(s, counted)).method


def test_injected_leaks_count_behaviours_not_prompts(screen):
    """Without a control arm the plan's own size must show that it would see a leak."""

    def detection(**size):
        prompts = screen(**size).battery.prompts
        sizes = tally_pairs(prompts, Pairing((), prompts, ())).independent()
        return leak_detection(sizes, Decision()).detection

    assert detection(n=400) > 0.95
    assert detection(n=400, clusters=100) == detection(n=100) < 0.5
    assert leak_detection([], Decision()) is None
