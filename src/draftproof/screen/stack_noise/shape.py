"""Plain decoding at the candidate's own prefixes: noise in its shape, without its draft."""

from __future__ import annotations

import numpy as np

from draftproof.rescoring.scored_answers import ScoredAnswers
from draftproof.screen.stack_noise.source import PrefixQuestion, StackSource
from draftproof.stats.positions import ScoredPositions, scored_positions

SHAPE_ARM = "plain decoding at the candidate's prefixes"
_MOST = 1024
"""Positions at which the plain stack is asked, those with the smallest gaps."""


def reprefilled(source: StackSource, candidate: ScoredAnswers) -> ScoredPositions | None:
    """Ask the plain stack at the candidate's near-ties; None where it cannot be asked.

    Only the positions with the smallest gaps are asked, all of a gap at least as wide as every
    deviation of the candidate where there is room: elsewhere rounding decides nothing.
    """
    rows = np.flatnonzero(np.isfinite(candidate.gap))
    rows = rows[np.argsort(candidate.gap[rows], kind="stable")][:_MOST]
    if not rows.size:
        return None
    rows.sort()
    questions = [
        PrefixQuestion(candidate.prompts[int(candidate.prompt[row])], int(candidate.position[row]))
        for row in rows
    ]
    said = source.ask_plain(questions)
    if said is None:
        return None
    gaps, deviations, prompts = [], [], []
    for row, token in zip(rows.tolist(), said, strict=True):
        if token == candidate.best[row]:
            deviation = 0.0
        elif token is not None:
            # a third token lies at least as far behind as the second
            deviation = float(candidate.gap[row])
        else:
            deviation = np.nan
        gaps.append(float(candidate.gap[row]))
        deviations.append(deviation)
        prompts.append(int(candidate.prompt[row]))
    found = scored_positions(gaps, deviations, prompts)
    return found if found.n else None
