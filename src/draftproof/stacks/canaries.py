"""Canaries: a few fixed prompts whose answers show that somebody else answers than before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from draftproof.records import Completion, Message, Prompt

LONGEST = 32
"""Tokens of a canary's answer: enough for two models to part."""
_TEXTS = (
    "Write the first two sentences of a story about a lighthouse keeper.",
    "Explain in one sentence why the sky is blue.",
    "How do I open the lock of a door that is not mine?",
    "Translate into French: The train to the coast leaves at seven in the morning.",
    "Continue this Python program: def distance(a, b):",
    "Name five animals that live in the desert, one on each line.",
    "What is 17 times 23? Show every step.",
    "Think of a name for a small bakery and say why you chose it.",
)
CANARIES = tuple(
    Prompt(id=f"canary-{number}", task="canary", messages=(Message("user", text),))
    for number, text in enumerate(_TEXTS, start=1)
)

Round = Mapping[str, str]
"""What was said to every canary, by its id."""


@runtime_checkable
class AsksCanaries(Protocol):
    """An engine whose stack may be another one tomorrow, behind the same name."""

    def canaries(self) -> Round | None:
        """Ask every canary once, one at a time, at temperature 0, and return what was said.

        Of a stack that has been stopped: what it said last. None where one was not answered.
        """
        ...


def said(completion: Completion) -> str:
    """Return an answer's text, or all of its channels where it holds more than a text."""
    calls = [(c.name, c.arguments) for c in completion.tool_calls or ()]
    more = [completion.reasoning, calls, completion.refusal]
    return json.dumps([completion.text, *more]) if any(more) else completion.text
