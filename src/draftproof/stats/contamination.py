"""Leaks hidden among ties: does the candidate deviate beyond rounding more than the baseline?

A clean stack may have a share ε of deviations that its noise scale does not explain (outliers,
prompts of other scales, growth along the answer). Only a share beyond the baseline's own speaks
for leaks, and only where the baseline holds the noise of the candidate's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import expit, xlogy

from draftproof.stats.checks import FloatArray, count, open_unit
from draftproof.stats.deviations import (
    EPSILONS,
    LINK,
    SIGMAS,
    DeviationLikelihood,
    peak,
)
from draftproof.stats.positions import ScoredPositions, pooled

CUT: Final = 6.63  # 99 % quantile of the chi-square law with one degree of freedom


@dataclass(frozen=True, slots=True)
class Contamination:
    """The test whether the candidate's share ε exceeds that of the clean arms.

    Attributes:
        statistic: J, twice the gain in log-likelihood of letting ε_c exceed ε_b; 0 or more. With
            a shape arm the smaller of J beside all clean arms and J beside the shape arm alone.
        baseline_share: ε_b where ε_c >= ε_b, of the comparison that gave J.
        candidate_share: ε_c of the same.
        leaks_detectable: Smallest number of leaked tokens, all beyond rounding, at which J
            exceeds the cut.
        shape_matched: Whether plain decoding in the candidate's shape is among the clean arms.
    """

    statistic: float
    baseline_share: float
    candidate_share: float
    leaks_detectable: int
    shape_matched: bool

    @property
    def exceeds(self) -> bool:
        """Whether J exceeds the cut, with or without a shape arm."""
        return self.statistic > CUT

    @property
    def fails(self) -> bool:
        """Whether leaks among ties are shown; never without a shape arm."""
        return self.exceeds and self.shape_matched


def contamination(
    baseline: ScoredPositions, candidate: ScoredPositions, *, shape: ScoredPositions | None
) -> Contamination:
    """J = 2·[max over ε_c >= ε_b - max over ε_c = ε_b] of the joint log-likelihood.

    Both noise scales are free. The maxima are taken over the whole grid of shares, so a second
    maximum (large σ without leaks beside small σ with leaks) is not missed.

    Clean arms of two shapes may have two shares, and pooling dilutes the larger: beside a plain
    arm of a quarter of the scale, outliers of the candidate's shape look like leaks (3 % false
    alarms in simulation). The candidate must exceed every share, so J is the smaller of the two
    statistics (an intersection-union test, Berger 1982).

    Args:
        baseline: Baseline and noise arms, pooled; without the shape arm.
        candidate: The candidate.
        shape: Plain decoding re-prefilled at the candidate's own prefixes, or None. Where it
            holds near-ties alone, the candidate is held against it up to its widest gap.

    Raises:
        ValueError: When an arm has no position.
    """
    tested = DeviationLikelihood(candidate.gap, candidate.deviation)
    if shape is None:
        return _beside(baseline, tested, shape_matched=False)
    # a shape arm may have been asked at near-ties alone; elsewhere it says nothing
    near = candidate.gap <= shape.gap.max()
    if not near.any():
        return _beside(pooled(baseline, shape), tested, shape_matched=False)
    alike = DeviationLikelihood(candidate.gap[near], candidate.deviation[near])
    comparisons = [
        _beside(pooled(baseline, shape), tested, shape_matched=True),
        _beside(shape, alike, shape_matched=True),
    ]
    smaller = min(comparisons, key=lambda c: c.statistic)
    needed = max(c.leaks_detectable for c in comparisons)
    return replace(smaller, leaks_detectable=needed)


def _beside(
    clean_arm: ScoredPositions, candidate: DeviationLikelihood, *, shape_matched: bool
) -> Contamination:
    baseline = DeviationLikelihood(clean_arm.gap, clean_arm.deviation)
    clean, tested = baseline.share_profile, candidate.share_profile
    # the best ε_c at or above every ε_b
    best_above = np.maximum.accumulate(tested[::-1])[::-1]
    i = int(np.argmax(clean + best_above))
    j = i + int(np.argmax(tested[i:]))
    statistic = 0.0
    if j > i:
        free = peak(clean, 1)[1] if i == int(np.argmax(clean)) else float(clean[i])
        free += peak(tested, 1)[1] if j == int(np.argmax(tested)) else float(tested[j])
        statistic = max(0.0, 2 * (free - peak(clean + tested, 1)[1]))
    shares = float(EPSILONS[i]), float(EPSILONS[j])
    needed = leaks_detectable(baseline.n, candidate.n, shares[0] * baseline.n)
    return Contamination(statistic, *shares, needed, shape_matched)


def leaks_detectable(baseline: int, candidate: int, unexplained: float = 0.0) -> int:
    """Smallest number of leaks, all beyond rounding, at which J exceeds the cut.

    The candidate is taken to carry the baseline's own share besides. J is then the likelihood
    ratio of two binomial shares; without unexplained deviations in the baseline it is about
    2k·ln(1 + R), R the baseline's positions over the candidate's.

    Args:
        baseline: Positions of the baseline.
        candidate: Positions of the candidate.
        unexplained: Deviations of the baseline beyond its rounding (ε_b times its positions).

    Returns:
        The number; one more than the candidate's positions when no number suffices.

    Examples:
        >>> [leaks_detectable(r * 3840, 3840) for r in (1, 3, 9)]
        [5, 3, 2]
    """
    n_b, n_c = count("baseline", baseline), count("candidate", candidate)
    if not n_b or not n_c:
        return n_c + 1
    leaks = np.arange(1, n_c + 1, dtype=np.float64)
    own = min(unexplained * n_c / n_b, float(n_c))
    found = np.minimum(leaks + own, n_c)

    apart = _binomial(np.array(unexplained), n_b) + _binomial(found, n_c)
    ratio = 2 * (apart - _binomial(unexplained + found, n_b + n_c))
    enough = np.flatnonzero(ratio > CUT)
    return int(leaks[enough[0]]) if enough.size else n_c + 1


def _binomial(k: FloatArray, n: int) -> FloatArray:
    """Largest binomial log-likelihood of k out of n, without the coefficient."""
    return np.asarray(xlogy(k, k / n) + xlogy(n - k, 1 - k / n))


@dataclass(frozen=True, slots=True)
class ShareTest:
    """The test whether one arm deviates beyond its own rounding (ε > 0).

    Attributes:
        ratio: Likelihood ratio.
        cut: The cut it is held against: 6.63 or the bootstrap's, the larger.
    """

    ratio: float
    cut: float

    @property
    def exceeds(self) -> bool:
        """Whether the arm has deviations that its noise scale does not explain."""
        return self.ratio > self.cut


def share_test(
    arm: ScoredPositions, *, seed: int, replicates: int = 300, level: float = 0.99
) -> ShareTest:
    """Likelihood ratio for ε > 0, held against 6.63 and a parametric bootstrap.

    The bootstrap draws deviations at the arm's own gaps with the σ fitted at ε = 0. It is run
    only where the ratio exceeds 6.63 and could change the answer. A deviation to a third token
    is drawn as one to the second.

    Args:
        arm: The arm.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates.
        level: Quantile of the bootstrap that the ratio must exceed.

    Raises:
        ValueError: When the arm has no position.
    """
    quantile = open_unit("level", level)
    likelihood = DeviationLikelihood(arm.gap, arm.deviation)
    ratio = likelihood.share_ratio
    if ratio <= CUT:
        return ShareTest(ratio, CUT)
    place, _ = peak(likelihood.without_share)
    sigma = math.exp(math.log(SIGMAS[0]) + 0.1 * place)
    probability = expit(-LINK * arm.gap / sigma)
    rng = np.random.default_rng(seed)
    ratios = np.empty(replicates)
    for index in range(replicates):
        deviates = rng.random(arm.n) < probability
        draw = np.where(deviates, arm.gap, 0.0)
        ratios[index] = DeviationLikelihood(arm.gap, draw).share_ratio
    return ShareTest(ratio, max(CUT, float(np.quantile(ratios, quantile))))
