"""Byte identity: how often two arms say the same, and what equality proves.

Equal text has an equal label under every scorer, so the discordance of any label is at most
the divergence rate: a bound on divergence is a bound on every difference, without a scorer.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import gammaincinv

from draftproof.stats.checks import count, open_unit
from draftproof.stats.flips import rung
from draftproof.stats.proportions import clopper_pearson, wilson
from draftproof.stats.results import Interval


@dataclass(frozen=True, slots=True)
class IdentityRate:
    """Divergences among prompts answered by two arms.

    Attributes:
        divergent: Prompts with different bytes.
        prompts: Different prompts; repeats of one prompt count once.

    Examples:
        >>> same = IdentityRate(0, 953)
        >>> round(same.upper(), 5), same.proves(0.03)
        (0.00314, True)
    """

    divergent: int
    prompts: int

    def __post_init__(self) -> None:
        count("divergent", self.divergent)
        if self.divergent > count("prompts", self.prompts):
            raise ValueError("divergent must be <= prompts")

    @property
    def rate(self) -> float:
        """Share of identical prompts; NaN without prompts."""
        return 1 - self.divergent / self.prompts if self.prompts else float("nan")

    def upper(self, level: float = 0.95) -> float:
        """Exact one-sided upper bound of the divergence rate; 1 without prompts."""
        return clopper_pearson(self.divergent, self.prompts, level, "upper").high

    def interval(self, level: float = 0.95, method: str = "wilson") -> Interval:
        """Two-sided interval of the identity rate, "wilson" or "exact"."""
        same = self.prompts - self.divergent
        interval = wilson if method == "wilson" else clopper_pearson
        return interval(same, self.prompts, level)

    def proves(self, margin: float = 0.03, alpha: float = 0.05) -> bool:
        """Whether divergence is shown to be at most `margin`, and with it every difference."""
        return self.upper(1 - open_unit("alpha", alpha)) <= margin


def prompts_needed(margin: float = 0.03, alpha: float = 0.05, divergent: int = 0) -> int:
    """Prompts after which `divergent` divergences still prove the margin.

    Examples:
        >>> [prompts_needed(m) for m in (0.01, 0.02, 0.03, 0.05)]
        [299, 149, 99, 59]
    """
    return rung(divergent, margin, alpha)


def hazard_interval(divergences: int, tokens: float, level: float = 0.95) -> Interval:
    """Exact Poisson interval of divergences per token at risk.

    Source: Garwood (1936) Biometrika 28:437-442. (0, inf) when no token was at risk.

    Examples:
        >>> round(hazard_interval(0, 10_000).high * 10_000, 3)
        3.689
    """
    x = count("divergences", divergences)
    outside = (1 - open_unit("level", level)) / 2
    if tokens <= 0:
        return Interval(0.0, float("inf"), level, "garwood")
    low = float(gammaincinv(x, outside)) / tokens if x else 0.0
    high = float(gammaincinv(x + 1, 1 - outside)) / tokens
    return Interval(low, high, level, "garwood")
