"""The draft model's trees in the loop: the same text, the same law."""

import itertools

import pytest
import torch

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import Ask
from draftproof.decoding.drafters.draft_tree import DraftTree
from draftproof.decoding.rules import Typical
from draftproof.decoding.trees import chain, static_tree

EOS = {0}
SHAPES = {
    "chain": chain(3),
    "pair": (-1, 0, 0),
    "star": (-1, 0, 0, 0, 0),
    "bush": (-1, 0, 0, 0, 1, 1, 2, 4, 4, 5),
    "pop order": (-1, 0, 1, 0, 2, 1, 3, 4),
    "deep on the younger": (-1, 0, 0, 2, 3, 3),
}


def requests(count=10, new=24, vocab=29):
    generator = torch.Generator().manual_seed(7)
    out = []
    for i in range(count):
        length = 1 + int(torch.randint(1, 40, (1,), generator=generator)) * (i > 0)
        ids = torch.randint(1, vocab, (length,), generator=generator).tolist()
        out.append(Request(id=str(i), prompt=tuple(ids), max_new_tokens=new, seed=i))
    return out


def texts(target, **options):
    asked = options.pop("asked", None) or requests()
    return {a.id: a.tokens for a in decode(target, asked, Settings(eos=EOS, **options))}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_tree_writes_what_plain_decoding_writes(target, draft, shape, batch):
    drafter = DraftTree(draft, SHAPES[shape])
    assert texts(target, drafter=drafter, batch=batch) == texts(target)


def test_a_published_tree_writes_what_plain_decoding_writes(target, draft):
    drafter = DraftTree(draft, static_tree("medusa-63"))
    asked = requests(4)
    assert texts(target, asked=asked, drafter=drafter, batch=2) == texts(target, asked=asked)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_rows_do_not_feel_their_batch_mates(target, draft, temperature):
    asked = requests(8)
    options = {"temperature": temperature, "batch": 4, "capacity": 96}
    shape = SHAPES["bush"]
    forward = texts(target, asked=asked, drafter=DraftTree(draft, shape), **options)
    backward = texts(target, asked=asked[::-1], drafter=DraftTree(draft, shape), **options)
    assert forward == backward


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_cache_holds_what_a_fresh_one_would(target, draft, temperature):
    """After some rounds the draft's rows are those of the plain text: nothing stale is read."""
    shape, asked = SHAPES["bush"], requests(3, 20)
    seen = []

    class Watching(DraftTree):
        def propose(self, ask: Ask):
            proposal = super().propose(ask)
            fresh = DraftTree(self.model, shape)
            fresh.open(len(ask.texts), 96)
            for row, text in enumerate(ask.texts):
                if text is not None:
                    fresh.admit(row, text)
            again = fresh.propose(ask)
            busy = [row for row, text in enumerate(ask.texts) if text is not None]
            assert torch.equal(again.tokens[busy], proposal.tokens[busy])
            if proposal.q is not None:
                assert torch.allclose(again.q[busy], proposal.q[busy], atol=1e-5)
            seen.append(len(busy))
            return proposal

    options = {"temperature": temperature, "batch": 3, "capacity": 96}
    answers = list(
        decode(target, asked, Settings(eos=(), drafter=Watching(draft, shape), **options))
    )
    assert len(seen) > 3
    assert sum(a.accepted for a in answers) > 10


def test_more_is_accepted_than_of_a_chain_as_deep(target, draft):
    asked = requests(5, 32)
    rate = {}
    for name, shape in (("chain", chain(3)), ("tree", (-1, 0, 0, 1, 1, 2, 3, 3))):
        answers = list(decode(target, asked, Settings(eos=(), drafter=DraftTree(draft, shape))))
        rate[name] = sum(a.accepted for a in answers) / sum(a.rounds for a in answers)
    assert rate["tree"] > rate["chain"] > 0.5


def test_the_target_as_its_own_tree_accepts_to_the_bottom(target):
    for answer in decode(
        target, requests(4), Settings(eos=(), drafter=DraftTree(target, SHAPES["bush"]))
    ):
        assert sum(answer.histogram[:3]) <= 1


def test_sampling_keeps_the_law_of_the_target(target, draft):
    """Two-token law of tree speculation against the exact one."""
    prompt, n, heat = (3,), 2000, 0.7
    vocab = target.vocab_size
    asked = [Request(id=str(i), prompt=prompt, max_new_tokens=2, seed=i) for i in range(n)]
    counts = torch.zeros(vocab, vocab, dtype=torch.float64)
    drafter = DraftTree(draft, (-1, 0, 0, 0, 1, 2))
    for a in decode(target, asked, Settings(eos=(), drafter=drafter, temperature=heat, batch=250)):
        counts[a.tokens[0], a.tokens[1]] += 1
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, t] for t in range(vocab)])
        logits = target.module(ids).logits.double() / heat
    first = torch.softmax(logits[0, len(prompt) - 1], 0)
    law = first[:, None] * torch.softmax(logits[:, len(prompt)], -1)
    # the largest deviation of 841 cells, each binomial: five standard errors at most
    error = (law * (1 - law) / n).sqrt()
    assert ((counts / n - law).abs() <= 5 * error + 2 / n).all()
    marginal = counts.sum(1) / n
    assert ((marginal - first).abs() <= 4.5 * (first * (1 - first) / n).sqrt() + 1 / n).all()


def test_siblings_are_drawn_without_replacement_from_their_parents_row(target, draft):
    drafter = DraftTree(draft, (-1, 0, 0, 0, 1, 1))
    rows = 400
    drafter.open(rows, 16)
    for row in range(rows):
        drafter.admit(row, [3, 9, 4])
    uniforms = torch.rand(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ask = Ask(
        texts=[[3, 9, 4]] * rows, tail=torch.tensor([[9, 4]] * rows),
        lengths=torch.full((rows,), 3), longest=3, uniforms=uniforms, temperature=1.0, dense=False,
        rooms=[8] * rows,
    )  # fmt: skip
    proposal = drafter.propose(ask)
    for row in proposal.tokens.tolist():
        assert len(set(row[:3])) == 3
        assert row[3] != row[4]
    with torch.inference_mode():
        q = torch.softmax(draft.module(torch.tensor([[3, 9, 4]])).logits[0, -1], -1)
    assert torch.allclose(proposal.q[0, 0], q, atol=1e-5)
    for token, other in itertools.product(q.topk(3).indices.tolist(), repeat=2):
        if token != other:
            pair = (proposal.tokens[:, 0] == token) & (proposal.tokens[:, 1] == other)
            chance = float(q[token] * q[other] / (1 - q[token]))
            assert abs(float(pair.double().mean()) - chance) < 5 * (chance / rows) ** 0.5 + 0.01


def test_typical_acceptance_judges_trees_in_the_loop(target, draft):
    plain = texts(target)
    lossy = texts(target, drafter=DraftTree(draft, SHAPES["bush"]), rule=Typical(), batch=3)
    assert lossy != plain
    tempered = Typical(tempered=True)
    same = texts(target, drafter=DraftTree(draft, SHAPES["bush"]), rule=tempered, batch=3)
    assert same == plain


def test_a_tree_without_nodes_is_refused(draft):
    with pytest.raises(ValueError, match="proposes nothing"):
        DraftTree(draft, (-1,))
