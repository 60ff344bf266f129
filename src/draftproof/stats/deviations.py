"""How far a stack's arithmetic lies from the model that scores its answers.

The scoring model is an instrument. At a position it gives the gap g between its two best tokens
and the deviation d, the log-probability of its best token minus that of the token said (0 where
the stack said the best token). A stack that computes the same model with other rounding deviates
where the rounding exceeds the gap; a leaked token deviates whatever the gap.

Likelihood of one position, with F(x) = 1 / (1 + exp(1.702·x/σ)), the logistic approximation of
the normal tail (Camilli 1994; 1.702 brings σ to the scale of a standard deviation), and ε the
share of positions that deviate whatever the gap (the lapse rate of psychometric functions,
Wichmann and Hill 2001):

    agreement:  (1 - ε)·(1 - F(g))
    deviation:  (1 - ε)·F(d) + ε

A position that leaks always deviates in this model: where a kept draft token is the best token,
nothing leaked and nothing can be seen, so ε counts leaked tokens and not kept ones. Where the
second token was said, d = g and both lines add up to 1. Where another token was said, F(d) < F(g)
is the probability that rounding lifted that token; the sum then falls short of 1, which makes
such a deviation the less likely to be rounding. At an exact tie (g = 0) either token has d = 0:
an agreement with probability (1 - ε)/2, which says nothing of σ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from scipy.special import expit

from draftproof.stats.checks import FloatArray
from draftproof.stats.positions import ScoredPositions
from draftproof.stats.results import Interval

LINK: Final = 1.702
# σ and ε are searched on fixed grids, maxima interpolated by a parabola: the likelihood has two
# maxima where leaks and rounding mix, and a grid misses neither
SIGMAS: Final[FloatArray] = np.exp(np.arange(math.log(1e-7), math.log(30.0), 0.1))
EPSILONS: Final[FloatArray] = np.concatenate([[0.0], np.geomspace(1e-8, 0.95, 62)])
NODES: Final[FloatArray] = np.exp(np.arange(math.log(1e-8), math.log(100.0), 0.02))
RAW_DEVIATIONS: Final = 500
ONE_SIDED: Final = 1.6448536269514722**2 / 2  # drop of the log-likelihood, 95 % one-sided
TWO_SIDED: Final = 1.959963984540054**2 / 2
NO_EVENT: Final = -math.log(0.05)  # P(no deviation by rounding) = 5 %


@lru_cache(maxsize=1)
def _agreement_table() -> FloatArray:
    """Return -log(1 - F) of every node at every σ of the grid, [S, nodes]."""
    return np.asarray(np.log1p(np.exp(-LINK * NODES[None, :] / SIGMAS[:, None])))


def _weights(values: FloatArray) -> FloatArray:
    """Spread values over the nodes, linearly in their logarithm, [nodes].

    Linear weights err by (0.02)²/8 of the second derivative, 5·10⁻⁵ a position.
    """
    place = (np.log(np.clip(values, NODES[0], NODES[-1])) - math.log(NODES[0])) / 0.02
    low = np.minimum(place.astype(np.int64), NODES.size - 2)
    share = place - low
    size = NODES.size
    return np.asarray(
        np.bincount(low, 1 - share, minlength=size) + np.bincount(low + 1, share, minlength=size)
    )


class DeviationLikelihood:
    """Log-likelihood of one arm over the grids of σ and ε.

    Args:
        gap: Gaps of the arm, nats, [N].
        deviation: Deviations of the arm, nats, [N]; 0 is agreement.

    Raises:
        ValueError: When there is no position.
    """

    def __init__(self, gap: FloatArray, deviation: FloatArray) -> None:
        if gap.size == 0:
            raise ValueError("no position was scored, so there is no noise scale")
        said = deviation > 0
        agreeing = gap[~said]
        tied = agreeing < NODES[0]
        self.n = int(gap.size)
        self.deviations = int(said.sum())
        self._agreeing = int(agreeing.size)
        # [S]: the part of the log-likelihood that does not depend on ε
        self._agreement: FloatArray = -(
            _agreement_table() @ _weights(agreeing[~tied]) + tied.sum() * math.log(2)
        )
        d, weight = deviation[said], np.ones(self.deviations)
        if d.size > RAW_DEVIATIONS:
            weight = _weights(d)
            d, weight = NODES[weight > 0], weight[weight > 0]
        self._weight = weight
        self._odds: FloatArray = LINK * d[:, None] / SIGMAS[None, :]  # [D, S]
        self._tail: FloatArray = expit(-self._odds)

    @property
    def without_share(self) -> FloatArray:
        """Log-likelihood at ε = 0, [S]."""
        return np.asarray(self._agreement - self._weight @ np.logaddexp(0.0, self._odds))

    def at_share(self, epsilon: FloatArray) -> FloatArray:
        """Log-likelihood at every σ with its own ε > 0, [S]."""
        mixed = np.log(self._tail + epsilon * (1 - self._tail))
        return np.asarray(
            self._agreement + self._agreeing * np.log1p(-epsilon) + self._weight @ mixed
        )

    @cached_property
    def best_share(self) -> FloatArray:
        """The ε >= 0 that maximises the likelihood at every σ, [S].

        The log-likelihood is concave in ε; its derivative is bisected in log ε.
        """
        if not self.deviations:
            return np.zeros(SIGMAS.size)
        tail = np.maximum(self._tail, 1e-300)
        positive = self._weight @ ((1 - tail) / tail) > self._agreeing
        low = np.full(SIGMAS.size, math.log(1e-12))
        high = np.zeros(SIGMAS.size)
        for _ in range(50):
            middle = (low + high) / 2
            epsilon = np.exp(middle)
            slope = self._weight @ ((1 - tail) / (tail + epsilon * (1 - tail)))
            rising = slope * (1 - epsilon) > self._agreeing
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
        best = np.minimum(np.exp(low), 1 - 1e-12)
        return np.asarray(np.where(positive, best, 0.0))

    @cached_property
    def sigma_profile(self) -> FloatArray:
        """Log-likelihood at every σ, maximised over ε, [S]."""
        share = self.best_share
        kept = share > 0
        mixed = self.at_share(np.where(kept, share, 0.5))
        return np.asarray(np.where(kept, mixed, self.without_share))

    @cached_property
    def share_profile(self) -> FloatArray:
        """Log-likelihood at every ε of `EPSILONS`, maximised over σ, [E]."""
        rows = [self.without_share] + [
            self.at_share(np.full(SIGMAS.size, epsilon)) for epsilon in EPSILONS[1:]
        ]
        return np.array([peak(row)[1] for row in rows])

    @property
    def share_ratio(self) -> float:
        """Likelihood ratio 2·(max - max at ε = 0) for a share of tokens beyond rounding."""
        return max(0.0, 2 * (peak(self.sigma_profile)[1] - peak(self.without_share)[1]))


def peak(values: FloatArray, first: int = 0) -> tuple[float, float]:
    """Place (in steps of the grid) and height of the maximum, by a parabola through three points.

    Args:
        values: Heights on an equally spaced grid, [K].
        first: Index below which the grid is not equally spaced.
    """
    i = int(np.argmax(values))
    if not first < i < values.size - 1:
        return float(i), float(values[i])
    left, top, right = (float(v) for v in values[i - 1 : i + 2])
    bend = left - 2 * top + right
    if bend == 0:
        return float(i), top
    shift = (left - right) / (2 * bend)
    return i + shift, top - (left - right) * shift / 4


@dataclass(frozen=True, slots=True)
class NoiseFit:
    """Noise scale and share of unexplained deviations of one arm.

    Attributes:
        sigma: Maximum-likelihood noise scale, nats; 0 when no deviation looks like rounding.
        sigma_upper: One-sided 95 % upper bound; infinite when the positions bound nothing.
        epsilon: Share of positions that deviate whatever the gap.
        epsilon_interval: Two-sided 95 % profile interval of ε.
        share_ratio: Likelihood ratio for ε > 0.
        n: Positions.
        deviations: Positions that deviate.
    """

    sigma: float
    sigma_upper: float
    epsilon: float
    epsilon_interval: Interval
    share_ratio: float
    n: int
    deviations: int


def fit_noise(arm: ScoredPositions) -> NoiseFit:
    """Fit σ and ε, both free.

    The upper bound of σ is where the profile log-likelihood has fallen by 1.645²/2. Where the
    likelihood is largest at σ = 0 that limit does not hold (it would bound an expected count by
    1.35 after no event); the bound is then exact: no deviation by rounding has probability 5 %.

    Raises:
        ValueError: When the arm has no position.
    """
    return fitted(DeviationLikelihood(arm.gap, arm.deviation))


def fitted(likelihood: DeviationLikelihood) -> NoiseFit:
    """Read the estimates off a likelihood."""
    profile = likelihood.sigma_profile
    # noiseless arms are flat at the foot of the grid; the first maximum is the smallest σ
    flat = bool(profile[0] >= profile.max() - 1e-9)
    place, top = (0.0, float(profile[0])) if flat else peak(profile)
    shares = likelihood.best_share
    epsilon = float(np.interp(place, np.arange(shares.size), shares))
    return NoiseFit(
        0.0 if flat else math.exp(math.log(SIGMAS[0]) + 0.1 * place),
        _sigma_upper(profile, top - (NO_EVENT if flat else ONE_SIDED)),
        epsilon,
        _share_interval(likelihood.share_profile),
        likelihood.share_ratio,
        likelihood.n,
        likelihood.deviations,
    )


def _sigma_upper(profile: FloatArray, level: float) -> float:
    # a peak much narrower than the grid has a top between its points that lies far above them
    level = min(level, float(profile.max()))
    last = int(np.flatnonzero(profile >= level)[-1])
    if last == SIGMAS.size - 1:
        return math.inf
    share = (profile[last] - level) / (profile[last] - profile[last + 1])
    return math.exp(math.log(SIGMAS[last]) + 0.1 * share)


def _share_interval(profile: FloatArray) -> Interval:
    level = min(peak(profile, 1)[1] - TWO_SIDED, float(profile.max()))
    inside = np.flatnonzero(profile >= level)
    first, last = int(inside[0]), int(inside[-1])
    low = 0.0 if first == 0 else _crossing(profile, first, first - 1, level)
    high = 1.0 if last == EPSILONS.size - 1 else _crossing(profile, last, last + 1, level)
    return Interval(low, high, 0.95, "profile likelihood")


def _crossing(profile: FloatArray, inner: int, outer: int, level: float) -> float:
    share = (profile[inner] - level) / (profile[inner] - profile[outer])
    return float(EPSILONS[inner] + share * (EPSILONS[outer] - EPSILONS[inner]))
