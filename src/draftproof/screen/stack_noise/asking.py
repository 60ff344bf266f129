"""Asking the plain stack again at prefixes of answers: for appeals and for the shape arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from draftproof.records import Completion, DraftproofError, Message, Prompt
from draftproof.rescoring.scored_answers import Instrument
from draftproof.stacks import make_engine
from draftproof.stacks.base import messages_of, plain_text
from draftproof.stacks.spec import ArmSpec

_TOKENS = 4
"""Tokens that are asked for; where a stack tells texts alone, a few show which token came first."""
Ask = Callable[[ArmSpec, Sequence[Prompt]], Mapping[str, Completion]]
"""Has an arm answer prompts and returns its answers by prompt id."""


def ask_engine(spec: ArmSpec, prompts: Sequence[Prompt]) -> dict[str, Completion]:
    """Have an arm answer prompts with an engine of its own.

    Raises:
        DraftproofError: The engine cannot be opened or does not answer.
    """
    engine = make_engine(spec)
    engine.open(prompts)
    answers = {c.id: c for c in engine.answer(prompts)}
    engine.proof()
    engine.close()
    return answers


class PlainAsker:
    """Asks an arm for the token after the beginning of an answer.

    Args:
        spec: The baseline, which decodes plainly.
        instrument: Knows the texts of tokens and how prompts are rendered.
        ask: Asks the engine.
    """

    def __init__(self, spec: ArmSpec, instrument: Instrument, ask: Ask = ask_engine) -> None:
        self._spec, self._instrument, self._ask = spec, instrument, ask

    def next_tokens(
        self, prefixes: Sequence[tuple[Prompt, tuple[int, ...]]], known: Sequence[tuple[int, ...]]
    ) -> list[int | None] | None:
        """Return the token that the stack says after each prefix.

        Args:
            prefixes: Prompts with the ids of the answer up to the position.
            known: Tokens a position among which a stack that tells texts alone is read.

        Returns:
            Tokens, None where one is not known; None instead of them where the stack cannot be
            asked: it shapes its scores by the text, or does not answer.
        """
        if self._spec.processors or self._spec.extra_body.get("stop"):
            return None
        asked = [self._continued(i, *prefix) for i, prefix in enumerate(prefixes)]
        prompts = [p for p in asked if p is not None]
        if not prompts:
            return None
        spec = self._spec.model_copy(update={"max_new_tokens": _TOKENS})
        try:
            answers = self._ask(spec, prompts)
        except DraftproofError:
            return None
        if all(c.error is not None for c in answers.values()):
            return None
        given = [None if p is None else answers.get(p.id) for p in asked]
        return [
            None if answer is None else self._first(answer, prefix, told)
            for answer, (_, prefix), told in zip(given, prefixes, known, strict=True)
        ]

    def _continued(self, index: int, prompt: Prompt, prefix: tuple[int, ...]) -> Prompt | None:
        """Return what makes the stack go on after a prefix, None where its text would not."""
        text = self._instrument.text(prefix)
        whole = plain_text(messages_of(prompt), prompt.prefill) + text
        name = f"{prompt.id}@{index}"
        bare = replace(prompt, id=name, messages=(Message("user", whole),), prefill="")
        inside = replace(prompt, id=name, prefill=prompt.prefill + text)
        if self._spec.engine == "openai":
            return bare if self._spec.api == "completions" else inside
        fits = (p for p in (inside, bare) if self._instrument.continues(p, prompt, prefix))
        return next(fits, None)

    def _first(
        self, answer: Completion, prefix: tuple[int, ...], known: tuple[int, ...]
    ) -> int | None:
        if answer.error is not None:
            return None
        if answer.token_ids:
            return answer.token_ids[0]
        if not answer.text:
            ended = answer.finish_reason == "stop"
            return next((t for t in known if ended and t in self._instrument.ends), None)
        before = len(self._instrument.text(prefix))
        texts = {t: self._instrument.text((*prefix, t))[before:] for t in known}
        fits = [t for t, text in texts.items() if text and answer.text.startswith(text)]
        # of " a" and " an" the longer is what was said
        return max(fits, key=lambda t: len(texts[t]), default=None)
