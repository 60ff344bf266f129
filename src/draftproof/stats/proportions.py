"""Confidence intervals of one proportion, and of the difference of two independent ones.

`UnpairedRates` is for different prompts in the two arms, or published rates: only for when
pairing is impossible. At a base rate of 79 % even equal arms need 1000 prompts each to show
±3 points, where pairs at 1 % discordance need 208.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtr, ndtri

from draftproof.stats.checks import count, one_of, open_unit
from draftproof.stats.results import Interval, TostResult

_SIDES = ("two-sided", "upper", "lower")
_METHODS = ("miettinen_nurminen", "farrington_manning", "newcombe", "agresti_caffo", "wald")


def clopper_pearson(x: float, n: float, level: float = 0.95, side: str = "two-sided") -> Interval:
    """Exact binomial interval.

    Limits are beta quantiles: low = Beta⁻¹(α; x, n-x+1), high = Beta⁻¹(1-α; x+1, n-x), with
    α = (1-level)/2 on each side, or 1-level on the side of the bound. With no event
    the upper bound is 1 - α^(1/n). Source: Clopper & Pearson (1934) Biometrika 26:404-413.

    Args:
        x: Events; fractional counts (effective samples) are accepted.
        n: Trials.
        level: Confidence level of the interval as a whole.
        side: "two-sided", "upper" (from 0 to a bound) or "lower" (from a bound to 1).

    Returns:
        The interval; (0, 1) when n is 0, because nothing is excluded.

    Examples:
        >>> round(clopper_pearson(0, 100, side="upper").high, 5)  # the rule of three, exactly
        0.02951
    """
    x, n = _check(x, n)
    alpha = _tail(level, side)
    low = 0.0 if x == 0 or side == "upper" else float(betaincinv(x, n - x + 1, alpha))
    high = 1.0 if x == n or side == "lower" else float(betaincinv(x + 1, n - x, 1 - alpha))
    return Interval(low, high, level, f"clopper-pearson {side}")


def wilson(x: float, n: float, level: float = 0.95, side: str = "two-sided") -> Interval:
    """Score interval: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Source: Wilson (1927) JASA 22:209-212. `scipy.stats.binomtest` has it for whole counts only.

    Args:
        x: Events; fractional counts (effective samples, published rates) are accepted.
        n: Trials.
        level: Confidence level of the interval as a whole.
        side: "two-sided", "upper" (from 0 to a bound) or "lower" (from a bound to 1).

    Returns:
        The interval; (0, 1) when n is 0.

    Examples:
        >>> interval = wilson(95, 100)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.8882, 0.9785)
    """
    x, n = _check(x, n)
    z = float(ndtri(1 - _tail(level, side)))
    if n == 0:
        return Interval(0.0, 1.0, level, f"wilson {side}")
    p = x / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # at x = 0 and x = n the limit is exact; rounding must not leave 1e-17 behind
    low = 0.0 if x == 0 or side == "upper" else centre - half
    high = 1.0 if x == n or side == "lower" else centre + half
    return Interval(low, high, level, f"wilson {side}")


def _tail(level: float, side: str) -> float:
    outside = 1 - open_unit("level", level)
    return outside / 2 if one_of("side", side, _SIDES) == "two-sided" else outside


def _check(x: float, n: float) -> tuple[float, float]:
    if not (np.isfinite(x) and np.isfinite(n) and 0 <= x <= n):
        raise ValueError(f"need 0 <= x <= n, got x={x!r}, n={n!r}")
    return float(x), float(n)


@dataclass(frozen=True, slots=True)
class UnpairedRates:
    """Good answers in two independent arms; difference = x1/n1 - x2/n2.

    With the baseline first, a positive difference means that the candidate lost.

    Examples:
        >>> arms = UnpairedRates(79, 100, 79, 100)
        >>> interval = arms.interval(0.95)
        >>> round(interval.high, 4)
        0.1142
        >>> arms.tost(0.03).equivalent()
        False
    """

    x1: int
    n1: int
    x2: int
    n2: int

    def __post_init__(self) -> None:
        for name in ("x1", "n1", "x2", "n2"):
            object.__setattr__(self, name, count(name, getattr(self, name)))
        if self.x1 > self.n1 or self.x2 > self.n2:
            raise ValueError("x1 <= n1 and x2 <= n2 are needed")

    @property
    def defined(self) -> bool:
        """Whether both arms have prompts."""
        return self.n1 > 0 and self.n2 > 0

    @property
    def difference(self) -> float:
        """x1/n1 - x2/n2; NaN when an arm is empty."""
        return self.x1 / self.n1 - self.x2 / self.n2 if self.defined else math.nan

    def interval(self, level: float = 0.90, method: str = "miettinen_nurminen") -> Interval:
        """Confidence interval of the difference.

        Args:
            level: Two-sided level.
            method: "miettinen_nurminen" (score, variance times N/(N-1)), "farrington_manning"
                (score without that factor), "newcombe" (hybrid of Wilson limits),
                "agresti_caffo" (one event and one non-event added to each arm) or "wald".
        """
        one_of("method", method, _METHODS)
        z = float(ndtri((1 + open_unit("level", level)) / 2))
        if not self.defined:
            return Interval(math.nan, math.nan, level, method)
        if method == "newcombe":
            return self._newcombe(level)
        if method in {"wald", "agresti_caffo"}:
            return self._wald(z, level, extra=1 if method == "agresti_caffo" else 0, name=method)
        corrected = method == "miettinen_nurminen"
        high = _score_limit(self, z, corrected)
        low = -_score_limit(UnpairedRates(self.x2, self.n2, self.x1, self.n1), z, corrected)
        return Interval(low, high, level, method)

    def tost(self, margin: float = 0.03, method: str = "farrington_manning") -> TostResult:
        """Two one-sided score tests against ±margin; NaN when an arm is empty."""
        one_of("method", method, _METHODS[:2])
        corrected = method == "miettinen_nurminen"
        lost = float(ndtr(score_z(self.x1, self.n1, self.x2, self.n2, margin, corrected)))
        gained = float(ndtr(score_z(self.x2, self.n2, self.x1, self.n1, margin, corrected)))
        worst = math.nan if math.isnan(lost + gained) else max(lost, gained)
        return TostResult(worst, lost, gained, margin, method, self.difference)

    def _newcombe(self, level: float) -> Interval:
        first, second = wilson(self.x1, self.n1, level), wilson(self.x2, self.n2, level)
        p1, p2 = self.x1 / self.n1, self.x2 / self.n2
        low = math.hypot(p1 - first.low, second.high - p2)
        high = math.hypot(first.high - p1, p2 - second.low)
        return Interval(self.difference - low, self.difference + high, level, "newcombe")

    def _wald(self, z: float, level: float, *, extra: int, name: str) -> Interval:
        n1, n2 = self.n1 + 2 * extra, self.n2 + 2 * extra
        p1, p2 = (self.x1 + extra) / n1, (self.x2 + extra) / n2
        half = z * math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
        if half == 0:  # both arms at an end: 0/0, not a point
            return Interval(math.nan, math.nan, level, name)
        return Interval(max(p1 - p2 - half, -1.0), min(p1 - p2 + half, 1.0), level, name)


def score_z(
    x1: int, n1: int, x2: int, n2: int, null_difference: float, corrected: bool = False
) -> float:
    """Score statistic (p1 - p2 - t)/sqrt(v) with v at the restricted maximum likelihood.

    Sources: Miettinen & Nurminen (1985) Statistics in Medicine 4:213-226 (`corrected`, variance
    times N/(N-1)); Farrington & Manning (1990) Statistics in Medicine 9:1447-1454. The cubic
    for the restricted estimate is solved in closed trigonometric form; statsmodels up to
    0.15.0 uses a wrong coefficient in it when t is not 0.

    Returns:
        The statistic; 0 for 0/0 at t equal to the observed difference, NaN for an empty arm.

    Examples:
        >>> round(score_z(79, 100, 79, 100, -0.03), 6)
        0.520456
    """
    if n1 == 0 or n2 == 0:
        return math.nan
    t = null_difference
    second = _restricted(x1, n1, x2, n2, t)
    first = min(max(second + t, 0.0), 1.0)
    variance = first * (1 - first) / n1 + second * (1 - second) / n2
    if corrected:
        variance *= (n1 + n2) / (n1 + n2 - 1) if n1 + n2 > 1 else 1.0
    top = x1 / n1 - x2 / n2 - t
    if variance <= 1e-300:
        return 0.0 if abs(top) < 1e-15 else math.copysign(math.inf, top)
    return top / math.sqrt(variance)


def _restricted(x1: int, n1: int, x2: int, n2: int, t: float) -> float:
    """Rate of the second arm that maximises the likelihood with p1 = p2 + t."""
    n = n1 + n2
    a = float(n)
    b = (n1 + 2 * n2) * t - n - x1 - x2
    c = (n2 * t - n - 2 * x2) * t + x1 + x2
    d = x2 * t * (1 - t)
    shift = b / (3 * a)
    v = shift**3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max(shift * shift - c / (3 * a), 0.0)), v)
    ratio = 0.0 if u == 0 else min(max(v / u**3, -1.0), 1.0)
    root = 2 * u * math.cos((math.pi + math.acos(ratio)) / 3) - shift
    return min(max(root, 0.0, -t), 1.0, 1.0 - t)


def _score_limit(arms: UnpairedRates, z: float, corrected: bool) -> float:
    """Upper limit: the difference at which the statistic falls to -z."""

    def excess(t: float) -> float:
        return score_z(arms.x1, arms.n1, arms.x2, arms.n2, t, corrected) + z

    edge = 1 - 1e-12
    if excess(edge) > 0:
        return 1.0
    low = arms.difference
    # at an end of the scale the statistic is 0/0 at the estimate itself; start beside it
    low = max(min(low + 1e-12, edge), -edge)
    return low if excess(low) <= 0 else float(brentq(excess, low, edge, xtol=1e-14))
