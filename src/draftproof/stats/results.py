"""Results that several statistics return: intervals, tests, effect sizes, ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    `low` and `high` are NaN when the method is undefined for the data (no pairs, or a Wald
    interval without variance); such an interval contains no value.

    Attributes:
        low: Lower limit; -inf or the parameter's bound for a one-sided upper interval.
        high: Upper limit.
        level: Confidence level, 0.90 for the interval that belongs to a TOST at 0.05.
        method: Name of the method.
    """

    low: float
    high: float
    level: float
    method: str

    @property
    def defined(self) -> bool:
        """Whether both limits exist."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def width(self) -> float:
        """Distance between the limits."""
        return self.high - self.low

    def __contains__(self, value: float) -> bool:
        return self.defined and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class HypothesisResult:
    """A hypothesis test.

    Attributes:
        p_value: NaN when the test is undefined for the data.
        statistic: Test statistic where the method has one, else NaN.
        method: Name of the method.
        alternative: "two-sided", "loss" (the candidate lost) or "gain".
    """

    p_value: float
    statistic: float
    method: str
    alternative: str


@dataclass(frozen=True, slots=True)
class TostResult:
    """Two one-sided tests of a difference against ±margin.

    Attributes:
        p_value: max(p_loss, p_gain): the p-value of the equivalence claim; NaN when undefined.
        p_loss: p-value of H0: difference >= margin (the loss is not below the margin).
        p_gain: p-value of H0: difference <= -margin.
        margin: The margin.
        method: Name of the method.
        difference: Observed difference, positive when the candidate lost.
    """

    p_value: float
    p_loss: float
    p_gain: float
    margin: float
    method: str
    difference: float

    def equivalent(self, alpha: float = 0.05) -> bool:
        """Whether equivalence is shown at one-sided level `alpha`; False when undefined."""
        return self.p_value <= alpha


@dataclass(frozen=True, slots=True)
class EffectSize:
    """An effect size with its standard error.

    Attributes:
        h: Cohen's h, or another effect on an unbounded scale; sign as the source says.
        se: Its standard error; NaN when undefined.
        method: Name of the design, "paired".
    """

    h: float
    se: float
    method: str

    def interval(self, level: float = 0.95) -> Interval:
        """Normal interval h ± z·se."""
        half = float(ndtri((1 + level) / 2)) * self.se
        return Interval(self.h - half, self.h + half, level, f"normal ({self.method})")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio estimated on the log scale.

    Attributes:
        estimate: Point estimate.
        log_se: Standard error of its logarithm; NaN when undefined.
        method: Name of the estimator.
    """

    estimate: float
    log_se: float
    method: str

    def interval(self, level: float = 0.95) -> Interval:
        """exp(log estimate ± z·log_se)."""
        if not self.estimate > 0:
            return Interval(math.nan, math.nan, level, self.method)
        half = float(ndtri((1 + level) / 2)) * self.log_se
        centre = math.log(self.estimate)
        return Interval(math.exp(centre - half), math.exp(centre + half), level, self.method)
