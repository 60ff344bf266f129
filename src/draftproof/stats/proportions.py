"""Confidence intervals for one proportion."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv, ndtri

from draftproof.stats.checks import one_of, open_unit
from draftproof.stats.results import Interval

_SIDES = ("two-sided", "upper", "lower")


def clopper_pearson(x: float, n: float, level: float = 0.95, side: str = "two-sided") -> Interval:
    """Exact binomial interval.

    Limits are beta quantiles: low = Beta⁻¹(α; x, n-x+1), high = Beta⁻¹(1-α; x+1, n-x), with
    α = (1-level)/2 on each side, or 1-level on the one side that is asked for. With no event
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

    Source: Wilson (1927) JASA 22:209-212.

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
