"""Where answers part and why, from ids and from texts."""

from dataclasses import replace

import pytest

from draftproof.records import Cause, Completion, Message, Pair, Prompt
from draftproof.screen.forensics import explain
from draftproof.screen.locate import FirstDivergence, ResolvedCause, locate

PROMPT = Prompt(id="p", task="t", messages=(Message("user", "q"),))


def said(arm, text, ids=True, finish="stop", **options):
    tokens = tuple(ord(c) for c in text) if ids else None
    return Completion(arm=arm, id="p", text=text, finish_reason=finish, token_ids=tokens, **options)


def pair(before, after, **options):
    return Pair(prompt=PROMPT, baseline=said("a", before, **options),
                candidate=said("b", after, **options))  # fmt: skip


def one(p, tool):
    return explain([p], tool, 0.01)[0].divergence


def test_ids_that_part_are_located(oracle):
    (place,) = locate([pair("abc", "abd")], oracle())
    assert place == FirstDivergence((97, 98), ord("c"), ord("d"))
    assert place.index == 2


def test_different_prompts_are_a_matter_of_the_template(oracle):
    p = pair("abc", "abd")
    p = replace(p, baseline=replace(p.baseline, prompt_hash="x"),
                candidate=replace(p.candidate, prompt_hash="y"))  # fmt: skip
    assert one(p, oracle(c=0.0)).cause is Cause.TEMPLATE


def test_going_on_where_both_said_the_end_is_a_fault(oracle):
    found = one(pair("ab", "abc"), oracle())
    assert found.cause is Cause.FAULT
    assert "continues" in found.explanation
    cut = pair("ab", "abc", finish="length")
    assert one(cut, oracle()).cause is Cause.TRUNCATION
    assert one(pair("abc", "ab"), oracle()).cause is Cause.TRUNCATION


def test_text_alone_is_spelled_again_and_trusted_less(oracle):
    bare = pair("abc", "abd", ids=False)
    found = one(bare, oracle(draft=ord("d"), c=0.0, d=4.0))
    assert (found.cause, found.token_index, found.confidence) == (Cause.LEAK, 2, "medium")
    assert one(bare, oracle(c=0.0, d=0.001)).cause is Cause.TIE
    # provenance belongs to the tokens that were drawn, not to the spelling
    told = replace(bare, candidate=replace(bare.candidate, provenance="ddd"))
    assert one(told, oracle(c=0.0, d=4.0)).provenance is None


def test_a_baseline_that_is_not_the_target_s_choice_was_spelled_wrongly(oracle):
    found = one(pair("abc", "abd", ids=False), oracle(c=3.0, d=4.0, x=0.0))
    assert (found.cause, found.confidence) == (Cause.TOKENISATION, "none")


def test_a_text_that_also_begins_with_the_target_s_choice_is_left_open(oracle):
    tool = oracle(draft=ord("d"), c=0.0, d=4.0)
    tool.show = lambda token: {ord("c"): "d", ord("d"): "de"}.get(token, chr(token))
    assert one(pair("abc", "abd", ids=False), tool).cause is Cause.TOKENISATION


def test_an_end_that_the_target_would_not_have_said_cuts_an_answer(oracle):
    tool = oracle(draft=0, c=0.0, **{"\0": 5.0})
    tool.tokenise = lambda answers: [
        tuple(ord(c) for c in a.text) + ((0,) if a.finish_reason == "stop" else ())
        for _, a in answers
    ]
    assert one(pair("abc", "ab", ids=False), tool).cause is Cause.TRUNCATION
    willing = oracle(draft=ord("c"), c=5.0, **{"\0": 0.0})
    willing.tokenise = tool.tokenise
    # the target would have ended there, and the draft's token was kept instead
    assert one(pair("ab", "abc", ids=False), willing).cause is Cause.LEAK


def test_what_the_tokenizer_cannot_spell_is_not_explained(oracle):
    tool = oracle(c=0.0)
    tool.tokenise = lambda answers: [None for _ in answers]
    (place,) = locate([pair("abc", "abd", ids=False)], tool)
    assert isinstance(place, ResolvedCause)
    assert place.cause is Cause.TOKENISATION


def test_nobody_to_ask_leaves_it_open():
    assert one(pair("abc", "abd"), None).cause is Cause.UNEXPLAINED
    assert one(pair("abc", "abd", ids=False), None).cause is Cause.UNEXPLAINED
    assert one(pair("ab", "abd", ids=False), None).cause is Cause.TRUNCATION


def test_both_margins_and_ranks_are_kept(oracle):
    found = one(pair("abc", "abd"), oracle(draft=ord("d"), c=0.0, d=4.0))
    assert (found.margins, found.baseline_margins) == ((4.0, 4.0), (0.0, 0.0))
    assert (found.baseline_rank, found.candidate_rank) == (0, 1)
    assert found.confidence == "high"


@pytest.mark.parametrize(("margin", "confidence"), [(0.012, "low"), (0.5, "high")])
def test_near_the_bound_nothing_is_sure(oracle, margin, confidence):
    found = one(pair("abc", "abd"), oracle(draft=ord("d"), c=0.0, d=margin))
    assert (found.cause, found.confidence) == (Cause.LEAK, confidence)


def test_a_divergence_without_a_pair_is_nothing():
    assert explain([], None) == []
