"""What an engine is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from draftproof.records import Completion, Fingerprint, Prompt, Proof


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

    def proof(self) -> Proof | None:
        """Return what the stack counted since `open`; None where every answer has its counters."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the arm: versions, digests of weights and template, dtype."""
        ...

    def close(self) -> None:
        """End what `open` began, once `proof` has been read.

        Counters that were kept in case the run is killed are deleted. After an error it is not
        called: then they are what is left of the part that failed.
        """
        ...
