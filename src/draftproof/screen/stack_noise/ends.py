"""Answers of which one ends where the other goes on: a tie where the model likes both as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from draftproof.records import Cause
from draftproof.rescoring.scored_answers import ScoredAnswers
from draftproof.screen.forensics import Explanation
from draftproof.screen.stack_noise.measure import MeasuredNoise

_ENDED = frozenset({Cause.FAULT, Cause.TRUNCATION})


def ends_settled(explanations: Sequence[Explanation], measured: MeasuredNoise) -> list[Explanation]:
    """Return explanations with the ends of answers held against the stack's rounding.

    Where token ids hold no end token, two answers of which one ends part at no token of both. The
    end was scored with the whole answer, whichever end token the model likes best; if it and the
    other answer's next token lie within the stack's rounding, the divergence is a tie.
    """
    return [_settled(e, measured) if _is_end(e) else e for e in explanations]


def _is_end(explanation: Explanation) -> bool:
    found = explanation.divergence
    return explanation.first is None and found.cause in _ENDED and found.token_index is not None


def _settled(explanation: Explanation, measured: MeasuredNoise) -> Explanation:
    found = explanation.divergence
    index = found.token_index or 0
    before = _deviation(measured.clean_scores[0], found.id, index)
    after = _deviation(measured.scores, found.id, index)
    # an answer that a limit or a stop string ended has no end to score
    if before is None or after is None or max(before, after) > measured.margin:
        return explanation
    text = (
        f"one answer ends and the other goes on; the model likes both within "
        f"{max(before, after):.2g} nats of its best"
    )
    tie = replace(
        found,
        cause=Cause.TIE,
        explanation=text,
        margin=after,
        noise_bound=measured.margin,
        confidence="high" if 2 * max(before, after) < measured.margin else "low",
    )
    return replace(explanation, divergence=tie)


def _deviation(scores: ScoredAnswers, prompt: str, position: int) -> float | None:
    if prompt not in scores.prompts:
        return None
    at = (scores.prompt == scores.prompts.index(prompt)) & (scores.position == position)
    values = scores.deviation[at & ~scores.respelled]
    return float(values[0]) if values.size and np.isfinite(values[0]) else None
