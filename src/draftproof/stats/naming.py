"""Tokens that rounding cannot explain, the scale for them, and the audit of one arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import bdtrc

from draftproof.stats.checks import IntArray, closed_unit, count, open_unit
from draftproof.stats.deviations import LINK, NoiseFit, fit_noise
from draftproof.stats.positions import ScoredPositions
from draftproof.stats.results import Interval

FALSE_NAME: Final = 1e-6  # probability that rounding alone names one of N tokens
COARSER: Final = 4.0
# of 2 and 3 the smaller that accuses at most 1 % of clean arms: outliers ×10 in a candidate of
# four times the baseline's scale reach 1.7 % at 2
CLEAN_FACTOR: Final = 3.0
WIDEST_MARGIN: Final = 1.5  # nats; beyond it the rounding hides ordinary leaks
FOREIGN_SHARE: Final = 1e-3  # named tokens of a baseline above which it is not this model


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """The noise scale against which the candidate's tokens are held.

    Attributes:
        baseline: Fit of baseline and noise arms together.
        candidate: Fit of the candidate.
    """

    baseline: NoiseFit
    candidate: NoiseFit

    @property
    def sigma(self) -> float:
        """σ* = max(σ_b↑, min(σ_c↑, 4·σ_b↑)), nats.

        The candidate may be noisier than the baseline, but not so much that leaks which widen
        its own scale hide themselves.
        """
        upper = self.baseline.sigma_upper
        return max(upper, min(self.candidate.sigma_upper, COARSER * upper))

    @property
    def coarser_arithmetic(self) -> bool:
        """Whether the candidate's own σ exceeds four times the baseline's upper bound."""
        return self.candidate.sigma > COARSER * self.baseline.sigma_upper


def token_threshold(sigma: float, positions: int) -> float:
    """σ·ln(N / 10⁻⁶) / 1.702 nats: rounding alone passes it once in a million arms.

    Raises:
        ValueError: When sigma is negative or NaN, or there is no position.

    Examples:
        >>> round(token_threshold(0.024, 3840), 3)
        0.311
    """
    if not sigma >= 0:
        raise ValueError(f"sigma must be >= 0 nats, got {sigma}")
    n = count("positions", positions)
    if n == 0:
        raise ValueError("no position was scored, so there is no threshold")
    return sigma * math.log(n / FALSE_NAME) / LINK


@dataclass(frozen=True, slots=True, eq=False)
class NamedTokens:
    """Tokens whose deviation no rounding of this stack explains.

    Attributes:
        index: Their indices into the arm's positions, ascending, int64 [K].
        threshold: σ*·ln(N / 10⁻⁶) / 1.702, nats.
        largest_clean: Largest deviation of the clean arms, nats.
        positions: Positions of the arm.
    """

    index: IntArray
    threshold: float
    largest_clean: float
    positions: int

    @property
    def margin(self) -> float:
        """Smallest margin (nats) at which one leak is named."""
        return max(self.threshold, CLEAN_FACTOR * self.largest_clean)

    @property
    def rounding_hides_leaks(self) -> bool:
        """Whether the margin is above 1.5 nats, so that only equal bytes may PASS."""
        return self.margin > WIDEST_MARGIN

    @property
    def count(self) -> int:
        """Named tokens."""
        return int(self.index.size)

    @property
    def foreign(self) -> bool:
        """Whether more than 1 in 1,000 positions is named: the arm is not this model."""
        return self.count > FOREIGN_SHARE * self.positions


def name_tokens(arm: ScoredPositions, sigma: float, largest_clean: float = 0.0) -> NamedTokens:
    """Name the tokens of an arm that deviate beyond the threshold and beyond the clean arms.

    Args:
        arm: The arm.
        sigma: σ* for the candidate; for the baseline itself, its own upper bound.
        largest_clean: Largest deviation of the clean arms, nats; 0 where the arm is clean itself.

    Raises:
        ValueError: When the arm has no position, or a bound is negative or NaN.

    Examples:
        >>> from draftproof.stats.positions import scored_positions
        >>> arm = scored_positions([0.1, 0.01, 2.0], [0.9, 0.01, 0.0], [0, 0, 0])
        >>> name_tokens(arm, sigma=0.02, largest_clean=0.03).index.tolist()
        [0]
    """
    threshold = token_threshold(sigma, arm.n)
    if not largest_clean >= 0:
        raise ValueError(f"largest_clean must be >= 0 nats, got {largest_clean}")
    beyond = (arm.deviation > threshold) & (arm.deviation > CLEAN_FACTOR * largest_clean)
    return NamedTokens(np.flatnonzero(beyond), threshold, largest_clean, arm.n)


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What the answers of one deployment say of one target, without a baseline.

    Attributes:
        fit: σ and ε of the arm.
        named: Tokens that rounding of the arm's own scale does not explain.
        smallest_share: Smallest share of leaked tokens, each beyond `named.margin`, of which one
            at least would have been named with 95 % probability; 1 where none would.
        unexplained: Positions without a usable log-probability.
    """

    fit: NoiseFit
    named: NamedTokens
    smallest_share: float
    unexplained: int

    @property
    def epsilon(self) -> Interval:
        """95 % interval of the share of tokens that deviate whatever the gap."""
        return self.fit.epsilon_interval


def audit(arm: ScoredPositions) -> Audit:
    """Fit one arm, name its tokens, and say which share of leaks it would have shown.

    Raises:
        ValueError: When the arm has no position.
    """
    fit = fit_noise(arm)
    named = name_tokens(arm, fit.sigma_upper)
    share = 1.0 if math.isinf(named.margin) else smallest_share(arm.n)
    return Audit(fit, named, share, arm.unexplained)


def smallest_share(
    positions: int, *, named: int = 1, beyond_margin: float = 1.0, power: float = 0.95
) -> float:
    """Smallest share of leaked tokens at which `named` of them are named with a given power.

    Args:
        positions: Positions scored.
        named: Tokens that must be named.
        beyond_margin: Share of the leaks whose margin exceeds the naming threshold.
        power: Probability.

    Returns:
        The share s with P{Bin(N, s·beyond_margin) >= named} = power; 1 where none suffices.

    Examples:
        >>> round(smallest_share(3840), 6), round(smallest_share(3840, named=2), 6)
        (0.00078, 0.001235)
    """
    n, wanted = count("positions", positions), count("named", named)
    visible, goal = closed_unit("beyond_margin", beyond_margin), open_unit("power", power)
    if wanted == 0:
        raise ValueError("named must be at least 1")
    if n < wanted or float(bdtrc(wanted - 1, n, visible)) < goal:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = float(bdtrc(wanted - 1, n, middle * visible)) >= goal
        low, high = (low, middle) if reached else (middle, high)
    return high
