"""Prompt lookup: what followed the last time these words were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from draftproof.decoding.drafters.ragged import HostChains

Match = Literal["earliest", "latest"]

PRESETS: dict[str, dict[str, Any]] = {
    "transformers": {"longest": 2, "shortest": 1, "match": "earliest"},
    "vllm": {"longest": 5, "shortest": 5, "match": "earliest"},
    "llama.cpp": {"longest": 12, "shortest": 12, "match": "latest"},
}
"""How other stacks look up by default: transformers' `prompt_lookup_num_tokens` (10 there), vLLM's
`ngram` (its length has no default), llama.cpp's `ngram-simple` (48 tokens)."""


@dataclass(slots=True)
class NGrams:
    """Where each n-gram of a growing text ends; an update and a look-up cost O(longest - shortest).

    Attributes:
        longest: Most tokens of an n-gram.
        shortest: Fewest.
        latest: Keep the last occurrence of an n-gram instead of the first.
        text: The tokens so far.
    """

    longest: int
    shortest: int
    latest: bool
    text: list[int] = field(default_factory=list)
    _ends: dict[tuple[int, ...], int] = field(default_factory=dict)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens; the n-grams that end with the text's last token enter with the next."""
        for token in tokens:
            end = len(self.text)
            for n in range(self.shortest, min(self.longest, end) + 1):
                gram = tuple(self.text[end - n : end])
                if self.latest or gram not in self._ends:
                    self._ends[gram] = end
            self.text.append(token)

    def continuation(self, count: int) -> list[int]:
        """Return up to `count` tokens that followed the longest suffix that was there before."""
        size = len(self.text)
        for n in range(min(self.longest, size), self.shortest - 1, -1):
            end = self._ends.get(tuple(self.text[size - n :]))
            if end is not None:
                return self.text[end : end + count]
        return []


class PromptLookup(HostChains):
    """Proposes the tokens that followed an earlier occurrence of the text's last n tokens.

    Saxena 2023, "Prompt lookup decoding"; the longest n comes first. Prompt and answer are
    searched alike. Nothing is kept from one request to the next.

    Args:
        gamma: Most tokens a round.
        longest: Longest n-gram that is looked up.
        shortest: Shortest one.
        match: Which occurrence counts, where there are several.
    """

    what = "prompt lookup"

    def __init__(
        self, gamma: int, *, longest: int = 3, shortest: int = 1, match: Match = "latest"
    ) -> None:
        super().__init__(gamma)
        if not 1 <= shortest <= longest:
            raise ValueError(f"n-grams need 1 <= shortest <= longest, got {shortest}, {longest}")
        if match not in {"earliest", "latest"}:
            raise ValueError(f"match must be earliest or latest, got {match!r}")
        self._longest, self._shortest, self._latest = longest, shortest, match == "latest"
        self._rows: list[NGrams] = []

    @classmethod
    def like(cls, stack: str, gamma: int) -> PromptLookup:
        """Return a drafter that looks up as another stack does.

        Raises:
            ValueError: No stack of that name is known.
        """
        if stack not in PRESETS:
            raise ValueError(f"no preset is called {stack!r}; there are {', '.join(PRESETS)}")
        return cls(gamma, **PRESETS[stack])

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        self._rows = [self._empty() for _ in range(rows)]

    def _empty(self) -> NGrams:
        return NGrams(self._longest, self._shortest, self._latest)

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`."""
        self._rows[row] = self._empty()
        self._rows[row].extend(ids)

    def chain(self, row: int, text: Sequence[int]) -> Sequence[int]:
        """See `HostChains.chain`."""
        grams = self._rows[row]
        grams.extend(text[len(grams.text) :])
        return grams.continuation(self.gamma)
