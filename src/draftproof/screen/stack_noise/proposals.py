"""What the draft proposed where an arm's answers were scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from draftproof.records import Completion
from draftproof.rescoring.scored_answers import UNKNOWN, ScoredAnswers
from draftproof.screen.stack_noise.source import StackSource
from draftproof.stats.checks import BoolArray, IntArray
from draftproof.stats.direction import Direction, NearTies, near_ties

_LEAST_SAID = 2
"""Second tokens that an arm must have said among its near-ties for their direction to show."""


def proposed_tokens(scores: ScoredAnswers, proposals: ScoredAnswers | None) -> IntArray:
    """Return the draft's proposal at every row of an arm's scores, int64 [N]; -1 where unknown."""
    out = np.full(scores.n, UNKNOWN, dtype=np.int64)
    if proposals is None:
        return out
    places = {name: index for index, name in enumerate(proposals.prompts)}
    starts = np.searchsorted(proposals.prompt, np.arange(len(proposals.prompts) + 1))
    own = np.searchsorted(scores.prompt, np.arange(len(scores.prompts) + 1))
    for index, name in enumerate(scores.prompts):
        at = places.get(name)
        if at is None:
            continue
        theirs = proposals.best[starts[at] : starts[at + 1]]
        length = min(theirs.size, int(own[index + 1] - own[index]))
        out[own[index] : own[index] + length] = theirs[:length]
    return out


def origins(scores: ScoredAnswers, answers: Mapping[str, Completion]) -> str:
    """Return one letter a row: how the arm says that the token came about; ``?`` where unknown."""
    letters = []
    counts = np.bincount(scores.prompt, minlength=len(scores.prompts)).tolist()
    for name, count in zip(scores.prompts, counts, strict=True):
        told = answers[name].provenance if name in answers else None
        letters.append((told or "")[:count].ljust(count, "?"))
    return "".join(letters)


def directions(
    source: StackSource, candidate: ScoredAnswers, baseline: ScoredAnswers, widest: float
) -> Direction | None:
    """Return whether near-ties follow the draft, None where no tie could or no draft is known."""
    near = (candidate.gap < widest) & (candidate.deviation > 0)
    if int(near.sum()) < _LEAST_SAID or not np.isfinite(widest):
        return None
    own = source.proposals(candidate.arm)
    replayed = source.proposals(baseline.arm)
    if own is None or replayed is None:
        return None
    letters = np.array(list(origins(candidate, source.answers)), dtype="U1")
    tested = _near_ties(candidate, own, widest, letters != "b")
    beside = _near_ties(baseline, replayed, widest, np.ones(baseline.n, dtype=np.bool_))
    return Direction(tested, beside)


def _near_ties(
    scores: ScoredAnswers, proposals: ScoredAnswers, widest: float, kept: BoolArray
) -> NearTies:
    draft = proposed_tokens(scores, proposals)
    second = (scores.said == scores.second) & (scores.deviation > 0)
    known = np.isfinite(scores.gap) & (second | (scores.said == scores.best))
    known &= (draft == scores.best) | ((draft == scores.second) & (draft != UNKNOWN))
    known &= kept & ~scores.respelled
    return near_ties(
        scores.gap[known], second[known], (draft == scores.second)[known], widest=widest
    )
