"""Drafters without trained heads: what they propose, and that nothing else changes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import (
    DRAFTERS,
    DraftModel,
    EarlyExit,
    Parts,
    PromptLookup,
    Replay,
    SyntheticDrafter,
    make_drafter,
)
from draftproof.decoding.drafters.lookup import PRESETS, NGrams
from draftproof.decoding.rules import SafetyAware
from draftproof.records import DraftproofError

EOS = {0}


def requests(count=12, new=24, vocab=29):
    generator = torch.Generator().manual_seed(7)
    out = []
    for i in range(count):
        length = 1 + int(torch.randint(1, 40, (1,), generator=generator))
        ids = torch.randint(1, vocab, (length,), generator=generator).tolist()
        out.append(Request(id=str(i), prompt=tuple(ids), max_new_tokens=new, seed=i))
    return out


def run(target, drafter=None, asked=None, eos=EOS, **options):
    asked = asked or requests()
    return {a.id: a for a in decode(target, asked, Settings(eos=eos, drafter=drafter, **options))}


def tokens(answers):
    return {k: a.tokens for k, a in answers.items()}


def recorded(target, asked=None, eos=EOS):
    asked = asked or requests()
    plain = run(target, asked=asked, eos=eos)
    return {r.prompt: plain[r.id].tokens for r in asked}


def every_kind(target, draft):
    """One drafter of every kind that needs no training; new ones each time."""
    plain = recorded(target)
    noisy = {p: [t if i % 3 else 5 for i, t in enumerate(ids)] for p, ids in plain.items()}
    return {
        "confidence": DraftModel(draft, 5, confidence=0.5),
        "adaptive": DraftModel(draft, 6, adaptive=True),
        "both": DraftModel(draft, 6, adaptive=True, confidence=0.4),
        "lookup": PromptLookup(4),
        "early exit": EarlyExit(target, 3, layers=1),
        "replay": Replay(noisy, 4),
        "synthetic": SyntheticDrafter(plain, 4, alpha=0.7, vocabulary=29, cost=draft),
    }


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    "kind", ["confidence", "adaptive", "both", "lookup", "early exit", "replay", "synthetic"]
)
def test_every_drafter_writes_what_plain_decoding_writes(target, draft, kind, batch):
    plain = run(target)
    fast = run(target, every_kind(target, draft)[kind], batch=batch)
    assert tokens(fast) == tokens(plain)
    assert sum(a.drafted for a in fast.values()) > 0


@pytest.mark.parametrize("kind", ["confidence", "adaptive", "lookup", "synthetic"])
def test_rows_do_not_feel_their_batch_mates(target, draft, kind):
    """Not in what is said, nor in what is drafted for them."""
    asked = requests(10)
    seen = []
    for order in (asked, asked[::-1]):
        answers = run(target, every_kind(target, draft)[kind], asked=order, batch=4, capacity=96)
        seen.append({k: (a.tokens, a.drafted, a.histogram) for k, a in answers.items()})
    assert seen[0] == seen[1]


def test_a_lookup_keeps_the_law_of_the_target(keeps_the_law):
    class Repeats(PromptLookup):
        """Every prompt gets a few words to look up."""

        def admit(self, row, ids, states=None):
            super().admit(row, ids, states)
            self._rows[row]._ends |= {(t,): 0 for t in range(29)}

    assert keeps_the_law(Repeats(2, longest=1))


def search(text, longest, shortest, count, latest):
    """The definition, without an index: specs of prompt lookup as other stacks write it."""
    for n in range(longest, shortest - 1, -1):
        if n > len(text):
            continue
        starts = range(len(text) - n)
        for s in reversed(starts) if latest else starts:
            if text[s : s + n] == text[-n:]:
                return text[s + n : s + n + count]
    return []


@given(
    text=st.lists(st.integers(0, 3), max_size=40),
    cut=st.integers(0, 40),
    shortest=st.integers(1, 3),
    more=st.integers(0, 3),
    latest=st.booleans(),
)
def test_the_index_finds_what_a_search_finds(text, cut, shortest, more, latest):
    grams = NGrams(shortest + more, shortest, latest)
    for part in (text[:cut], text[cut:]):
        grams.extend(part)
        for count in (1, 4):
            assert grams.continuation(count) == search(
                grams.text, shortest + more, shortest, count, latest
            )


def test_presets_say_what_the_other_stacks_do():
    text = [1, 2, 3, 1, 2, 4, 9, 1, 2]
    found = {}
    for name, preset in PRESETS.items():
        grams = NGrams(preset["longest"], preset["shortest"], preset["match"] == "latest")
        grams.extend(text)
        found[name] = grams.continuation(3)
    assert found == {"transformers": [3, 1, 2], "vllm": [], "llama.cpp": []}
    words = list(range(12))
    repeated = [*words, 40, *words, 41, *words]
    grams = NGrams(12, 12, latest=True)
    grams.extend(repeated)
    assert grams.continuation(2) == [41, 0]
    with pytest.raises(ValueError, match="no preset is called 'mlx'"):
        PromptLookup.like("mlx", 4)


def test_a_lookup_forgets_between_requests(target):
    drafter = PromptLookup(4, longest=2)
    run(target, drafter, asked=requests(3), batch=1)
    before = len(drafter._rows[0].text)
    drafter.admit(0, (5, 6, 7))
    assert drafter._rows[0].text == [5, 6, 7] != before
    assert drafter._rows[0].continuation(4) == []


def test_a_true_recording_is_accepted_wholly_and_an_empty_one_not_used(target):
    asked = requests()
    right = run(target, Replay(recorded(target), 4), asked=asked, batch=5)
    for answer in right.values():
        assert answer.accepted == answer.drafted
        assert answer.rounds + answer.provenance.count("p") == -(-len(answer.tokens) // 5)
    empty = run(target, Replay({r.prompt: () for r in asked}, 4), asked=asked, batch=5)
    assert {x for a in empty.values() for x in a.provenance} == {"p"}
    with pytest.raises(DraftproofError, match="no draft was recorded for the prompt of"):
        run(target, Replay({}, 4))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_a_synthetic_drafter_has_the_acceptance_it_was_given(target, alpha):
    asked = requests(40, 60)
    gamma = 4
    drafter = SyntheticDrafter(recorded(target, asked, eos=()), gamma, alpha=alpha, vocabulary=29)
    answers = run(target, drafter, asked=asked, eos=(), batch=8).values()
    rounds = sum(a.rounds for a in answers)
    expected = sum(alpha**k for k in range(1, gamma + 1))
    measured = sum(a.accepted for a in answers) / rounds
    assert measured == pytest.approx(expected, abs=6 * (gamma / rounds) ** 0.5)
    if alpha in {0.0, 1.0}:
        assert measured == pytest.approx(expected, abs=0.2)


def test_a_synthetic_drafter_is_seeded_and_runs_its_cost(target, draft):
    plain, calls = recorded(target), []
    real = draft.forward_with_states

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    draft.forward_with_states = counted
    try:
        costly = run(target, SyntheticDrafter(plain, 3, alpha=0.6, vocabulary=29, cost=draft))
    finally:
        del draft.forward_with_states
    free = run(target, SyntheticDrafter(plain, 3, alpha=0.6, vocabulary=29))
    other = run(target, SyntheticDrafter(plain, 3, alpha=0.6, vocabulary=29, seed=1))
    histograms = [{k: a.histogram for k, a in x.items()} for x in (costly, free, other)]
    assert histograms[0] == histograms[1] != histograms[2]
    assert len(calls) >= 3 * sum(a.rounds for a in costly.values())


@pytest.mark.parametrize("lean", [True, False])
def test_early_exit_is_the_targets_own_first_layers(target, lean):
    """The draft's rows are the final norm and head on a middle layer of transformers' forward."""
    whole = type(target)(target.module, "target", lean=lean)
    draft = EarlyExit(whole, 3, layers=1).model
    ids = torch.tensor([[4, 8, 15, 16, 23]])
    cache = draft.new_cache(1, 8)
    ours = draft.forward(ids, torch.zeros(1, dtype=torch.int64), cache)
    with torch.inference_mode():
        middle = target.module(ids, output_hidden_states=True).hidden_states[1]
        theirs = target.module.lm_head(target.module.model.norm(middle))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert draft.layers == 1
    assert whole.layers == 2
    own = {id(p) for p in target.module.parameters()}
    assert {id(p) for p in draft.module.parameters()} < own
    with pytest.raises(ValueError, match="layers must lie in 1 to 1, got 2"):
        EarlyExit(whole, 3, layers=2)


def test_rules_that_need_the_drafts_rows_are_told_what_cannot_give_them(target, draft):
    for kind in ("lookup", "replay"):
        with pytest.raises(ValueError, match="needs the draft's distributions"):
            run(target, every_kind(target, draft)[kind], rule=SafetyAware())


def test_the_registry_knows_what_each_drafter_needs(target, draft):
    parts = Parts(target=target, gamma=3)
    for name, (_, needs) in DRAFTERS.items():
        if needs:
            with pytest.raises(ValueError, match=f"drafter '{name}' needs .*{needs[0]}"):
                make_drafter(name, parts)
    whole = Parts(target=target, gamma=3, draft=draft, recordings=recorded(target))
    plain = tokens(run(target))
    for name, options in {
        "draft_model": {"confidence": 0.2},
        "lookup": {"like": "transformers"},
        "early_exit": {"layers": 1},
        "replay": {},
        "synthetic": {"alpha": 0.5},
    }.items():
        assert tokens(run(target, make_drafter(name, whole, options))) == plain
    with pytest.raises(ValueError, match="no drafter is called 'oracle'; there are draft_model"):
        make_drafter("oracle", whole)
    with pytest.raises(ValueError, match=r"drafter 'lookup': there is no option 'width'"):
        make_drafter("lookup", whole, {"width": 3})
    with pytest.raises(ValueError, match="drafter 'lookup': like=vllm settles longest"):
        make_drafter("lookup", whole, {"like": "vllm", "longest": 3})
    with pytest.raises(ValueError, match="drafter 'synthetic': alpha must lie in"):
        make_drafter("synthetic", whole, {"alpha": 2})
    with pytest.raises(ValueError, match="drafter 'early_exit': layers must lie in 1 to 1"):
        make_drafter("early_exit", whole, {"layers": 9})
