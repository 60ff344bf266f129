"""What every caller of the loop needs around it: seeds, shaping, and answers as completions."""

from __future__ import annotations

from draftproof.decoding.grammar import Vocabulary
from draftproof.decoding.options import Options
from draftproof.decoding.pretrained import Pretrained
from draftproof.decoding.requests import Answer
from draftproof.decoding.rules.exact import Exact
from draftproof.decoding.rules.rule import Rule
from draftproof.decoding.shaping import Shaping
from draftproof.records import TEXT_CHANNELS, Completion, Speculation, digest


class Session:
    """A target, perhaps with a draft, and the rule between them.

    Args:
        target: The model whose answers are wanted.
        draft: The draft model, None without one.
        rule: Decides what is kept of a proposal.
    """

    def __init__(
        self,
        target: Pretrained,
        draft: Pretrained | None = None,
        rule: Rule = Exact(),  # noqa: B008 - frozen, without state
    ) -> None:
        self.target, self.draft, self.rule = target, draft, rule
        self._vocabulary: Vocabulary | None = None

    @property
    def draft_has_own_prompt(self) -> bool:
        """Whether the draft is fed the conversation in its own chat template.

        That is so for a rule whose draft is meant to change the target distribution. A draft
        without a chat template reads what the target reads.
        """
        if self.draft is None or not self.rule.facts.changes_target:
            return False
        return getattr(self.draft.tokenizer, "chat_template", None) is not None

    def shaping(self, options: Options, prompt_length: int) -> Shaping | None:
        """Return what is done to the rows of a prompt of `prompt_length` tokens.

        Raises:
            DraftproofError: An option cannot be served, or a schema cannot be read.
        """
        target = self.target
        if options.has_grammar and self._vocabulary is None:
            self._vocabulary = Vocabulary(target.tokenizer, target.model.vocab_size, target.eos)
        return options.shaping(target, prompt_length, self._vocabulary)


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
