"""Who scores the answers of an arm whole, and what else a stack can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from draftproof.records import Completion
from draftproof.rescoring.scored_answers import ScoredAnswers


@dataclass(frozen=True, slots=True)
class PrefixQuestion:
    """A position of one of an arm's answers at which the plain stack is asked again.

    Attributes:
        prompt: Id of the prompt.
        position: Index of the token in the answer.
    """

    prompt: str
    position: int


class StackSource(Protocol):
    """Scores of a run's arms by the model that judges one of them."""

    answers: Mapping[str, Completion]
    """The answers of the judged arm by prompt id."""
    problem: str | None
    """Why nothing can be scored; None where it can."""

    def scored(self, arm: str) -> ScoredAnswers:
        """Return an arm's answers as the judging model sees them."""
        ...

    def proposals(self, arm: str) -> ScoredAnswers | None:
        """Return what the judged arm's draft would propose at every position of an arm's answers.

        None where the draft cannot be asked; its proposals are the `best` of the scores.
        """
        ...

    def show(self, token: int) -> str:
        """Return a token's text."""
        ...

    def ask_plain(self, questions: Sequence[PrefixQuestion]) -> Sequence[int | None] | None:
        """Ask the plain stack again at prefixes of the judged arm's answers.

        Returns:
            The token that it says at each, None where that is not known; None instead of them
            where the stack cannot be asked.
        """
        ...
