"""Naming a fault: a pure function of what was found, on evidence made by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.records import Cause, Completion, Divergence, Message, Pair, Prompt
from draftproof.screen.faults import Trace, find_fault, name_cause, name_law_break
from draftproof.screen.forensics import Explanation

NO_MARK = ("processor_off_by_one", "missing_bonus", "stale_kv", "wrong_position")
TRIED = frozenset({*NO_MARK, "missing_draft", "stop_across_block", "lenient_accept"})
FAULT = Trace(cause=Cause.FAULT, kept=7, rejected=3, draft_token=5, provenance="c", following=9)
LEAK = replace(FAULT, cause=Cause.LEAK, draft_token=7, provenance="d")


@pytest.mark.parametrize("name", NO_MARK)
def test_a_fault_without_a_mark_is_named_by_its_reproduction(name):
    traces = [replace(FAULT, reproduced=frozenset({name}), probed=TRIED)] * 5
    found = name_cause(traces)
    assert (found.name, found.explained, found.of, found.confidence) == (name, 5, 5, "high")
    assert name_cause([FAULT] * 5) is None


def test_kept_drafts_are_lenience_whatever_the_rule():
    assert name_cause([LEAK] * 4).name == "lenient_accept"
    assert name_cause([replace(LEAK, probed=TRIED)] * 4).name == "lenient_accept"
    unknown = replace(LEAK, provenance=None)
    assert name_cause([unknown] * 4).name == "lenient_accept"


def test_drafts_that_a_planted_fault_reproduces_are_that_fault():
    stale = frozenset({"stale_kv"})
    traces = [replace(LEAK, reproduced=stale, probed=TRIED)] * 2
    traces += [replace(FAULT, reproduced=stale, probed=TRIED)] * 3
    found = name_cause(traces)
    assert found.name == "stale_kv"
    assert found.confidence == "high"


def test_a_skipped_token_and_a_passed_end_have_marks_of_their_own():
    assert name_cause([replace(FAULT, kept=9)] * 3).name == "missing_draft"
    # tried and not reproduced: the mark alone is no explanation then
    assert name_cause([replace(FAULT, kept=9, probed=TRIED)] * 3) is None
    passed = Trace(cause=Cause.FAULT, stop_inside=True)
    assert name_cause([passed] * 3).name == "stop_across_block"


def test_most_of_the_divergences_must_be_explained():
    assert name_cause([LEAK] * 3 + [FAULT]).confidence == "medium"
    assert name_cause([LEAK] * 2 + [FAULT]) is None
    assert name_cause([LEAK]).confidence == "low"


def test_ties_are_no_evidence():
    ties = [replace(LEAK, cause=Cause.TIE)] * 50
    assert name_cause(ties) is None
    assert name_cause([*ties, LEAK, LEAK, LEAK]).of == 3


def test_two_faults_that_explain_alike_are_not_told_apart_with_confidence():
    both = frozenset({"stale_kv", "wrong_position"})
    assert name_cause([replace(FAULT, reproduced=both, probed=TRIED)] * 5).confidence == "medium"


@given(st.lists(st.sampled_from([LEAK, FAULT, replace(FAULT, kept=9)]), max_size=12), st.randoms())
def test_the_order_of_the_divergences_means_nothing(traces, random):
    shuffled = list(traces)
    random.shuffle(shuffled)
    assert name_cause(traces) == name_cause(shuffled)


def test_a_broken_law_behind_right_greedy_answers_is_a_reused_coin():
    assert name_law_break(greedy_clean=True, law_p=1e-6, alpha=0.01).name == "reused_coin"
    assert name_law_break(greedy_clean=False, law_p=1e-6, alpha=0.01) is None
    assert name_law_break(greedy_clean=True, law_p=0.4, alpha=0.01) is None


class Planted:
    """A replayer whose answers equal an arm's under one fault only."""

    faults: tuple[str, ...] = (
        "lenient_accept",
        "missing_bonus",
        "missing_draft",
        "stale_kv",
        "wrong_position",
    )

    def __init__(self, fault, pairs):
        self.fault, self.asked = fault, []
        self.answers = {p.prompt: p.candidate.token_ids for p in pairs}

    def __call__(self, fault, prompts, tokens):
        self.asked.append((fault, len(prompts), tokens))
        right = fault == self.fault
        return [self.answers[p][:tokens] if right else (0,) for p in prompts]


def parted(n, cause, index=2, length=12, provenance="c"):
    """Pairs that part at `index`, with what was found of each."""
    pairs, found = [], []
    for k in range(n):
        prompt = Prompt(id=str(k), task="t", messages=(Message("user", str(k)),))
        same = {"id": prompt.id, "text": "x", "finish_reason": "length"}
        plain = Completion(arm="a", token_ids=tuple(range(length)), **same)
        other = Completion(arm="b", token_ids=(*range(index), *[99] * (length - index)), **same)
        pairs.append(Pair(prompt=prompt, baseline=plain, candidate=other))
        found.append(Explanation(Divergence(
            id=prompt.id, task="t", cause=cause, explanation="", token_index=index, char_index=0,
            baseline_text="", candidate_text="", provenance=provenance,
        )))  # fmt: skip
    return pairs, found


def test_divergences_that_kept_drafts_explain_are_not_replayed():
    pairs, found = parted(9, Cause.LEAK, provenance="d")
    search = find_fault(found, pairs, lambda: pytest.fail("nothing is left to explain"))
    assert search.cause.name == "lenient_accept"
    assert search.left_out == ()


def test_the_search_ends_at_the_first_fault_that_explains():
    pairs, found = parted(6, Cause.FAULT)
    planted = Planted("stale_kv", pairs)
    search = find_fault(found, pairs, lambda: planted)
    assert search.cause.name == "stale_kv"
    tried = [fault for fault, _, _ in planted.asked]
    assert tried[-1] == "stale_kv"
    assert "wrong_position" not in tried, "less likely"
    assert {tokens for _, _, tokens in planted.asked} == {7}, "no further than needed"


def test_early_divergences_are_replayed_and_a_fault_nobody_knows_has_no_name():
    late, found_late = parted(12, Cause.FAULT, index=90, length=100)
    pairs, found = parted(12, Cause.FAULT, index=1)
    late = [replace(p, prompt=replace(p.prompt, id=f"late {p.prompt.id}")) for p in late]
    found_late = [replace(f, divergence=replace(f.divergence, id=f"late {f.divergence.id}"))
                  for f in found_late]  # fmt: skip
    planted = Planted("none", [*late, *pairs])
    assert find_fault([*found_late, *found], [*late, *pairs], lambda: planted).cause is None
    assert {(count, tokens) for _, count, tokens in planted.asked} == {(12, 6)}
    assert len(planted.asked) == len(Planted.faults)


def test_replays_cost_a_quarter_of_the_answers_and_say_what_was_left_out():
    pairs, found = parted(24, Cause.FAULT, index=80, length=100)
    planted = Planted("lenient_accept", pairs)
    search = find_fault(found, pairs, lambda: planted)
    spent = sum(count * tokens for _, count, tokens in planted.asked)
    assert 0 < spent <= 4096, "a quarter of 24 answers of 100 tokens is less than the least budget"
    assert search.left_out == ("lenient_accept",)
    assert search.cause is None
