"""Naming a fault: a pure function of what was found, on evidence made by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.records import Cause
from draftproof.screen.faults import Trace, name_cause, name_law_break

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
