"""Chains that are found on the host, one list a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.decoding.drafters.drafter import Ask, Drafter, Proposal
from draftproof.decoding.drafters.heads import refuse_dense


class HostChains(Drafter):
    """What drafters share whose chains come from texts alone, without a model.

    Args:
        gamma: Most tokens a round.
    """

    what = ""
    """What proposes, for messages."""

    def __init__(self, gamma: int) -> None:
        if gamma < 1:
            raise ValueError(f"a drafter needs gamma of at least 1, got {gamma}")
        self.gamma = gamma

    def chain(self, row: int, text: Sequence[int]) -> Sequence[int]:
        """Return up to gamma tokens that may follow a row's committed text."""
        raise NotImplementedError

    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`.

        A chain is cut to one token less than its row may still emit (the one that the target
        decides itself comes on top), and padded where another row has a longer one.
        """
        refuse_dense(ask.dense, self.what)
        chains = [
            [] if text is None else list(self.chain(row, text))[: max(ask.rooms[row] - 1, 0)]
            for row, text in enumerate(ask.texts)
        ]
        width = max(map(len, chains), default=0)
        padded = [c + [0] * (width - len(c)) for c in chains]
        tokens = torch.tensor(padded, dtype=torch.int64, device=ask.tail.device)
        return Proposal(tokens.view(len(chains), width), lengths=[len(c) for c in chains])
