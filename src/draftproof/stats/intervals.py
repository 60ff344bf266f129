"""Intervals of the paired difference beside the score interval: closed forms and melded limits.

Closed forms, with b = loss, c = gain, D = (b - c)/n and z the normal quantile of the two-sided
level. The melded limits agree with the exact McNemar test: the difference is θ·(2β - 1), with θ
the discordance and β the share of losses among discordant pairs. Exact binomial confidence
distributions of the two (beta laws, lower and upper) are melded: each limit is a quantile of the
product over independent draws. Source: Fay & Lumbard (2021) Statistics in Medicine 40:1147-1159.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, ndtr, ndtri

from draftproof.stats.checks import FloatArray, discordants, open_unit
from draftproof.stats.proportions import wilson
from draftproof.stats.results import Interval

_BULK = (1e-12, 1e-6, 0.02, 0.5, 0.98, 1 - 1e-6, 1 - 1e-12)
_NODES, _PLAIN_WEIGHTS = np.polynomial.legendre.leggauss(24)
# the cosine map puts nodes densely at the ends of a panel, where the quantile function is steep
_UNIT = (1 - np.cos(np.pi * (_NODES + 1) / 2)) / 2
_WEIGHTS = _PLAIN_WEIGHTS * np.pi / 4 * np.sin(np.pi * (_NODES + 1) / 2)


def wald_interval(loss: int, gain: int, n: int, level: float = 0.90) -> Interval:
    """D ± z·SE with SE = sqrt(b + c - (b-c)²/n)/n. For comparison only.

    Without discordant pairs the standard error is 0 and the interval has no width however few
    pairs there are; that is 0/0, so it is returned as undefined (NaN), never as a point.

    Examples:
        >>> wald_interval(0, 0, 100).defined
        False
    """
    b, c, total = discordants(loss, gain, n)
    se = wald_se(b, c, total)
    if not se > 0:
        return Interval(math.nan, math.nan, level, "wald")
    half = _z(level) * se
    return Interval((b - c) / total - half, (b - c) / total + half, level, "wald")


def wald_se(loss: float, gain: float, n: float) -> float:
    """Standard error of the Wald method; NaN when there are no pairs."""
    if n == 0:
        return math.nan
    return math.sqrt(max(loss + gain - (loss - gain) ** 2 / n, 0.0)) / n


def wald_p_value(loss: int, gain: int, n: int, margin: float) -> float:
    """One-sided Wald p-value of H0: difference >= margin; NaN without variance."""
    b, c, total = discordants(loss, gain, n)
    se = wald_se(b, c, total)
    if not se > 0:
        return math.nan
    return float(ndtr(((b - c) / total - margin) / se))


def agresti_min_interval(loss: int, gain: int, n: int, level: float = 0.90) -> Interval:
    """Wald interval after adding half a pair to each of the four cells, clipped to [-1, 1].

    Source: Agresti & Min (2005) Statistics in Medicine 24:729-740.

    Examples:
        >>> interval = agresti_min_interval(6, 16, 161, level=0.95)
        >>> round(interval.low, 4), round(interval.high, 4)
        (-0.1182, -0.0045)
    """
    b, c, total = discordants(loss, gain, n)
    if total == 0:
        return Interval(math.nan, math.nan, level, "agresti-min")
    centre = (b - c) / (total + 2)
    half = _z(level) * wald_se(b + 0.5, c + 0.5, total + 2)
    return _clipped(centre, half, level, "agresti-min")


def bonett_price_interval(loss: int, gain: int, n: int, level: float = 0.90) -> Interval:
    """Wald interval of the Laplace-adjusted discordant rates (b+1)/(n+2), (c+1)/(n+2).

    Source: Bonett & Price (2012) J. Educational and Behavioral Statistics 37:479-488.

    Examples:
        >>> interval = bonett_price_interval(26, 4, 48, level=0.95)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.2548, 0.6252)
    """
    b, c, total = discordants(loss, gain, n)
    if total == 0:
        return Interval(math.nan, math.nan, level, "bonett-price")
    lost, gained = (b + 1) / (total + 2), (c + 1) / (total + 2)
    centre = lost - gained
    half = _z(level) * math.sqrt((lost + gained - centre**2) / (total + 2))
    return _clipped(centre, half, level, "bonett-price")


def newcombe_interval(
    both: int, loss: int, gain: int, neither: int, level: float = 0.90, method: int = 10
) -> Interval:
    """Hybrid of the two Wilson intervals with the phi coefficient for their correlation.

    Needs the concordant cells: at zero discordance its width depends on the base rate.
    Source: Newcombe (1998) Statistics in Medicine 17:2635-2650, methods 10 and 8.

    Args:
        both: Good in both arms.
        loss: Good in the baseline only.
        gain: Good in the candidate only.
        neither: Good in neither.
        level: Confidence level.
        method: 10 (phi continuity-corrected when positive) or 8 (plain phi; without discordance
            and with both labels present phi is 1 and the interval has no width, so never for a
            decision).

    Examples:
        >>> interval = newcombe_interval(20, 12, 2, 16, level=0.95)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.0562, 0.3292)
    """
    if method not in {8, 10}:
        raise ValueError(f"method must be 8 or 10, got {method!r}")
    n = both + loss + gain + neither
    name = f"newcombe-{method}"
    if n == 0:
        return Interval(math.nan, math.nan, level, name)
    cross = float(both * neither - loss * gain)
    if method == 10 and cross > 0:
        cross = max(cross - n / 2, 0.0)
    margins = (both + loss) * (gain + neither) * (both + gain) * (loss + neither)
    phi = cross / math.sqrt(margins) if margins > 0 else 0.0
    p1, p2 = (both + loss) / n, (both + gain) / n
    first, second = wilson(both + loss, n, level), wilson(both + gain, n, level)
    low = _hybrid(p1 - first.low, second.high - p2, phi)
    high = _hybrid(p2 - second.low, first.high - p1, phi)
    difference = (loss - gain) / n
    return Interval(difference - low, difference + high, level, name)


def _hybrid(x: float, y: float, phi: float) -> float:
    return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))


def _z(level: float) -> float:
    return float(ndtri((1 + open_unit("level", level)) / 2))


def _clipped(centre: float, half: float, level: float, method: str) -> Interval:
    return Interval(max(-1.0, centre - half), min(1.0, centre + half), level, method)


def melded_interval(loss: int, gain: int, n: int, level: float = 0.90) -> Interval:
    """Melded exact interval: valid, compatible with McNemar, wider than the score interval.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs.
        level: Confidence level.

    Returns:
        The interval; NaN when n is 0.

    Examples:
        >>> round(melded_interval(0, 0, 100).high, 5)
        0.02951
    """
    b, c, total = discordants(loss, gain, n)
    alpha = (1 - open_unit("level", level)) / 2
    if total == 0:
        return Interval(math.nan, math.nan, level, "melded")
    return Interval(
        -_melded_upper(c, b, total, alpha), _melded_upper(b, c, total, alpha), level, "melded"
    )


def _melded_upper(b: int, c: int, n: int, alpha: float) -> float:
    """The 1-alpha quantile of θ·(2β - 1), β from its upper law, θ from the law that widens."""
    m = b + c
    if b == m:  # the upper law of β is a point at 1
        return _theta_quantile(m + 1, n - m, 1 - alpha)

    def excess(limit: float) -> float:
        return melded_probability(limit, b, c, n) - (1 - alpha)

    if excess(1.0) <= 0:
        return 1.0
    return float(brentq(excess, -1.0, 1.0, xtol=1e-12))


def melded_probability(limit: float, loss: int, gain: int, n: int) -> float:
    """P{θ·(2β - 1) <= limit} under the upper laws, whose 1-α quantile is the upper limit.

    Integrated over the probability scale of β. The inner probability jumps where |limit|/slope
    leaves the bulk of θ, so the panels end there; a rule without panels is wrong in the third
    digit.
    """
    b, c, m = loss, gain, loss + gain
    if c == 0:
        bound = np.array([min(max(limit, 0.0), 1.0)])
        return float(_below(bound[0], np.ones(1), m, n)[0]) if limit >= 0 else 0.0
    bulk = [_theta_quantile(m + 1, n - m, p) for p in _BULK]
    bulk += [_theta_quantile(m, n - m + 1, p) if m else 0.0 for p in _BULK]
    slopes = [0.0, *(limit / theta for theta in (*bulk, 1.0) if theta > 0)]
    inside = [betainc(b + 1, c, (1 + s) / 2) for s in slopes if -1 < s < 1]
    edges = np.unique([0.0, 1.0, *inside])
    left, width = edges[:-1, None], np.diff(edges)[:, None]
    u = (left + width * _UNIT).ravel()
    weights = (width * _WEIGHTS).ravel()
    slope = 2 * betaincinv(b + 1, c, u) - 1
    return float(np.sum(weights * _below(limit, slope, m, n)))


def _below(limit: float, slope: FloatArray, m: int, n: int) -> FloatArray:
    """P{θ·slope <= limit} for each slope; θ upper law when slope > 0, lower law otherwise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.clip(limit / slope, 0.0, 1.0)
    up = betainc(m + 1, n - m, bound) if m < n else np.where(bound >= 1, 1.0, 0.0)
    low = betainc(m, n - m + 1, bound) if m > 0 else np.ones_like(bound)
    positive = np.where(limit >= 0, up, 0.0)
    negative = np.where(limit >= 0, 1.0, 1.0 - low)
    return np.where(slope > 0, positive, np.where(slope < 0, negative, float(limit >= 0)))


def _theta_quantile(first: int, second: int, level: float) -> float:
    return 1.0 if second == 0 else float(betaincinv(first, second, level))
