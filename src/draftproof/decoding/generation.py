"""What a `SpeculativeDecoder` returns."""

from __future__ import annotations

from dataclasses import dataclass, fields

from draftproof.decoding.requests import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One answer, how it came about and what speculation saved.

    Attributes are those of `Answer`, tuples for lists, provenance and modes as one string; and

    Attributes:
        text: The answer; neither the end-of-sequence token nor a stop string is part of it.
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
    own = {f.name: getattr(answer, f.name) for f in fields(Answer) if f.name != "id"}
    own |= {"provenance": "".join(answer.provenance), "modes": "".join(map(str, answer.modes))}
    lists = {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
    return Generation(text=text, **{**own, **lists})
