"""Scoring one position of an answer with the target: request, score, and who does it.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from draftproof.records import Completion, Prompt


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One position of one answer, to be scored.

    Attributes:
        prompt: The prompt.
        prefix: Token ids of the answer up to the position.
        tokens: The tokens whose scores are wanted.
    """

    prompt: Prompt
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The target's scores at one position.

    Attributes:
        margins: For each requested token the argmax's logit minus the token's, nats: at the
            shape of plain decoding and at the shape of verification.
        ranks: Rank of each requested token at the shape of plain decoding, 0 the argmax.
        best: The target's best tokens with their margins (the smaller of both shapes), the
            argmax first.
        draft_token: What the draft would propose there, None without a draft.
    """

    margins: Mapping[int, tuple[float, float]]
    ranks: Mapping[int, int]
    best: tuple[tuple[int, float], ...]
    draft_token: int | None = None

    def margin(self, token: int) -> float:
        """Return the argmax's logit minus the token's, nats; the smaller of both shapes."""
        return min(self.margins[token])


class Helpers(Protocol):
    """Processes that take a part of the work."""

    jobs: int

    def spread(
        self, name: str, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Return what `function` returns for each of `arguments`, in their order.

        Args:
            name: Of what is done, for messages.
            function: Of a module; its last argument, after the given ones, is `on_progress`.
            arguments: A tuple a call.
        """
        ...


class Rescorer(Protocol):
    """Something that can score a position again, away from the arms."""

    reads_text: bool
    """Whether it goes by the text of an answer even where the answer carries token ids."""

    def scores(self, requests: Sequence[ScoreRequest]) -> list[TokenScore]:
        """Score positions, in the order given."""
        ...

    def tokenise(
        self, answers: Sequence[tuple[Prompt, Completion]]
    ) -> list[tuple[int, ...] | None]:
        """Return token ids of answers known by their text; None where they do not spell it."""
        ...

    def show(self, token: int) -> str:
        """Return a token's text."""
        ...


class Replayer(Protocol):
    """Answers as an arm does, decoded here and greedily, with a known fault planted."""

    faults: tuple[str, ...]
    """The faults that it can plant and that could show in this arm."""

    def __call__(
        self, fault: str, prompts: Sequence[Prompt], tokens: int
    ) -> Sequence[tuple[int, ...]]:
        """Return the token ids of the answers to `prompts`, at most `tokens` each."""
        ...
