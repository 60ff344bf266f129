"""How long a draft model's chains are: its confidence, and lengths that follow acceptance."""

import itertools

import pytest
import torch

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel

EOS = {0}


def requests(count=12, new=24, vocab=29):
    generator = torch.Generator().manual_seed(7)
    out = []
    for i in range(count):
        length = 1 + int(torch.randint(1, 40, (1,), generator=generator))
        ids = torch.randint(1, vocab, (length,), generator=generator).tolist()
        out.append(Request(id=str(i), prompt=tuple(ids), max_new_tokens=new, seed=i))
    return out


def run(target, drafter, asked=None, eos=EOS, **options):
    asked = asked or requests()
    return {a.id: a for a in decode(target, asked, Settings(eos=eos, drafter=drafter, **options))}


def lengths_of(drafter):
    """Record the length of every row's proposal."""
    seen = []
    real = drafter.propose

    def propose(ask):
        proposal = real(ask)
        size = proposal.tokens.shape[1]
        own = proposal.lengths or [size] * len(ask.texts)
        seen.append([None if t is None else n for n, t in zip(own, ask.texts, strict=True)])
        return proposal

    drafter.propose = propose
    return seen


def test_a_draft_that_is_sure_never_stops_and_one_that_is_not_stops_at_once(target, draft):
    for confidence, wanted in ((0.0, {4}), (1.0, {1})):
        drafter = DraftModel(draft, 4, confidence=confidence)
        seen = lengths_of(drafter)
        run(target, drafter, batch=3)
        assert {n for round_ in seen for n in round_ if n is not None} == wanted


def test_a_draft_stops_behind_the_first_token_it_doubts(target, draft):
    """Lengths against the draft's own probabilities, read with transformers' forward."""
    bar, gamma = 0.3, 5
    drafter = DraftModel(draft, gamma, confidence=bar)
    real, found = drafter.propose, set()

    def propose(ask):
        proposal = real(ask)
        for row, text in enumerate(ask.texts):
            if text is None:
                continue
            ids, length = list(text), proposal.lengths[row]
            for step in range(length):
                with torch.inference_mode():
                    p = draft.module(torch.tensor([ids])).logits[0, -1].softmax(0)
                token = int(proposal.tokens[row, step])
                assert token == int(p.argmax())
                last = step == length - 1
                assert (float(p[token]) < bar) == last or (last and length == gamma)
                ids.append(token)
            found.add(length)
        return proposal

    drafter.propose = propose
    run(target, drafter, asked=requests(6, 12), batch=2)
    assert len(found) > 2


def test_the_adaptive_length_follows_the_rule_and_each_request_begins_afresh(target):
    """A draft that is always right grows by 2 a round."""
    asked = requests(4, 40)
    drafter = DraftModel(target, 9, adaptive=True)
    seen = lengths_of(drafter)
    run(target, drafter, asked=asked, eos=(), batch=1)
    # γ / 2, then 2 more a round, and never above γ: four answers of 40 tokens
    assert [row[0] for row in seen[:4]] == [4, 6, 8, 9]
    assert sum(row == [4] for row in seen) == len(asked)


def test_the_adaptive_length_falls_when_drafts_are_rejected(target, stranger):
    asked = requests(3, 30)
    drafter = DraftModel(stranger, 8, adaptive=True)
    seen = lengths_of(drafter)
    answers = run(target, drafter, asked=asked, eos=(), batch=1)
    wanted, expected = [], 4
    for answer in (answers[r.id] for r in asked):
        expected, at = 4, 0
        while at < len(answer.tokens):
            wanted.append([expected])
            kept = len(list(itertools.takewhile(lambda x: x == "d", answer.provenance[at:])))
            kept = min(kept, expected)
            expected = min(expected + 2, 8) if kept == expected else max(expected - 1, 1)
            at += kept + 1
    assert seen == wanted
    assert min(seen) == [1]


@pytest.mark.parametrize(
    "options", [{"confidence": 0.4}, {"adaptive": True}, {"adaptive": True, "confidence": 0.2}]
)
def test_lengths_of_its_own_keep_the_law_of_the_target(keeps_the_law, draft, options):
    assert keeps_the_law(DraftModel(draft, 3, **options))
