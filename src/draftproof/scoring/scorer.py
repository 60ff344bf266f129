"""What a scorer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from draftproof.records import Completion, Construct, Prompt, digest


@dataclass(frozen=True, slots=True)
class InputContract:
    """What a scorer reads, and in what form: another form makes it another instrument.

    Attributes:
        fields: Of ``prompt``, ``choices``, ``reference`` and ``response``, those it looks at.
        template: Name of the template that the fields are put into, None where there is none.
        template_hash: SHA-256 of that template.
        truncation: How much of the response is read.
    """

    fields: tuple[str, ...]
    template: str | None = None
    template_hash: str | None = None
    truncation: str = "none"

    @property
    def digest(self) -> str:
        """SHA-256 of the contract."""
        return digest([list(self.fields), self.template, self.template_hash, self.truncation])


class Scorer(Protocol):
    """Turns an answer into a label of a closed set.

    Attributes:
        name: How prompts refer to it.
        construct: What it measures.
        unit: ``response``, or ``exchange`` where the prompt is judged with it.
        version: Changes whenever any label could change.
        labels: Every value that it can return.
        contract: What it reads.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class
    @property
    def construct(self) -> Construct: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def contract(self) -> InputContract: ...  # noqa: D102

    def judge(self, prompt: Prompt, text: str) -> tuple[str, bool | None]:
        """Return the label's value and whether it is good; None means not scored."""
        ...


UNSAID = frozenset({"error", "empty", "tool_call", "reasoning"})
"""Values of labels of answers that say nothing, see `unsaid`."""


def unsaid(completion: Completion) -> str | None:
    """Return why an answer says nothing that could be read; None where it says something.

    ``error``, ``tool_call`` or ``reasoning`` where it holds that alone, else ``empty``.
    """
    if completion.finish_reason == "error":
        return "error"
    if completion.spoken.strip():
        return None
    if completion.tool_calls:
        return "tool_call"
    return "reasoning" if completion.reasoning else "empty"
