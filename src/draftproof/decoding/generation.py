"""What a `SpeculativeDecoder` returns."""

from __future__ import annotations

from dataclasses import dataclass

from draftproof.decoding.requests import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One answer, how it came about and what speculation saved.

    Attributes:
        text: The answer; neither the end-of-sequence token nor a stop string is part of it.
        tokens: All emitted token ids, those of the end and of a stop string included.
        finish_reason: ``stop``, ``length`` or ``error``.
        provenance: One letter a token: ``d`` drafted and accepted, ``c`` corrected, ``b`` bonus,
            ``p`` plain.
        modes: One digit a token for a rule with modes (1 intersection, 2 union), else empty.
        matches: For a rule that counts them, whether each token was the draft model's own choice;
            `draftproof.decoding.rules.timeline` makes the whole state of the answer of it.
        logprobs: Natural logarithm of each token's probability; empty unless asked for.
        rounds: Target forwards that verified drafted tokens.
        drafted: Drafted tokens that were verified.
        accepted: Drafted tokens that were kept.
        histogram: Entry k counts the rounds that kept k drafted tokens.
        rechecked: Tokens decided again at the shape of plain decoding.
        error: What went wrong, with ``finish_reason == "error"``.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    provenance: str
    modes: str = ""
    matches: tuple[bool, ...] = ()
    logprobs: tuple[float, ...] = ()
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    histogram: tuple[int, ...] = ()
    rechecked: int = 0
    error: str | None = None

    @property
    def acceptance(self) -> float | None:
        """Share of the drafted tokens that were kept; None where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def tokens_per_round(self) -> float | None:
        """Tokens that a verifying target forward yields; None where nothing was drafted."""
        plain = self.provenance.count("p")
        return (len(self.tokens) - plain) / self.rounds if self.rounds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one round added to an answer.

    Attributes:
        index: Position of the prompt among those given.
        text: New text that is sure to stay. It may lag behind the tokens: half a character, or
            what might become a stop string, is held back.
        owners: For each character of `text` the position in the answer of the token that
            completed it.
        first: Position of the first new token.
        tokens: The new token ids.
        answer: The whole answer so far.
        generation: The finished answer, with the last part.
    """

    index: int
    text: str
    owners: tuple[int, ...]
    first: int
    tokens: tuple[int, ...]
    answer: Answer
    generation: Generation | None = None


def finished(answer: Answer, text: str) -> Generation:
    """Return the record of a finished answer."""
    return Generation(
        text=text,
        tokens=tuple(answer.tokens),
        finish_reason=answer.finish_reason,
        provenance="".join(answer.provenance),
        modes="".join(map(str, answer.modes)),
        matches=tuple(answer.matches),
        logprobs=tuple(answer.logprobs),
        rounds=answer.rounds,
        drafted=answer.drafted,
        accepted=answer.accepted,
        histogram=tuple(answer.histogram),
        rechecked=answer.rechecked,
        error=answer.error,
    )
