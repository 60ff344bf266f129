"""Where two answers part: the first token that differs, from token ids or from texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.records import Cause, Channel, Completion, Pair
from draftproof.rescoring.rescorer import Rescorer

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
    hashes = (before.prompt_hash, after.prompt_hash)
    if None not in hashes and hashes[0] != hashes[1]:
        return ResolvedCause(Cause.TEMPLATE, "the two arms were fed different prompts")
    beside = _beside_the_text(pair)
    if beside is not None:
        return beside
    if spelled is None:
        if before.token_ids is None or after.token_ids is None:
            return _without_ids(before, after)
        return _with_ids(before, after)
    one, other = spelled
    if one is None or other is None:
        arm = (before if one is None else after).arm
        return ResolvedCause(
            Cause.TOKENISATION,
            f"the target's tokenizer does not reproduce the answer of arm {arm!r}",
        )
    return _respelled(before, after, one, other)


def _beside_the_text(pair: Pair) -> ResolvedCause | None:
    """Return what is known of a pair whose texts and tokens are equal."""
    channels = pair.different_channels
    if not channels or {Channel.TEXT, Channel.TOKENS} & set(channels):
        return None
    first, before, after = channels[0], pair.baseline, pair.candidate
    if first is Channel.FINISH_REASON:
        return ResolvedCause(
            Cause.TRUNCATION,
            "the answers hold the same but end for different reasons (finish_reason): "
            f"{before.finish_reason} in arm {before.arm!r}, {after.finish_reason} in "
            f"arm {after.arm!r}",
        )
    names = " and ".join(c.value.replace("_", " ") for c in channels)
    return ResolvedCause(
        Cause.UNEXPLAINED, f"the texts are equal, the answers differ in their {names}"
    )


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


def _without_ids(before: Completion, after: Completion) -> ResolvedCause:
    at = first_difference(before.text, after.text)
    shorter = min((before, after), key=lambda c: len(c.text))
    if at == len(shorter.text):
        return _truncation(shorter, None, f"{at} characters")
    return ResolvedCause(Cause.UNEXPLAINED, "the answers carry no token ids to score again")


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


def _truncation(shorter: Completion, index: int | None, length: str) -> ResolvedCause:
    return ResolvedCause(
        Cause.TRUNCATION,
        f"arm {shorter.arm!r} stops after {length} ({shorter.finish_reason}), "
        "both answers are identical up to there",
        index,
    )
