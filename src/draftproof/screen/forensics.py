"""Why two answers differ: the target is asked again, at the first token that differs.

The shared beginning is teacher-forced through the target, once one token wide as plain decoding
computes it and once as wide as verification does. If the target cannot tell the two tokens apart
within the rounding of the stack that answered, the divergence is a tie; if it can, the token it
would not have chosen is a leak (the draft wanted it) or a fault (nobody did).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.records import Cause, Channel, Completion, Divergence, Pair
from draftproof.rescoring.rescorer import Rescorer, ScoreRequest, TokenScore
from draftproof.screen.locate import FirstDivergence, ResolvedCause, first_difference, locate


@dataclass(frozen=True, slots=True)
class Explanation:
    """A divergence with what its explanation rests on.

    Attributes:
        divergence: What the verdict document says of it.
        first: Where the answers first differ; None where no position could be scored.
        opinion: The target's scores at the position; None with `first`.
    """

    divergence: Divergence
    first: FirstDivergence | None = None
    opinion: TokenScore | None = None


def explain(
    pairs: Sequence[Pair], rescorer: Rescorer | None, bound: float | None = None
) -> list[Explanation]:
    """Return the cause of every pair whose bytes differ, in the order given.

    Args:
        pairs: Pairs whose bytes differ.
        rescorer: Scores the tokens at which they part; None where no model is at hand.
        bound: Largest margin, nats, that the rounding of the stack can be blamed for; None where
            that is not known, so that nothing can be told from it.
    """
    places = locate(pairs, rescorer)
    questions = {
        i: ScoreRequest(pair.prompt, place.prefix, (place.rejected, place.kept))
        for i, (pair, place) in enumerate(zip(pairs, places, strict=True))
        if isinstance(place, FirstDivergence)
    }
    opinions: dict[int, TokenScore] = {}
    if rescorer is not None and bound is not None and questions:
        scores = rescorer.scores(list(questions.values()))
        opinions = dict(zip(questions, scores, strict=True))
    explanations = []
    for i, (pair, place) in enumerate(zip(pairs, places, strict=True)):
        if isinstance(place, ResolvedCause):
            explanations.append(Explanation(_resolved(pair, place)))
        elif rescorer is None or bound is None:
            text = "no model was available to score it again"
            if rescorer is not None:
                text = "the rounding of this stack was not measured, so no margin means anything"
            unexplained = ResolvedCause(Cause.UNEXPLAINED, text, place.index)
            explanations.append(Explanation(_resolved(pair, unexplained)))
        else:
            divergence = _scored(pair, place, opinions[i], rescorer, bound)
            explanations.append(Explanation(divergence, place, opinions[i]))
    return explanations


def _scored(
    pair: Pair, place: FirstDivergence, opinion: TokenScore, rescorer: Rescorer, bound: float
) -> Divergence:
    margin, own = opinion.margin(place.kept), opinion.margin(place.rejected)
    provenance = None
    if not place.respelled:
        provenance = (pair.candidate.provenance or "")[place.index : place.index + 1] or None
    cause, text = _cause(place, opinion, provenance, bound)
    if place.respelled and cause in {Cause.LEAK, Cause.FAULT}:
        doubt = _doubt(place, opinion, rescorer, bound)
        if doubt:
            cause, text = Cause.TOKENISATION, doubt
        elif cause is Cause.FAULT:
            # the draft's own choice among other tokens is too much of a coincidence for a
            # spelling, any other token may be one
            cause, text = Cause.UNEXPLAINED, f"{text}; no token ids were recorded that prove it"
    clear = _clear(margin, bound) and _clear(own, bound)
    confidence = "high" if clear else "low"
    if place.respelled and confidence == "high":
        confidence = "medium"
    if cause in {Cause.TOKENISATION, Cause.UNEXPLAINED}:
        confidence = "none"
    draft = opinion.draft_token
    return _divergence(
        pair,
        cause,
        text,
        place.index,
        baseline_token=rescorer.show(place.rejected),
        candidate_token=rescorer.show(place.kept),
        draft_token=None if draft is None else rescorer.show(draft),
        margin=own if cause is Cause.FAULT and margin <= bound else margin,
        noise_bound=bound,
        provenance=provenance,
        confidence=confidence,
        margins=opinion.margins[place.kept],
        baseline_margins=opinion.margins[place.rejected],
        baseline_rank=opinion.ranks[place.rejected],
        candidate_rank=opinion.ranks[place.kept],
    )


def _cause(
    place: FirstDivergence, opinion: TokenScore, provenance: str | None, bound: float
) -> tuple[Cause, str]:
    margin, own = opinion.margin(place.kept), opinion.margin(place.rejected)
    if margin <= bound and own <= bound:
        apart = max(margin, own)
        return Cause.TIE, f"both tokens are within {apart:.2g} nats of the target's best"
    if place.end is not None and opinion.margin(place.end) > bound:
        why = "the target would not have ended there: a stop string or a limit did"
        return Cause.TRUNCATION, f"one answer is a prefix of the other, and {why}"
    if margin <= bound:
        why = f"the baseline's is {own:.2g} nats below, the baseline is at fault"
        return Cause.FAULT, f"the target prefers the candidate's token: {why}"
    return _against_the_target(margin, provenance, place.kept, opinion.draft_token)


def _against_the_target(
    margin: float, provenance: str | None, kept: int, draft_token: int | None
) -> tuple[Cause, str]:
    wanted = draft_token == kept
    if provenance == "d" or (wanted and provenance is None):
        text = f"a drafted token was accepted {margin:.2g} nats below the target's best"
        return Cause.LEAK, text
    if wanted:
        text = f"the draft's choice, {margin:.2g} nats below the target's best, was emitted"
        return Cause.LEAK, text
    if draft_token is None:
        where = f"the token is {margin:.2g} nats below the target's best"
        return Cause.FAULT, f"{where}; the draft's choice is unknown"
    text = f"neither the target ({margin:.2g} nats below its best) nor the draft chose it"
    return Cause.FAULT, text


def _doubt(
    place: FirstDivergence, opinion: TokenScore, rescorer: Rescorer, bound: float
) -> str | None:
    """Return why a spelling made from text cannot be trusted here, None where it can.

    Plain decoding says the target's favourite, so a baseline token that is not shows that other
    tokens were drawn than the text is spelled with; and where the candidate's text goes on with
    another token that the target likes as well, that one may have been drawn.
    """
    if opinion.margin(place.rejected) > bound:
        return "the baseline's text, tokenised again, is not the target's choice there"
    rest = "".join(rescorer.show(t) for t in place.run)
    liked = [t for t, margin in opinion.best if margin <= bound and t != place.kept]
    shown = [rescorer.show(t) for t in liked]
    if any(text and rest.startswith(text) for text in shown):
        return "the candidate's text also begins with the target's choice, tokenised differently"
    return None


def _clear(margin: float, bound: float) -> bool:
    """Whether a margin is well to one side of the bound."""
    return not bound / 2 < margin < 2 * bound


def _resolved(pair: Pair, known: ResolvedCause) -> Divergence:
    confidence = "none" if known.cause in {Cause.UNEXPLAINED, Cause.TOKENISATION} else "high"
    return _divergence(pair, known.cause, known.text, known.index, confidence=confidence)


def _char_index(pair: Pair) -> int:
    channel = next(iter(pair.different_channels), Channel.TEXT)
    return first_difference(pair.baseline.shown(channel), pair.candidate.shown(channel))


def _beside_the_text(pair: Pair, answer: Completion) -> dict[str, str]:
    """Return what an answer holds in the channels that either answer fills beside its text."""
    return {
        c.value: answer.shown(c)
        for c in Channel
        if c not in {Channel.TEXT, Channel.TOKENS}
        and (pair.baseline.in_channel(c) or pair.candidate.in_channel(c))
    }


def _divergence(
    pair: Pair,
    cause: Cause,
    explanation: str,
    index: int | None,
    *,
    confidence: str,
    baseline_token: str | None = None,
    candidate_token: str | None = None,
    draft_token: str | None = None,
    margin: float | None = None,
    noise_bound: float | None = None,
    provenance: str | None = None,
    margins: tuple[float, float] | None = None,
    baseline_margins: tuple[float, float] | None = None,
    baseline_rank: int | None = None,
    candidate_rank: int | None = None,
) -> Divergence:
    before, after = pair.baseline_label, pair.candidate_label
    return Divergence(
        id=pair.prompt.id,
        task=pair.prompt.task,
        cause=cause,
        explanation=explanation,
        token_index=index,
        char_index=_char_index(pair),
        channels=pair.different_channels,
        baseline_channels=_beside_the_text(pair, pair.baseline),
        candidate_channels=_beside_the_text(pair, pair.candidate),
        baseline_text=pair.baseline.text,
        candidate_text=pair.candidate.text,
        baseline_token=baseline_token,
        candidate_token=candidate_token,
        draft_token=draft_token,
        margin=margin,
        noise_bound=noise_bound,
        provenance=provenance,
        confidence=confidence,
        baseline_label=before.value if before else None,
        candidate_label=after.value if after else None,
        flip=pair.flip,
        margins=margins,
        baseline_margins=baseline_margins,
        baseline_rank=baseline_rank,
        candidate_rank=candidate_rank,
    )
