"""A small causal LM that proposes a chain."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Ask, Drafter, Kind, Proposal
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.model import CausalModel
from draftproof.decoding.sampling import draw, probabilities


class DraftModel(Drafter):
    """Proposes the draft model's own continuation, greedy or sampled with the target's T.

    The cache needs no bookkeeping: each proposal starts by feeding the last two committed
    tokens. Whatever was kept of the previous proposal, these are the only ones that the draft
    may not have seen (after a fully accepted chain its last token never went in), and feeding
    one that it has seen rewrites the same entry.

    Args:
        model: The draft.
        gamma: Most tokens a round. With 0 nothing is drafted: the draft only says its row, for a
            rule that changes the target distribution token by token.
        confidence: A row stops drafting after a token that the draft gives less than this
            probability; 0 never stops. What transformers calls `assistant_confidence_threshold`.
        adaptive: Let each request find its own length: 2 more after a round that was accepted
            wholly, 1 less after any other, from `gamma` / 2 on and never above `gamma`. What
            transformers calls the transient heuristic; a new request starts afresh.
    """

    def __init__(
        self, model: CausalModel, gamma: int, *, confidence: float = 0.0, adaptive: bool = False
    ) -> None:
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence must lie in [0, 1], got {confidence}")
        self.model = model
        self.gamma = gamma
        self._confidence, self._adaptive = confidence, adaptive
        self._wanted: list[int] = []
        self._offered: list[int] = []
        self._cache: RowCache

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        self._cache = self.model.new_cache(rows, capacity)
        self._wanted = [self._first()] * rows

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`."""
        prefill(self.model, self._cache, row, ids)
        self._wanted[row] = self._first()

    def _first(self) -> int:
        return max(1, self.gamma // 2) if self._adaptive else self.gamma

    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        tokens: list[torch.Tensor] = []
        rows: list[torch.Tensor] = []
        block, starts = ask.tail, (ask.lengths - 2).clamp(min=0)
        greedy, steady = ask.temperature == 0, ask.dense or not self._adaptive
        wanted = [self.gamma] * len(self._wanted) if steady else list(self._wanted)
        going = [text is not None for text in ask.texts]
        stopping = self._confidence > 0 and not ask.dense
        for step in range(max(wanted) + ask.dense):
            logits = self.model.forward(
                block, starts, self._cache, keep=1, longest=ask.longest + step
            )[:, -1]
            starts = starts + block.shape[1]
            if not greedy or ask.dense or stopping:
                rows.append(probabilities(logits, ask.temperature or 1.0))
            if step == max(wanted):
                break
            token = logits.argmax(dim=-1) if greedy else draw(rows[-1], ask.uniforms[:, step])
            tokens.append(token)
            block = token[:, None]
            if stopping:
                sure = rows[-1].gather(1, token[:, None])[:, 0] >= self._confidence
                going = [g and s for g, s in zip(going, sure.tolist(), strict=True)]
                wanted = [w if g else min(w, step + 1) for w, g in zip(wanted, going, strict=True)]
                if step + 1 >= max(wanted):
                    break
        self._offered = wanted
        drawn = rows and (ask.dense or not greedy)
        return Proposal(
            torch.stack(tokens, dim=1) if tokens else ask.tail[:, :0],
            torch.stack(rows[: len(tokens) + ask.dense], dim=1) if drawn else None,
            None if steady and not stopping else wanted,
            kind=Kind.ONE_HOT if greedy else Kind.DENSE,
        )

    def observe(self, accepted: Sequence[int], states: torch.Tensor | None = None) -> None:
        """Let each request's length follow what was accepted of its last chain."""
        if self._adaptive:
            for row, (kept, offered) in enumerate(zip(accepted, self._offered, strict=True)):
                longer = kept == offered
                wish = self._wanted[row] + 2 if longer else self._wanted[row] - 1
                self._wanted[row] = min(max(wish, 1), self.gamma)
