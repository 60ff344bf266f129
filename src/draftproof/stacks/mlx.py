"""MLX's own generation on Apple silicon, plain and with a draft model.

Written against the documented interface of mlx-lm (``load``, ``stream_generate`` and the fields of
its responses) and tested against a stand-in that keeps to it; never run on the real library here.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from draftproof.records import (
    TEXT_CHANNELS,
    Completion,
    DraftproofError,
    Fingerprint,
    Prompt,
    Speculation,
)
from draftproof.stacks.base import (
    PromptStore,
    Rendered,
    rendered,
    require_same_vocabulary,
    template_ids,
)
from draftproof.stacks.spec import ArmSpec
from draftproof.stacks.weights import directory_fingerprint


class MLXEngine:
    """Answers one prompt at a time, greedily.

    The library says of every token whether the draft wrote it: that is the provenance, and the
    counters follow from it, because a round always drafts γ tokens or as many as are left.
    """

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        self._mlx = importlib.import_module("mlx_lm")
        self._model: Any = None
        self._draft: Any = None
        self._tokenizer: Any = None
        self._prompts: PromptStore

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        if spec.temperature > 0:
            raise DraftproofError(f"arm {spec.name!r}: the mlx engine answers at temperature 0")
        try:
            self._model, self._tokenizer = self._mlx.load(spec.target)
            if spec.draft is not None:
                self._draft, other = self._mlx.load(spec.draft)
                require_same_vocabulary(
                    spec.target, spec.draft, self._tokenizer.get_vocab(), other.get_vocab()
                )
        except (OSError, ValueError) as error:
            raise DraftproofError(f"arm {spec.name!r}: {error}") from error
        self._prompts = PromptStore(spec, prompts, self._render, None)

    def _render(self, prompt: Prompt) -> Rendered:
        tokenizer = self._tokenizer

        def template(messages: list[dict[str, str]]) -> str:
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return text

        def encode(text: str, special: bool) -> Sequence[int]:
            ids: Sequence[int] = tokenizer.encode(text, add_special_tokens=special)
            return ids

        has_template = bool(getattr(tokenizer, "chat_template", None))
        render = template_ids(template if has_template else None, encode)
        return rendered(self.spec.target, prompt, render)

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._prompts[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`."""
        for prompt in prompts:
            yield self._answer(prompt)

    def _answer(self, prompt: Prompt) -> Completion:
        spec = self.spec
        options: dict[str, object] = {"max_tokens": spec.max_new_tokens}
        if self._draft is not None:
            options |= {"draft_model": self._draft, "num_draft_tokens": spec.gamma}
        start = time.perf_counter()
        pieces = list(
            self._mlx.stream_generate(
                self._model, self._tokenizer, list(self._prompts[prompt.id].ids), **options
            )
        )
        seconds = time.perf_counter() - start
        drafted = [bool(p.from_draft) for p in pieces]
        return Completion(
            arm=spec.name,
            id=prompt.id,
            text="".join(p.text for p in pieces),
            finish_reason=(pieces[-1].finish_reason or "unknown") if pieces else "unknown",
            token_ids=tuple(int(p.token) for p in pieces),
            channels=TEXT_CHANNELS,
            provenance=_provenance(drafted, spec) if self._draft is not None else None,
            prompt_hash=self.prompt_hash(prompt),
            speculation=_speculation(drafted, spec) if self._draft is not None else None,
            seconds=seconds,
        )

    def proof(self) -> None:
        """See `Engine.proof`: every answer has its counters."""

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        versions: dict[str, str | None] = {}
        for name in ("mlx", "mlx-lm"):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                versions[name] = None
        draft = self.spec.draft
        return Fingerprint(
            engine="mlx",
            promise="L2" if draft is not None else None,
            target=directory_fingerprint(self.spec.target),
            draft=directory_fingerprint(draft) if draft is not None else None,
            versions=versions,
        )

    def close(self) -> None:
        """See `Engine.close`: the models end with this object."""


def _rounds(drafted: Sequence[bool], spec: ArmSpec) -> Iterator[tuple[int, int]]:
    """Yield (drafted, accepted) of every round: kept drafts, then one token of the target's own.

    >>> arm = ArmSpec(name="a", role="candidate", target="t", gamma=2, max_new_tokens=6)
    >>> list(_rounds([True, False, True, True, False, True], arm))
    [(2, 1), (2, 2), (1, 1)]
    """
    accepted = 0
    for index, from_draft in enumerate(drafted):
        accepted += from_draft
        if not from_draft or index == len(drafted) - 1:
            begin = index + 1 - accepted - (not from_draft)
            yield min(spec.gamma, spec.max_new_tokens - begin), accepted
            accepted = 0


def _speculation(drafted: Sequence[bool], spec: ArmSpec) -> Speculation:
    rounds = list(_rounds(drafted, spec))
    histogram = [0] * (spec.gamma + 1)
    for _, accepted in rounds:
        histogram[accepted] += 1
    return Speculation(
        rounds=len(rounds),
        drafted=sum(n for n, _ in rounds),
        accepted=sum(accepted for _, accepted in rounds),
        histogram=tuple(histogram),
    )


def _provenance(drafted: Sequence[bool], spec: ArmSpec) -> str:
    letters = []
    for (proposed, accepted), length in zip(_rounds(drafted, spec), _lengths(drafted), strict=True):
        letters.append("d" * accepted)
        if length > accepted:
            letters.append("b" if accepted == proposed else "c")
    return "".join(letters)


def _lengths(drafted: Sequence[bool]) -> Iterator[int]:
    """Yield the number of tokens of every round."""
    length = 0
    for from_draft in drafted:
        length += 1
        if not from_draft:
            yield length
            length = 0
    if length:
        yield length
