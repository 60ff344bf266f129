"""Where two answers part: the first token that differs, from token ids or from texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.records import Cause, Channel, Completion, Pair
from draftproof.rescoring.rescorer import Rescorer
from draftproof.screen.spelling import spelled_otherwise

_STRINGS = (Channel.REASONING, Channel.TEXT, Channel.REFUSAL)
"""Channels that hold one string, in the order of generation."""
_RUN = 8
"""Tokens that one token spelled otherwise can take the place of."""


@dataclass(frozen=True, slots=True)
class FirstDivergence:
    """The position at which a pair of answers parts.

    Attributes:
        prefix: Token ids that both answers share.
        rejected: The baseline's next token.
        kept: The candidate's next token.
        respelled: The ids were made from the texts again; they need not be those that were drawn.
        end: Where one text is the beginning of the other, the token that stands for its end.
        run: The candidate's next few tokens, `kept` first.
    """

    prefix: tuple[int, ...]
    rejected: int
    kept: int
    respelled: bool = False
    end: int | None = None
    run: tuple[int, ...] = ()

    @property
    def index(self) -> int:
        """Index of the first differing token, 0-based."""
        return len(self.prefix)


@dataclass(frozen=True, slots=True)
class ResolvedCause:
    """A divergence whose cause is known without asking a model."""

    cause: Cause
    text: str
    index: int | None = None


def first_difference(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the index of the first element in which two sequences differ.

    >>> first_difference("abc", "abd"), first_difference("ab", "abd")
    (2, 2)
    """
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def locate(
    pairs: Sequence[Pair], rescorer: Rescorer | None
) -> list[FirstDivergence | ResolvedCause]:
    """Return where each pair parts, or what is known of it already.

    Args:
        pairs: Pairs whose bytes differ.
        rescorer: Spells answers without token ids again; None where there is none.
    """
    spoken = [i for i, p in enumerate(pairs) if _by_text(p, rescorer)]
    spelled: dict[int, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = {}
    if rescorer is not None and spoken:
        ids = rescorer.tokenise(
            [(pairs[i].prompt, c) for i in spoken for c in (pairs[i].baseline, pairs[i].candidate)]
        )
        spelled = {i: (ids[2 * k], ids[2 * k + 1]) for k, i in enumerate(spoken)}
    return [_locate(pair, spelled.get(i)) for i, pair in enumerate(pairs)]


def _by_text(pair: Pair, rescorer: Rescorer | None) -> bool:
    bare = pair.baseline.token_ids is None or pair.candidate.token_ids is None
    return bare or (rescorer is not None and rescorer.reads_text)


def _locate(
    pair: Pair, spelled: tuple[tuple[int, ...] | None, tuple[int, ...] | None] | None
) -> FirstDivergence | ResolvedCause:
    before, after = pair.baseline, pair.candidate
    channels = pair.different_channels
    known = _beside_the_tokens(pair, channels)
    if known is not None:
        return known
    if Channel.TOKENS in channels and spelled is None:
        return _with_ids(before, after)
    first = channels[0] if channels else Channel.TEXT
    if spelled is None or first is not Channel.TEXT or _goes_on_with_a_call(before, after):
        return _in_channel(before, after, first)
    if before.reasoning or after.reasoning:
        text = "the text follows reasoning, whose token ids are not known"
        return ResolvedCause(Cause.UNEXPLAINED, text)
    one, other = spelled
    if one is None or other is None:
        arm = (before if one is None else after).arm
        return ResolvedCause(
            Cause.TOKENISATION,
            f"the target's tokenizer does not reproduce the answer of arm {arm!r}",
        )
    return _respelled(before, after, one, other)


def _beside_the_tokens(pair: Pair, channels: Sequence[Channel]) -> ResolvedCause | None:
    """Return what is known of a pair before its tokens are looked at."""
    before, after = pair.baseline, pair.candidate
    hashes = (before.prompt_hash, after.prompt_hash)
    if None not in hashes and hashes[0] != hashes[1]:
        return ResolvedCause(Cause.TEMPLATE, "the two arms were fed different prompts")
    generated = [c for c in channels if c not in {Channel.TOKENS, Channel.FINISH_REASON}]
    if generated == [Channel.TOOL_CALLS] and spelled_otherwise(
        before.tool_calls or (), after.tool_calls or ()
    ):
        return ResolvedCause(
            Cause.SPELLING, "the arguments of the tool calls are equal as JSON, spelled differently"
        )
    if generated and Channel.TOKENS in pair.compared_channels and Channel.TOKENS not in channels:
        names = " and ".join(c.words for c in generated)
        return ResolvedCause(
            Cause.UNEXPLAINED,
            f"the token ids are equal and the {names} made from them are not: the stacks read or "
            "decode one output differently",
        )
    return None


def _in_channel(before: Completion, after: Completion, channel: Channel) -> ResolvedCause:
    """Return what a channel itself says of two answers that part in it."""
    one, other = before.shown(channel), after.shown(channel)
    at = first_difference(one, other)
    shorter, short = (before, one) if len(one) < len(other) else (after, other)
    text = f"the answers first differ in their {channel.words}, which no model can score again"
    if channel is Channel.FINISH_REASON:
        return ResolvedCause(
            Cause.TRUNCATION,
            "the answers hold the same but end for different reasons (finish_reason): "
            f"{one} in arm {before.arm!r}, {other} in arm {after.arm!r}",
        )
    if channel in _STRINGS and at == len(short):
        if not _goes_on(shorter, channel):
            return _truncation(shorter, None, f"{at} characters", channel)
        text = f"arm {shorter.arm!r} ends its {channel.words} early and goes on with something else"
    elif channel is Channel.TEXT:
        text = "the answers carry no token ids to score again"
    return ResolvedCause(Cause.UNEXPLAINED, text)


def _goes_on(answer: Completion, channel: Channel) -> bool:
    """Whether an answer holds something that is generated after a channel."""
    later = _STRINGS[_STRINGS.index(channel) + 1 :]
    return bool(answer.tool_calls) or any(answer.in_channel(c) for c in later)


def _goes_on_with_a_call(before: Completion, after: Completion) -> bool:
    """Whether one text is the beginning of the other and a tool call follows it."""
    shorter = min((before, after), key=lambda c: len(c.text))
    longer = after if shorter is before else before
    return bool(shorter.tool_calls) and longer.text.startswith(shorter.text)


def _with_ids(before: Completion, after: Completion) -> FirstDivergence | ResolvedCause:
    one, other = before.token_ids or (), after.token_ids or ()
    index = first_difference(one, other)
    shorter = min((before, after), key=lambda c: len(c.token_ids or ()))
    if index < min(len(one), len(other)):
        return FirstDivergence(one[:index], one[index], other[index])
    if shorter is before and before.finish_reason == "stop":
        return ResolvedCause(
            Cause.FAULT,
            f"the candidate continues where the baseline ended, after {index} tokens",
            index,
        )
    return _truncation(shorter, index, f"{index} tokens")


def _respelled(
    before: Completion, after: Completion, one: tuple[int, ...], other: tuple[int, ...]
) -> FirstDivergence | ResolvedCause:
    index = first_difference(one, other)
    cut = before.text.startswith(after.text) or after.text.startswith(before.text)
    shorter = min((before, after), key=lambda c: len(c.text))
    if index == min(len(one), len(other)):
        return _truncation(shorter, index, f"{index} tokens")
    if cut and shorter.finish_reason != "stop":
        # its last token may be spelled otherwise only because nothing follows it
        return _truncation(shorter, None, f"{len(shorter.text)} characters")
    end = None
    if cut:
        end = one[index] if shorter is before else other[index]
    run = other[index : index + _RUN]
    return FirstDivergence(one[:index], one[index], other[index], respelled=True, end=end, run=run)


def _truncation(
    shorter: Completion, index: int | None, length: str, channel: Channel = Channel.TEXT
) -> ResolvedCause:
    where = "" if channel is Channel.TEXT else f" of its {channel.words}"
    return ResolvedCause(
        Cause.TRUNCATION,
        f"arm {shorter.arm!r} stops after {length}{where} ({shorter.finish_reason}), "
        "both answers are identical up to there",
        index,
    )
