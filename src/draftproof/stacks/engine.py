"""What an engine is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from draftproof.records import Completion, Prompt


class Engine(Protocol):
    """Answers prompts as one arm and says by its own counters whether it speculated."""

    def open(self, prompts: Sequence[Prompt]) -> None:
        """Load what is needed to answer any of `prompts` (all that the arm will ever be asked).

        Raises:
            DraftproofError: With what to mend.
        """
        ...

    def prompt_hash(self, prompt: Prompt) -> str:
        """Return the digest of the rendered prompt, as the engine feeds it."""
        ...

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """Yield an answer to each prompt, in any order, each as soon as it is there."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the arm: versions, digests of weights and template, dtype."""
        ...
