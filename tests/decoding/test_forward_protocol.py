"""The protocol of forwards: one whose state cannot be cut decodes like one that can."""

import pytest
import torch

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.draft_tree import DraftTree
from draftproof.records import DraftproofError

WIDTH, VOCABULARY = 24, 29


class Recurrent:
    """h ↦ tanh(A·h + E[token]): its rollback is to restore a state and to replay what follows."""

    kind, shape_free, no_trees = "recurrent", True, "its state cannot branch"

    def __init__(self, seed, noise=0.0):
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape):
            return torch.randn(*shape, generator=generator)

        self._turn = drawn(WIDTH, WIDTH) / WIDTH**0.5
        self._embedding, self._head = drawn(VOCABULARY, WIDTH), drawn(WIDTH, VOCABULARY)
        other = torch.Generator().manual_seed(seed + 100)
        self._head += noise * torch.randn(self._head.shape, generator=other)
        self.replayed = 0

    def current(self):
        return self

    def serves(self, capacity):
        return capacity > 0

    def open(self, rows, capacity):
        cache = RowCache(0, rows, capacity, self)
        cache.recorded = {row: ([], {0: torch.zeros(WIDTH)}) for row in range(rows)}
        return cache

    def step(self, block, cache):
        rows = range(cache.rows) if block.row is None else [block.row]
        logits = []
        for row, ids, start in zip(rows, block.ids.tolist(), block.starts.tolist(), strict=True):
            read, states = cache.recorded[row]
            for place in [p for p in states if p > start]:
                del states[place]
            del read[start:]
            known = max(states)
            state = states[known]
            for token in read[known:]:
                state, self.replayed = self._moved(state, token), self.replayed + 1
            read += [0] * (start - len(read))  # a free row stands anywhere
            states[start] = state
            seen = []
            for token in ids:
                state = self._moved(state, token)
                seen.append(state @ self._head)
            read += ids
            logits.append(torch.stack(seen)[len(ids) - block.keep :])
        return torch.stack(logits), None

    def _moved(self, state, token):
        return torch.tanh(self._turn @ state + self._embedding[token])


@pytest.fixture
def recurrent(target):
    """Return what makes a causal LM that runs by a recurrent forward."""

    def made(seed, noise=0.0):
        return CausalModel(target.module, "recurrent", forward=Recurrent(seed, noise))

    return made


def test_restoring_and_replaying_says_what_plain_decoding_says(recurrent):
    target = recurrent(1)
    requests = [
        Request(id=str(i), prompt=tuple(range(3 + i, 9 + 3 * i)), max_new_tokens=20)
        for i in range(5)
    ]
    plain = {a.id: a.tokens for a in decode(target, requests, Settings(eos=()))}
    target._forward.replayed = 0
    drafter = DraftModel(recurrent(1, noise=0.5), 3)
    answers = list(decode(target, requests, Settings(eos=(), drafter=drafter, batch=2)))
    assert {a.id: a.tokens for a in answers} == plain
    drafted, accepted = sum(a.drafted for a in answers), sum(a.accepted for a in answers)
    assert 0 < accepted < drafted
    assert target._forward.replayed > 0


def test_a_forward_that_cannot_branch_refuses_a_tree(recurrent):
    target = recurrent(1)
    request = Request(id="0", prompt=(3, 4, 5), max_new_tokens=4)
    settings = Settings(eos=(), drafter=DraftTree(recurrent(2), (-1, 0, 0, 1)))
    with pytest.raises(DraftproofError, match="its state cannot branch, so it can verify no tree"):
        list(decode(target, [request], settings))
