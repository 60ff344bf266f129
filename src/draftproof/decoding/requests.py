"""What goes into the loop and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from draftproof.decoding.shaping import Shaping


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to continue.

    Args:
        id: Name of the request, returned with its answer.
        prompt: Token ids of the rendered prompt, at least one.
        max_new_tokens: Most tokens to emit, end-of-sequence included.
        seed: Seed of this request's own generator; unused at temperature 0.
        draft_prompt: What the draft is fed instead of `prompt`, where it has a template of its
            own; at least two tokens.
        shaping: What is done to the target's rows before the rule sees them, and which strings
            end the answer.
    """

    id: str
    prompt: tuple[int, ...]
    max_new_tokens: int
    seed: int = 0
    draft_prompt: tuple[int, ...] | None = None
    shaping: Shaping | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError(f"request {self.id!r}: the prompt has no tokens")
        if self.draft_prompt is not None and len(self.draft_prompt) < 2:
            raise ValueError(f"request {self.id!r}: the draft's prompt needs two tokens")
        if self.max_new_tokens < 1:
            raise ValueError(f"request {self.id!r}: max_new_tokens must be at least 1")

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longer of the target's and the draft's prompt."""
        return max(len(self.prompt), len(self.draft_prompt or ()))


@dataclass(slots=True, kw_only=True)
class Answer:
    """The tokens of one request and how they came about.

    Attributes:
        tokens: Emitted token ids; the end-of-sequence token is the last one where there is one.
        provenance: One letter a token: ``d`` drafted and accepted, ``c`` corrected, ``b`` bonus,
            ``p`` plain (decided by a forward that verified nothing).
        finish_reason: ``stop`` (end of sequence, or a stop string), ``length`` or ``error``.
        rounds: Target forwards that verified at least one drafted token.
        drafted: Drafted tokens that were verified.
        accepted: Drafted tokens that were accepted and emitted.
        histogram: Entry k counts the rounds that accepted k tokens.
        rechecked: Tokens that were decided again at the shape of plain decoding.
        modes: One digit a token for a rule with modes: 1 intersection, 2 union; else empty.
        matches: For a rule that counts them, whether each token was the draft model's own choice.
        logprobs: Natural logarithm of each token's probability under the target's row as the
            rule saw it; empty unless asked for.
        error: What went wrong, with ``finish_reason == "error"``.
    """

    id: str
    tokens: list[int] = field(default_factory=list)
    provenance: list[str] = field(default_factory=list)
    finish_reason: str = ""
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    histogram: list[int] = field(default_factory=list)
    rechecked: int = 0
    modes: list[int] = field(default_factory=list)
    matches: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    error: str | None = None


class AnswerDelta(NamedTuple):
    """What one round added to an answer.

    Attributes:
        answer: The answer so far; its `finish_reason` is set with the last piece.
        start: Where the new tokens begin; they reach to the end of ``answer.tokens``.
    """

    answer: Answer
    start: int
