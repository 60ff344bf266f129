"""The one way from a caller's prompt to the loop and back: the API, stacks, studies, the server."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from draftproof.decoding.checkpoint_options import checkpoint_options
from draftproof.decoding.drafters.drafter import Drafter
from draftproof.decoding.drafters.intersection import Intersection
from draftproof.decoding.grammar import Vocabulary
from draftproof.decoding.loop import Batch, stream
from draftproof.decoding.options import Options
from draftproof.decoding.pretrained import Pretrained
from draftproof.decoding.processors import shaping_of
from draftproof.decoding.prompts import Prompt, is_ids, tokens_of
from draftproof.decoding.requests import Answer, AnswerDelta, Request
from draftproof.decoding.rules import make_rule
from draftproof.decoding.rules.rule import Rule
from draftproof.decoding.settings import Settings
from draftproof.decoding.shaping import Shaping
from draftproof.records import TEXT_CHANNELS, Completion, DraftproofError, Speculation, digest


class DoesNotFitError(DraftproofError):
    """A prompt and the longest answer to it are more than a model holds."""


class PromptIds(NamedTuple):
    """A prompt as the models are fed it.

    Attributes:
        target: Token ids that the target reads.
        draft: What the draft reads instead, None where it reads the same.
    """

    target: tuple[int, ...]
    draft: tuple[int, ...] | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longer one."""
        return max(len(self.target), len(self.draft or ()))


class Session:
    """A target, perhaps with a drafter, and the rule between them.

    Args:
        target: The model whose answers are wanted.
        drafter: Proposes tokens; None decodes plainly.
        draft: The draft model, whose chat template a rule that changes the target distribution
            feeds it.
        rule: Name of the acceptance rule, or the rule itself.
        rule_options: The named rule's parameters.
        ignore_generation_config: Leave out what the checkpoint's ``generation_config`` asks of
            every answer, see `checkpoint_options`.
        spare: Slots kept behind an answer for verification; by default what the drafter needs.
        capacity: Most tokens of a prompt, its answer and the spare slots; None is what the models
            hold.

    Raises:
        DraftproofError: There is no such rule, or it judges drafted tokens and there are none.
    """

    def __init__(
        self,
        target: Pretrained,
        drafter: Drafter | None = None,
        *,
        draft: Pretrained | None = None,
        rule: str | Rule = "exact",
        rule_options: Mapping[str, Any] | None = None,
        ignore_generation_config: bool = False,
        spare: int | None = None,
        capacity: int | None = None,
    ) -> None:
        self.target, self.drafter, self.draft = target, drafter, draft
        try:
            self.rule = make_rule(rule, rule_options) if isinstance(rule, str) else rule
        except ValueError as error:
            raise DraftproofError(str(error)) from error
        if drafter is None and self.rule.name != "exact":
            raise DraftproofError(
                f"rule {self.rule.name!r} judges drafted tokens, but no draft is named"
            )
        module = target.model.module
        self._defaults = {} if ignore_generation_config else checkpoint_options(module)
        self._completed: tuple[Options, Options] | None = None
        self._vocabulary: Vocabulary | None = None
        self.spare = (drafter.gamma + 1 if drafter else 1) if spare is None else spare
        # an intersection reads the text in tokens of its own and stops drafting where it is full
        models = [target] if draft is None or isinstance(drafter, Intersection) else [target, draft]
        limits = [(m.model.max_positions, m.name) for m in models] + [(capacity, "the buffer")]
        self._limit = min([(size, name) for size, name in limits if size], default=None)

    @property
    def capacity(self) -> int | None:
        """Most tokens of a prompt, its answer and the spare slots; None is any number."""
        return self._limit and self._limit[0]

    @property
    def draft_has_own_prompt(self) -> bool:
        """Whether the draft is fed the conversation in its own chat template.

        That is so for a rule whose draft is meant to change the target distribution. A draft
        without a chat template reads what the target reads.
        """
        if self.draft is None or not self.rule.facts.changes_target:
            return False
        return getattr(self.draft.tokenizer, "chat_template", None) is not None

    def ids_of(self, prompt: Prompt, name: str | int, prefill: str = "") -> PromptIds:
        """Return a prompt as the models are fed it.

        Args:
            prompt: What to continue.
            name: For messages.
            prefill: Beginning of the answer to a conversation.

        Raises:
            DraftproofError: See `tokens_of`.
            TypeError: See `tokens_of`.
        """
        ids = tokens_of(prompt, self.target, name, prefill)
        if self.draft is None or not self.draft_has_own_prompt or is_ids(prompt):
            return PromptIds(ids)
        return PromptIds(ids, tokens_of(prompt, self.draft, name, prefill))

    def room(self, prompt: PromptIds) -> int | None:
        """Return how many tokens an answer to a prompt may have, below 1 if none; None is any."""
        return None if self._limit is None else self._limit[0] - self.spare - prompt.longest

    def request(
        self,
        name: str | int,
        prompt: PromptIds,
        options: Options,
        *,
        seed: int | None = None,
        shaping: Shaping | None = None,
    ) -> Request:
        """Return what the loop is asked for a prompt.

        Args:
            name: Of the request.
            prompt: As the models are fed it.
            options: How the answer is drawn, shaped and ended.
            seed: Of the request's own generator; by default `seed_of` the options' and the name.
            shaping: Of the rows, in place of what options and checkpoint ask for.

        Raises:
            DoesNotFitError: The answer may become longer than a model holds.
            DraftproofError: An option cannot be served, or a schema cannot be read.
        """
        room, new = self.room(prompt), options.max_new_tokens
        if room is not None and room < new:
            assert self._limit is not None
            mend = f"set max_new_tokens to {room} at most" if room > 0 else "shorten it"
            raise DoesNotFitError(
                f"prompt {name!r} has {prompt.longest} tokens and the answer may have {new}; "
                f"{self._limit[1]} holds {self._limit[0]}, {self.spare} of them for verification: "
                f"{mend}"
            )
        try:
            return Request(
                id=str(name),
                prompt=prompt.target,
                max_new_tokens=new,
                seed=seed_of(options.seed, name) if seed is None else seed,
                draft_prompt=prompt.draft,
                shaping=shaping or self.shaping(options, len(prompt.target)),
            )
        except ValueError as error:
            raise DraftproofError(str(error)) from error

    def shaping(self, options: Options, prompt_length: int) -> Shaping | None:
        """Return what is done to the rows of a prompt, the checkpoint's own options included.

        Args:
            options: How the answer is shaped; what they name comes before the checkpoint's.
            prompt_length: Tokens of the prompt.

        Raises:
            DraftproofError: An option cannot be served, or a schema cannot be read.
        """
        target, last = self.target, self._completed  # a server asks from several threads
        if last is None or last[0] is not options:
            more = {**self._defaults, **options.more}
            last = (options, replace(options, more=more) if self._defaults else options)
            self._completed = last
        whole, grammar = last[1], None
        if whole.has_grammar:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(target.tokenizer, target.model.vocab_size, target.eos)
            if whole.json_schema is not None:
                grammar = self._vocabulary.json_schema(whole.json_schema)
            else:
                grammar = self._vocabulary.regex(whole.regex or "")
        return shaping_of(
            whole.config, prompt_length=prompt_length, eos=target.eos, device=target.model.device,
            decode=target.text_of, grammar=grammar, presence_penalty=whole.presence_penalty,
            frequency_penalty=whole.frequency_penalty,
        )  # fmt: skip

    def settings(self, options: Options, **loop: Any) -> Settings:
        """Return how requests of some options are decoded.

        Args:
            options: How answers are drawn.
            loop: Other fields of `Settings`: batch, capacity, width, exactness, noise bound.
        """
        return Settings(
            eos=self.target.eos,
            drafter=self.drafter,
            rule=self.rule,
            temperature=options.temperature,
            logprobs=options.logprobs,
            **loop,
        )

    def stream(
        self, requests: Sequence[Request], settings: Settings, batch_type: type[Batch] = Batch
    ) -> Generator[AnswerDelta]:
        """Do what `draftproof.decoding.stream` does.

        Raises:
            DraftproofError: The loop refuses the settings or a request.
        """
        try:
            yield from stream(self.target.model, requests, settings, batch_type=batch_type)
        except ValueError as error:
            raise DraftproofError(str(error)) from error

    def decode(
        self, requests: Sequence[Request], settings: Settings, batch_type: type[Batch] = Batch
    ) -> Iterator[Answer]:
        """Yield each answer of `stream` as soon as it is finished."""
        for answer, _ in self.stream(requests, settings, batch_type):
            if answer.finish_reason:
                yield answer


def seed_of(seed: int, key: str | int) -> int:
    """Return the seed of one request's own generator, from the run's seed and its name."""
    return int(digest([seed, key])[:15], 16)


def loop_counters(answer: Answer) -> Speculation:
    """Return the loop's own counters."""
    return Speculation(
        rounds=answer.rounds,
        drafted=answer.drafted,
        accepted=answer.accepted,
        histogram=tuple(answer.histogram),
    )


def completion_of(
    answer: Answer,
    target: Pretrained,
    *,
    arm: str,
    speculative: bool,
    task: str | None = None,
    prompt_hash: str | None = None,
) -> Completion:
    """Return a finished answer as the record that runs keep.

    Args:
        answer: From the loop.
        target: The model that answered; the end-of-sequence token is no part of the text.
        arm: Who answered.
        speculative: Whether a drafter was at work, so that its counters mean something.
        task: Of the prompt.
        prompt_hash: Digest of the prompt's token ids.
    """
    ended = answer.tokens[-1:] and answer.tokens[-1] in target.eos
    return Completion(
        arm=arm,
        id=answer.id,
        task=task,
        text=target.text_of(answer.tokens[:-1] if ended else answer.tokens),
        finish_reason=answer.finish_reason,
        token_ids=tuple(answer.tokens),
        provenance="".join(answer.provenance),
        channels=TEXT_CHANNELS,
        prompt_hash=prompt_hash,
        speculation=loop_counters(answer) if speculative else None,
        modes="".join(map(str, answer.modes)) or None,
        matches="".join("01"[match] for match in answer.matches) or None,
        error=answer.error,
    )
