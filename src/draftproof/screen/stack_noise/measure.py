"""The noise scale of a stack, the tokens beyond it, and leaks hidden among its ties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from draftproof.rescoring.scored_answers import ScoredAnswers
from draftproof.screen.stack_noise.proposals import directions
from draftproof.screen.stack_noise.shape import SHAPE_ARM, reprefilled
from draftproof.screen.stack_noise.source import StackSource
from draftproof.stats.contamination import Contamination, ShareTest, contamination, share_test
from draftproof.stats.deviations import NoiseFit, fit_noise
from draftproof.stats.direction import Direction
from draftproof.stats.naming import NamedTokens, NoiseScale, name_tokens
from draftproof.stats.positions import ScoredPositions, pooled, scored_positions

_SEED = 1711
"""Of the bootstrap; fixed, so that a verdict is a function of its evidence."""
_DECIDING = 2
"""Named tokens that FAIL whatever else is known."""
_RESPELLED_FOREIGN = 0.02
"""Share of named tokens of a baseline known by its text above which it is not this model."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredNoise:
    """One arm beside plain decoding of the same stack.

    Attributes:
        scores: The arm's scores.
        positions: The same, those that can be used.
        fit: Its own noise scale and share.
        clean_scores: Scores of the baseline, the noise arms and the shape arms.
        clean: Their positions together.
        clean_fit: Their noise scale and share.
        sigma: The scale against which tokens are held, nats.
        coarser: Whether the arm's own scale exceeds four times the clean arms' bound.
        named: Its tokens that no rounding explains, also those that were spelled again.
        named_clean: The same of the clean arms by their own scale, spelled again ones left out.
        foreign: Whether the clean arms are not the model that scored them.
        share: The test of the arm's own deviations beyond its rounding.
        contamination: The test of its share against that of the clean arms.
        shape_arm: Name of what was computed in the candidate's shape.
        direction: The test whether its ties follow the draft; None where no draft was asked.
    """

    scores: ScoredAnswers
    positions: ScoredPositions
    fit: NoiseFit
    clean_scores: tuple[ScoredAnswers, ...]
    clean: ScoredPositions
    clean_fit: NoiseFit
    sigma: float
    coarser: bool
    named: NamedTokens
    named_clean: int
    foreign: bool
    share: ShareTest
    contamination: Contamination
    shape_arm: str | None
    direction: Direction | None

    @property
    def margin(self) -> float:
        """Smallest margin at which one token is named, nats; infinite where none would be."""
        return self.named.margin

    @property
    def beyond_text(self) -> tuple[int, ...]:
        """Rows of `scores` that are named and whose tokens are those that were drawn."""
        rows = self.positions.row[self.named.index]
        return tuple(rows[~self.scores.respelled[rows]].tolist())


def positions_of(scores: ScoredAnswers) -> ScoredPositions:
    """Return the positions of an arm for the statistics."""
    return scored_positions(scores.gap, scores.deviation, scores.prompt, scores.position)


def measure(
    source: StackSource,
    arm: str,
    clean_arms: Sequence[str],
    shape_arms: Sequence[str] = (),
    *,
    tests: bool = True,
) -> MeasuredNoise | None:
    """Measure one arm beside the clean ones; None where one side has no position to measure.

    Args:
        source: Who scores.
        arm: The judged arm.
        clean_arms: The baseline and the noise arms.
        shape_arms: Plain arms that compute in the candidate's shape.
        tests: Make the tests for hidden leaks too, and not only name tokens.
    """
    scores = source.scored(arm)
    first, *repeats = (source.scored(name) for name in clean_arms)
    clean_scores = (first, *(without_repeats(again, first) for again in repeats))
    shape_scores = tuple(source.scored(name) for name in shape_arms)
    positions = positions_of(scores)
    plain = pooled(*(positions_of(s) for s in clean_scores))
    if not positions.n or not plain.n:
        return None
    shapes = [p for p in map(positions_of, shape_scores) if p.n]
    shape = pooled(*shapes) if shapes else None
    shape_arm = ", ".join(shape_arms) if shapes else None
    fit = fit_noise(positions)
    every = (*clean_scores, *shape_scores)
    held = _held(positions, fit, every, plain if shape is None else pooled(plain, shape))
    # plain decoding at the candidate's own prefixes; asked only where it could decide, and not
    # where named tokens have decided already
    decided = int((~scores.respelled[positions.row[held.named.index]]).sum()) >= _DECIDING
    if tests and shape is None and not decided:
        if contamination(plain, positions, shape=None).exceeds:
            shape = reprefilled(source, scores)
        if shape is not None:
            shape_arm = SHAPE_ARM
            held = _held(positions, fit, every, pooled(plain, shape))
    return MeasuredNoise(
        scores=scores,
        positions=positions,
        fit=fit,
        clean_scores=every,
        clean=held.clean,
        clean_fit=held.scale.baseline,
        sigma=held.scale.sigma,
        coarser=held.scale.coarser_arithmetic,
        named=held.named,
        named_clean=held.named_clean,
        foreign=held.foreign,
        share=share_test(positions, seed=_SEED) if tests else ShareTest(0.0, math.inf),
        contamination=contamination(plain, positions, shape=shape),
        shape_arm=shape_arm,
        direction=directions(source, scores, clean_scores[0], held.named.margin) if tests else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """An arm's tokens held against clean positions; the fields are those of `MeasuredNoise`."""

    clean: ScoredPositions
    scale: NoiseScale
    named: NamedTokens
    named_clean: int
    foreign: bool


def _held(
    positions: ScoredPositions,
    fit: NoiseFit,
    clean_scores: Sequence[ScoredAnswers],
    clean: ScoredPositions,
) -> _Held:
    clean_fit = fit_noise(clean)
    scale = NoiseScale(clean_fit, fit)
    named_clean, foreign, largest = _clean_named(clean_scores, clean, clean_fit)
    named = name_tokens(positions, scale.sigma, largest)
    return _Held(clean, scale, named, named_clean, foreign)


def without_repeats(scores: ScoredAnswers, first: ScoredAnswers) -> ScoredAnswers:
    """Return an arm's scores without the answers that repeat the first arm's token by token.

    The same computation done again is no second measurement.
    """
    said = _said(first)
    mine = _said(scores)
    new = np.array([mine[name] != said.get(name) for name in scores.prompts], dtype=np.bool_)
    kept = new[scores.prompt]
    columns = {
        name: getattr(scores, name)[kept]
        for name in ("gap", "deviation", "prompt", "position", "said", "best", "second")
    }
    return replace(
        scores,
        **columns,
        respelled=scores.respelled[kept],
        positions=scores.positions - int((~kept).sum()),
    )


def _said(scores: ScoredAnswers) -> dict[str, bytes]:
    ends = np.searchsorted(scores.prompt, np.arange(1, len(scores.prompts)))
    parts = np.split(scores.said, ends)
    return {name: part.tobytes() for name, part in zip(scores.prompts, parts, strict=True)}


def _clean_named(
    arms: Sequence[ScoredAnswers], clean: ScoredPositions, fit: NoiseFit
) -> tuple[int, bool, float]:
    """Return named tokens of the clean arms, whether these are another model, and the largest d.

    A text that was spelled again may stand for other tokens than were drawn: what is named there
    is left out, unless there is so much of it that spelling cannot be the reason.
    """
    count = respelled = total = texts = 0
    largest = 0.0
    foreign = False
    for scores in arms:
        arm = positions_of(scores)
        if not arm.n:
            continue
        named = name_tokens(arm, fit.sigma_upper)
        doubtful = scores.respelled[arm.row]
        of_text = doubtful[named.index]
        drawn = int((~of_text).sum())
        count += drawn
        respelled += int(of_text.sum())
        total += arm.n
        texts += int(doubtful.sum())
        left = np.ones(arm.n, dtype=np.bool_)
        left[named.index[of_text]] = False
        largest = max(largest, float(arm.deviation[left].max(initial=0.0)))
        foreign = foreign or (bool(drawn) and named.foreign and drawn > 1e-3 * arm.n)
    foreign = foreign or (texts > 0 and respelled > _RESPELLED_FOREIGN * texts)
    return count, foreign, largest
