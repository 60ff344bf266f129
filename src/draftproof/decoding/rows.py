"""One row of a batch: a request, its text, and how a round's tokens are committed to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from draftproof.decoding.decisions import RowDecision
from draftproof.decoding.requests import Answer, Request

_FAULTS = (
    "",
    "logits are not finite",
    "the processors and the grammar together leave no token that may follow",
)


@dataclass(slots=True)
class Row:
    """One place of the batch and the request that holds it."""

    request: Request
    answer: Answer
    text: list[int]
    generator: torch.Generator

    @property
    def lag(self) -> int:
        """How many tokens the draft's prompt is longer than the target's."""
        draft_prompt = self.request.draft_prompt
        return 0 if draft_prompt is None else len(draft_prompt) - len(self.request.prompt)

    @property
    def room(self) -> int:
        """Tokens that may still be emitted."""
        return self.request.max_new_tokens - len(self.answer.tokens)

    def draft_text(self) -> list[int]:
        """Return the committed tokens as the draft reads them."""
        draft_prompt = self.request.draft_prompt
        return self.text if draft_prompt is None else [*draft_prompt, *self.answer.tokens]

    def tail(self) -> list[int]:
        """Return the last two tokens that the draft has to continue."""
        same = self.request.draft_prompt is None or len(self.answer.tokens) > 1
        text = self.text if same else self.draft_text()
        return text[-2:] if len(text) > 1 else text * 2

    def commit(self, decision: RowDecision, name: str, stops: Collection[int]) -> int:
        """Append a round's tokens, cut at the first end and at the length limit.

        Args:
            decision: What the round decided.
            name: The target's name, for messages.
            stops: Tokens that end an answer.

        Returns:
            How many drafted tokens were committed.
        """
        answer, accepted = self.answer, len(decision.drafts)
        if decision.fault:
            answer.finish_reason = "error"
            answer.error = f"{name}: {_FAULTS[decision.fault]} after {len(answer.tokens)} tokens"
            return 0
        fresh, letters = list(decision.drafts), "d" * accepted
        if decision.token is not None:
            fresh.append(decision.token)
            letters += decision.letter
        count = self._until_the_end(fresh, stops)
        answer.tokens += fresh[:count]
        answer.provenance += letters[:count]
        answer.modes += decision.modes[:count]
        answer.matches += map(bool, decision.matches[:count])
        answer.logprobs += decision.logprobs[:count]
        self.text += fresh[:count]
        committed = min(accepted, count)
        if decision.proposed:
            answer.rounds += 1
            answer.drafted += decision.proposed
            answer.accepted += committed
            answer.histogram[committed] += 1
        return committed

    def _until_the_end(self, fresh: Sequence[int], stops: Collection[int]) -> int:
        """Return how many of the new tokens are kept; set the finish reason at the end."""
        shaping, room = self.request.shaping, self.room
        for count, token in enumerate(fresh[:room], start=1):
            ended = token in stops
            if not ended and shaping is not None and shaping.stop_strings:
                ended = shaping.stops_at([*self.answer.tokens, *fresh[:count]])
            if ended:
                self.answer.finish_reason = "stop"
                return count
        if len(fresh) >= room:
            self.answer.finish_reason = "length"
        return min(len(fresh), room)
