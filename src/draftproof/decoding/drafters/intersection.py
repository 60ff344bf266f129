"""A draft model whose tokenizer is not the target's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Ask, Drafter, Kind, Proposal
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.model import CausalModel
from draftproof.decoding.sampling import draw, probabilities
from draftproof.records import DraftproofError

Reencode = Callable[[Sequence[int]], Sequence[int]]
"""From the target's token ids to the draft's for the same text."""

_SPACES = str.maketrans("▁", "Ġ")
_MORE = 4
"""The draft may need this many times as many tokens for a text as the target."""


def shared_tokens(target: Mapping[str, int], draft: Mapping[str, int]) -> dict[int, int]:
    """Return the target's id of every id of the draft that both vocabularies spell alike.

    SentencePiece's sign for a space counts as that of byte-level BPE.

    >>> shared_tokens({"Ġa": 4, "b": 2}, {"▁a": 0, "c": 1})
    {0: 4}
    """
    spelled = {token.translate(_SPACES): index for token, index in target.items()}
    return {
        index: spelled[token.translate(_SPACES)]
        for token, index in draft.items()
        if token.translate(_SPACES) in spelled
    }


def text_round_trip(target: Any, draft: Any) -> Reencode:
    """Return a function that decodes with one Hugging Face tokenizer and encodes with the other."""

    def reencode(ids: Sequence[int]) -> Sequence[int]:
        text = target.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        found: list[int] = draft(text, add_special_tokens=False)["input_ids"]
        return found

    return reencode


class Intersection(Drafter):
    """Drafts in the tokens that both tokenizers have.

    Token-level intersection (Timor et al. 2025, arXiv 2502.05202, section 4): the draft's row is
    restricted to the shared tokens and renormalised, drawn from and judged as any q; what the
    target has and the draft cannot say has q = 0. The committed text reaches the draft as text:
    decoded with the target's tokenizer and encoded with its own, of which only what changed is
    read anew. A text that the draft has no more room for is no longer drafted for.

    Args:
        model: The draft.
        gamma: Most tokens a round.
        shared: From ids of the draft to ids of the target, as `shared_tokens` makes it.
        vocabulary: Rows of the target's logits.
        reencode: Carries a text over, as `text_round_trip` makes it.

    Raises:
        DraftproofError: No token is shared.
    """

    def __init__(
        self,
        model: CausalModel,
        gamma: int,
        *,
        shared: Mapping[int, int],
        vocabulary: int,
        reencode: Reencode,
    ) -> None:
        if gamma < 1:
            raise ValueError(f"a drafter needs gamma of at least 1, got {gamma}")
        pairs = sorted((d, t) for d, t in shared.items() if d < model.vocab_size and t < vocabulary)
        if not pairs:
            raise DraftproofError(
                f"{model.name}: its tokenizer shares no token with the target's; "
                "choose another draft"
            )
        self.model, self.gamma = model, gamma
        self._own = torch.tensor([d for d, _ in pairs], device=model.device)
        self._targets = torch.tensor([t for _, t in pairs], device=model.device)
        self._vocabulary, self._reencode = vocabulary, reencode
        self._back = torch.zeros(vocabulary, dtype=torch.int64, device=model.device)
        self._back[self._targets] = self._own
        self._read: list[list[int]] = []
        self._cache: RowCache

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        most = _MORE * capacity
        if self.model.max_positions is not None:
            most = min(most, self.model.max_positions)
        self._cache = self.model.new_cache(rows, most)
        self._read = [[] for _ in range(rows)]

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`."""
        own = list(self._reencode(ids))
        if 0 < len(own) <= self._cache.capacity:
            prefill(self.model, self._cache, row, own)
        self._read[row] = own[:-1][: self._cache.capacity]

    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        texts = [self._text(text) for text in ask.texts]
        logits, ends = self._catch_up(texts)
        greedy = ask.temperature == 0
        tokens: list[torch.Tensor] = []
        rows: list[torch.Tensor] = []
        for step in range(self.gamma + ask.dense):
            if step:
                fed = self._back[tokens[-1]][:, None]
                longest = max(map(len, texts), default=0) + step
                logits = self.model.forward(
                    fed, ends + step - 1, self._cache, keep=1, longest=max(longest, 1)
                )[:, -1]
            row = logits.new_full((len(texts), self._vocabulary), -torch.inf)
            row[:, self._targets] = logits[:, self._own]
            if not greedy or ask.dense:
                rows.append(probabilities(row, ask.temperature or 1.0))
            if step < self.gamma:
                best = row.argmax(dim=-1) if greedy else draw(rows[-1], ask.uniforms[:, step])
                tokens.append(best)
        drafted = torch.stack(tokens, dim=1)
        fed_ids = self._back[drafted[:, :-1]].tolist()
        self._read = [[*own, *ids] if own else [] for own, ids in zip(texts, fed_ids, strict=True)]
        lengths = [self.gamma if own else 0 for own in texts]
        return Proposal(
            drafted,
            torch.stack(rows, dim=1) if rows else None,
            None if all(lengths) else lengths,
            kind=Kind.ONE_HOT if greedy else Kind.DENSE,
        )

    def _text(self, text: Sequence[int] | None) -> list[int]:
        """Return a row's text in the draft's tokens, nothing where it cannot be drafted for."""
        own = [] if text is None else list(self._reencode(text))
        return own if len(own) + self.gamma <= self._cache.capacity else []

    def _catch_up(self, texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Read what is new in every row.

        Returns:
            ``[B, V] float32`` logits after each text and ``[B] int64``, its length.
        """
        device = self.model.device
        starts = [
            max(min(_common(own, read), len(own) - 1), 0)
            for own, read in zip(texts, self._read, strict=True)
        ]
        fresh = [list(own[start:]) or [0] for own, start in zip(texts, starts, strict=True)]
        width = max(map(len, fresh))
        # a row near the end of the cache is read from further back, so that its padding fits
        for row, own in enumerate(texts):
            if over := max(starts[row] + width - self._cache.capacity, 0):
                starts[row] -= over
                fresh[row] = list(own[starts[row] :])
        block = torch.tensor([ids + [0] * (width - len(ids)) for ids in fresh], device=device)
        begin = torch.tensor(starts, device=device)
        logits = self.model.forward(block, begin, self._cache, longest=max(starts) + 1)
        last = torch.tensor([len(ids) - 1 for ids in fresh], device=device)
        return logits[torch.arange(len(fresh), device=device), last], begin + last + 1


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts have in common from the beginning."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
