"""Drafts that are known beforehand: recorded ones, and the answer itself with errors put in."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch

from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.drafter import Ask, Proposal
from draftproof.decoding.drafters.ragged import HostChains
from draftproof.decoding.model import CausalModel
from draftproof.records import DraftproofError

Recordings = Mapping[tuple[int, ...], Sequence[int]]
"""From a request's prompt to the tokens that are proposed for its answer."""


class Replay(HostChains):
    """Proposes what was recorded for a prompt, token i of it as token i of the answer.

    Where answer and recording part, the recording is not moved: it goes on at the next place.
    Beyond its end nothing is proposed.

    Args:
        recordings: What to propose.
        gamma: Most tokens a round.
    """

    what = "a recording"

    def __init__(self, recordings: Recordings, gamma: int) -> None:
        super().__init__(gamma)
        self._recordings = recordings
        self._begins: list[int] = []
        self._drafts: list[Sequence[int]] = []

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        self._begins = [0] * rows
        self._drafts = [()] * rows

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`.

        Raises:
            DraftproofError: Nothing was recorded for this prompt.
        """
        found = self._recordings.get(tuple(ids))
        if found is None:
            first = ", ".join(map(str, ids[:8]))
            raise DraftproofError(
                f"no draft was recorded for the prompt of {len(ids)} tokens that begins "
                f"{first}; record the same prompts under the same chat template"
            )
        self._begins[row], self._drafts[row] = len(ids), found

    def chain(self, row: int, text: Sequence[int]) -> Sequence[int]:
        """See `HostChains.chain`."""
        done = len(text) - self._begins[row]
        return self._drafts[row][done : done + self.gamma]


class SyntheticDrafter(Replay):
    """A drafter with a chosen acceptance rate, for measuring what speculation costs and gains.

    Each token of the reference answer is replaced by another one with probability 1 - α, drawn
    once for each request: at temperature 0 every token is then accepted independently with
    probability α, and E[tokens a round] = (1 - α^(γ+1)) / (1 - α) (Leviathan et al., arXiv
    2211.17192, equation 1).

    Args:
        references: The target's own greedy answers; at another temperature α is not kept.
        gamma: Tokens a round.
        alpha: The acceptance rate.
        vocabulary: Tokens that errors are drawn from, ids below this.
        seed: Of the errors.
        cost: Run this model as a draft each round and throw away what it says, so that
            drafting takes the time that it would.
    """

    def __init__(
        self,
        references: Recordings,
        gamma: int,
        *,
        alpha: float,
        vocabulary: int,
        seed: int = 0,
        cost: CausalModel | None = None,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        if vocabulary < 2:
            raise ValueError(f"errors need a vocabulary of at least 2 tokens, got {vocabulary}")
        super().__init__(references, gamma)
        self._alpha, self._vocabulary, self._seed = alpha, vocabulary, seed
        self._cost = None if cost is None else DraftModel(cost, gamma)

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        super().open(rows, capacity)
        if self._cost:
            self._cost.open(rows, capacity)

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`.

        Raises:
            DraftproofError: There is no reference for this prompt.
        """
        super().admit(row, ids, states)
        # the prompt takes part in the seed, so that a row's errors do not depend on its place
        rng = random.Random(f"{self._seed} {list(ids)}")
        drawn = []
        for token in self._drafts[row]:
            other = rng.randrange(self._vocabulary - 1)
            right = rng.random() < self._alpha
            drawn.append(token if right else other + (other >= token))
        self._drafts[row] = drawn
        if self._cost:
            self._cost.admit(row, ids)

    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        if self._cost:
            self._cost.propose(ask)
        return super().propose(ask)
