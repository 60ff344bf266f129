"""What an engine is, and what every engine does alike with its prompts; needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from draftproof.records import Completion, DraftproofError, Fingerprint, Prompt, Proof, digest
from draftproof.stacks.spec import ArmSpec

Messages = Sequence[Mapping[str, str]]
"""Turns of a conversation with ``role`` and ``content``."""


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
        """End what `open` began; after an error too, and a second time without effect."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as a model is fed it: its token ids and their digest."""

    ids: tuple[int, ...]
    digest: str


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """Return a prompt's messages as chat templates and chat APIs take them."""
    return [{"role": m.role, "content": m.content} for m in prompt.messages]


def plain_text(messages: Messages, prefill: str = "") -> str:
    r"""Return a conversation for a model without a chat template: contents, one a paragraph.

    >>> plain_text([{"role": "user", "content": "Say yes."}], "Ye")
    'Say yes.\n\nYe'
    """
    return "\n\n".join([*(m["content"] for m in messages), *([prefill] if prefill else [])])


def template_ids(
    template: Callable[[list[dict[str, str]]], str] | None,
    encode: Callable[[str, bool], Sequence[int]],
) -> Callable[[list[dict[str, str]], str], Sequence[int]]:
    """Return what renders a conversation with a stack's own tokenizer; see `rendered`.

    Args:
        template: Applies the chat template; None where the tokenizer has none.
        encode: Returns the ids of a text; the flag says whether special tokens are added, which
            a template has written already.
    """

    def render(messages: list[dict[str, str]], prefill: str) -> Sequence[int]:
        if template is None:
            return encode(plain_text(messages, prefill), True)
        try:
            text = template(messages)
        except Exception as error:
            raise DraftproofError(f"the chat template fails: {last_line(error)}") from error
        return encode(text + prefill, False)

    return render


def last_line(error: Exception) -> str:
    """Return what a library's error says at its end, where the reason stands; else its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def fault_kind(error: str) -> str:
    """Return an error without its numbers and ids, so that equal faults compare equal.

    >>> fault_kind("HTTP 503: worker 7 of 8 is gone")
    'HTTP #: worker # of # is gone'
    """
    return re.sub(r"[0-9a-f]{8,}|\d+", "#", error)[:200]


def rendered(
    name: str, prompt: Prompt, render: Callable[[list[dict[str, str]], str], Sequence[int]]
) -> Rendered:
    """Return a prompt as a model is fed it.

    Args:
        name: The model, for messages.
        prompt: The prompt.
        render: Returns the ids of messages and of the beginning of an answer to them.

    Raises:
        DraftproofError: The chat template fails (it is a program of the checkpoint's author), or
            nothing is left to feed; with the prompt's id.
    """
    try:
        ids = tuple(int(token) for token in render(messages_of(prompt), prompt.prefill))
    except DraftproofError as error:
        raise DraftproofError(f"{name}: prompt {prompt.id!r}: {error}") from error
    if not ids:
        raise DraftproofError(f"{name}: prompt {prompt.id!r} has no tokens")
    return Rendered(ids, digest(list(ids)))


def require_same_vocabulary(
    target: str, draft: str, first: Mapping[str, int], second: Mapping[str, int]
) -> None:
    """Check that drafted token ids mean the same to both models.

    Args:
        target: Name of the target.
        draft: Name of the draft.
        first: Id of every token of the target's tokenizer.
        second: Likewise of the draft's.

    Raises:
        DraftproofError: They do not, with how they differ.
    """
    if first == second:
        return
    different = sum(1 for token, index in first.items() if second.get(token) != index)
    raise DraftproofError(
        f"{target} and {draft} have different vocabularies ({len(first)} and {len(second)} "
        f"tokens, {different} with another id); choose a draft of the target's family"
    )


def seed_of(spec: ArmSpec, prompt: Prompt, bits: int) -> int:
    """Return a prompt's own seed, whatever it is asked beside: `bits` of a digest, a multiple of 4.

    >>> from draftproof.records import Message
    >>> prompt = Prompt(id="p", task="t", messages=(Message("user", "U"),))
    >>> seed_of(ArmSpec(name="a", role="baseline", target="T"), prompt, 28) < 2**28
    True
    """
    return int(digest([spec.seed, prompt.id])[: bits // 4], 16)


class PromptStore:
    """The prompts of an arm as its model is fed them, and which of them fit into its context.

    Args:
        spec: The arm.
        prompts: All that the arm will ever be asked.
        render: Returns a prompt as the model is fed it.
        limit: Tokens that the model holds, None where it says nothing.
    """

    def __init__(
        self,
        spec: ArmSpec,
        prompts: Sequence[Prompt],
        render: Callable[[Prompt], Rendered],
        limit: int | None,
    ) -> None:
        self._spec, self._limit = spec, limit
        self._rendered = {p.id: render(p) for p in prompts}

    def __getitem__(self, prompt_id: str) -> Rendered:
        return self._rendered[prompt_id]

    def fits(self, prompt: Prompt) -> bool:
        """Whether a prompt and the longest answer to it fit into the model's context."""
        needed = len(self[prompt.id].ids) + self._spec.max_new_tokens
        return self._limit is None or needed <= self._limit

    def refusal(self, prompt: Prompt, why: str | None = None) -> Completion:
        """Return the answer to a prompt that does not fit: an error that says why."""
        fed = self[prompt.id]
        return Completion(
            arm=self._spec.name,
            id=prompt.id,
            text="",
            finish_reason="error",
            prompt_hash=fed.digest,
            error=why
            or (
                f"the prompt has {len(fed.ids)} tokens and the answer needs up to "
                f"{self._spec.max_new_tokens}; {self._spec.target} holds {self._limit}"
            ),
        )
