"""The exact unconditional test of the paired difference and the interval that inverts it.

Tables are ordered by the score statistic.

Source: Hsueh H-M, Liu J-P, Chen JJ (2001) Biometrics 57:478-483. For H0: difference >= M,

    p = max over q in [max(0, -M), (1 - M)/2] of P{Z_M(B, C) <= Z_M(b, c)},

with (B, C) trinomial (n; q + M, q). The boundary difference = M carries the maximum, so one
nuisance parameter is left. Z grows with B for a fixed C, hence the rejection region is a
staircase B <= steps(C) and the tail is one sum over C of binomial terms:

    P = sum over c of Bin(c; n, q) · BinCDF(steps(c); n - c, (q + M)/(1 - q)).

The work grows with n. Beyond 100,000 pairs the test that is ordered by the difference itself
comes first: by Hoeffding (1963) JASA 58:13-30, eq. 2.6, for every q,

    P{(B - C)/n <= d} <= exp(-n·(M - d)²/2) for d < M, and likewise for the other side.

Where that bound is below 1e-12 it is the answer.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import bdtr, gammaln, xlog1py, xlogy

from draftproof.stats.checks import FloatArray, IntArray, discordants, open_unit
from draftproof.stats.results import Interval
from draftproof.stats.score import score_interval, score_statistic

# one tolerance for "as extreme as observed", in the region and in every decision: two different
# ones let a table on the boundary pass in one place and not in the other
TIE = 1e-7
# step of the search for a limit, and the largest difference it tests
_STEP = 0.004
_EDGE = 1 - 1e-9
_GRID_GEOMETRIC = 40
_GRID_LINEAR = 80
_WINDOW = 7.0
_COARSE_WINDOW = 5.0
_POLISHED_PEAKS = 3
_LARGE = 100_000
_NOTHING = 1e-12


def exact_p_value(loss: int, gain: int, n: int, margin: float) -> float:
    """Exact unconditional p-value of H0: the candidate lost `margin` or more.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs.
        margin: Difference under the null hypothesis, in (-1, 1).

    Returns:
        The p-value; NaN when n is 0.

    Raises:
        ValueError: For impossible counts or a margin outside (-1, 1).

    Examples:
        >>> round(exact_p_value(0, 0, 100, 0.03), 6)  # 0.97 ** 100
        0.047553
        >>> round(exact_p_value(1, 0, 157, 0.03), 4) <= 0.05
        True
    """
    b, c, total = discordants(loss, gain, n)
    _check_margin(margin)
    return _p_value(int(b), int(c), int(total), float(margin))


# a screen tests the same tables, above all those without a change, for every task and arm
@lru_cache(maxsize=4096)
def _p_value(loss: int, gain: int, n: int, margin: float) -> float:
    if n == 0:
        return float("nan")
    if n > _LARGE:
        apart = margin - (loss - gain) / n
        left = math.exp(-n * apart**2 / 2)
        if left < _NOTHING:
            return left if apart > 0 else 1 - left
    observed = float(score_statistic(loss, gain, n, margin))
    return sup_tail(staircase(observed, n, margin), n, margin)


def staircase(z: float, n: int, margin: float) -> IntArray:
    """Largest loss count whose statistic is at most `z`, for each gain count 0..n; -1 for none."""
    gains = np.arange(n + 1, dtype=np.int64)
    low: IntArray = np.full(n + 1, -1, dtype=np.int64)
    high: IntArray = n - gains
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high + 1) // 2
        # columns that are solved are evaluated at a table without losses; the result is discarded
        trial = np.where(open_, middle, 0)
        inside = score_statistic(trial, gains, n, margin) <= z + TIE
        low = np.where(open_ & inside, middle, low)
        high = np.where(open_ & ~inside, middle - 1, high)


def tail(
    steps: IntArray, n: int, margin: float, q: FloatArray, window: float = _WINDOW
) -> FloatArray:
    """P{(B, C) in the staircase region} for each nuisance value in `q`.

    Only gain counts within `window` standard deviations of their mean are summed; at seven, what
    is left out is below 1e-10.
    """
    q = np.atleast_1d(np.asarray(q, dtype=np.float64))
    spread = window * np.sqrt(n * q * (1 - q)) + 12.0
    first = np.maximum(np.floor(n * q - spread), 0).astype(np.int64)
    last = np.minimum(np.ceil(n * q + spread), n).astype(np.int64)
    length = last - first + 1
    owner = np.repeat(np.arange(q.size), length)
    offset = np.arange(owner.size) - np.repeat(np.cumsum(length) - length, length)
    c = first[owner] + offset
    keep = steps[c] >= 0
    c, owner = c[keep], owner[keep]
    qs = q[owner]
    remaining = np.maximum(1 - qs, 1e-300)
    conditional = np.clip((qs + margin) / remaining, 0.0, 1.0)
    log_weight = _log_choose(n)[c] + xlogy(c, qs) + xlog1py(n - c, -qs)
    below = np.where(steps[c] >= n - c, 1.0, bdtr(steps[c].astype(float), n - c, conditional))
    sums = np.bincount(owner, weights=np.exp(log_weight) * below, minlength=q.size)
    return np.asarray(sums, dtype=np.float64)


def sup_tail(steps: IntArray, n: int, margin: float) -> float:
    """Largest `tail` over the nuisance parameter: a grid, then a bounded search at its peaks."""
    low, high = max(0.0, -margin), (1 - margin) / 2
    grid = _nuisance_grid(n, low, high)
    # five deviations lose less than 1e-6 of a value and are enough to find the peaks
    values = tail(steps, n, margin, grid, _COARSE_WINDOW)
    best = float(values.max())
    padded = np.concatenate([[-1.0], values, [-1.0]])
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    for peak in peaks[np.argsort(values[peaks])[::-1][:_POLISHED_PEAKS]]:
        left, right = grid[max(peak - 1, 0)], grid[min(peak + 1, grid.size - 1)]
        peak_search = minimize_scalar(
            lambda q: -float(tail(steps, n, margin, np.array([q]))[0]),
            bounds=(left, right),
            method="bounded",
            options={"xatol": 1e-3 * (right - left), "maxiter": 10},
        )
        best = max(best, -float(peak_search.fun))
    return min(best, 1.0)


@lru_cache(maxsize=4096)
def critical_z(
    n: int,
    margin: float = 0.03,
    alpha: float = 0.05,
    nuisance: tuple[float, ...] | None = None,
) -> float:
    """Exact critical value: H0 is rejected when the score statistic is at most this.

    The value is the statistic of the last table that the exact test of size `alpha` rejects
    (-inf when it rejects none), so `score_statistic(b, c, n, margin) <= critical_z(n, ...) + TIE`
    and `exact_p_value(b, c, n, margin) <= alpha` decide alike.

    Args:
        n: Pairs.
        margin: Difference under the null hypothesis.
        alpha: One-sided level.
        nuisance: Nuisance values to maximise over, to recompute values that were calibrated on
            a fixed grid; None searches all of them, which is what makes the test exact.

    Examples:
        >>> round(critical_z(100), 4)
        -1.7008
    """
    _check_margin(margin)
    if n == 0:
        return float("-inf")
    candidates = _statistics_near_rejection(n, margin)
    low, high = -1, candidates.size
    while high - low > 1:
        middle = (low + high) // 2
        steps = staircase(float(candidates[middle]), n, margin)
        if nuisance is None:
            size = sup_tail(steps, n, margin)
        else:
            size = float(tail(steps, n, margin, np.asarray(nuisance)).max())
        low, high = (middle, high) if size <= alpha else (low, middle)
    return float(candidates[low]) if low >= 0 else float("-inf")


def _statistics_near_rejection(n: int, margin: float) -> FloatArray:
    """Distinct attainable statistics, ascending, among which every usual critical value lies."""
    outer = staircase(-0.8, n, margin)
    inner = staircase(-5.0, n, margin)
    inner = np.where(np.arange(n + 1) == 0, -1, inner)
    length = np.maximum(outer - inner, 0)
    c = np.repeat(np.arange(n + 1), length)
    b = inner[c] + 1 + np.arange(c.size) - np.repeat(np.cumsum(length) - length, length)
    z = np.sort(score_statistic(b, c, n, margin))
    if z.size == 0:
        return z
    # statistics closer than the tie tolerance are one step of the staircase
    return z[np.concatenate([np.diff(z) > TIE, [True]])]


@lru_cache(maxsize=64)
def _log_choose(n: int) -> FloatArray:
    c = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1))


def _nuisance_grid(n: int, low: float, high: float) -> FloatArray:
    # the sharp peaks sit where a handful of pairs is expected to be discordant, or not to be,
    # so the steps are geometric towards both ends
    width = high - low
    near = np.geomspace(min(0.02 / n, width / 4), width, _GRID_GEOMETRIC)
    even = np.linspace(0, width, _GRID_LINEAR + 1)
    return low + np.unique(np.concatenate([near, even, width - near[: _GRID_GEOMETRIC * 3 // 4]]))


def _check_margin(margin: float) -> None:
    if not -1.0 < margin < 1.0:
        raise ValueError(f"margin must lie strictly between -1 and 1, got {margin!r}")


def exact_interval(loss: int, gain: int, n: int, level: float = 0.90) -> Interval:
    """Exact unconditional interval: the differences that neither one-sided test rejects.

    The one-sided p-value is not strictly monotone in the hypothesised difference (the
    rejection region is discrete), so from the crossing the search looks a little further out
    and keeps the outermost one: the interval may be slightly wide, never short.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs; the cost grows with n, about half a second at 1000.
        level: Two-sided level; each side is tested at (1 - level)/2.

    Returns:
        The interval; NaN when n is 0.

    Examples:
        >>> round(exact_interval(0, 0, 100).high, 5)
        0.02951
    """
    b, c, total = discordants(loss, gain, n)
    alpha = (1 - open_unit("level", level)) / 2
    if total == 0:
        return Interval(math.nan, math.nan, level, "exact")
    return Interval(
        -_upper_limit(c, b, total, alpha), _upper_limit(b, c, total, alpha), level, "exact"
    )


def _upper_limit(b: int, c: int, n: int, alpha: float) -> float:
    def excess(t: float) -> float:
        return exact_p_value(b, c, n, t) - alpha

    if b == n:
        return 1.0
    start = float(score_interval(b, c, n, 1 - 2 * alpha)[1])
    step = max(_STEP, 2.0 / n) * 0.5
    high = min(start + step, _EDGE)
    while excess(high) > 0:
        if high >= _EDGE:
            return 1.0
        high = min(high + step, _EDGE)
    low = max(high - step, -_EDGE)
    while excess(low) <= 0:
        if low <= -_EDGE:
            return -1.0
        high, low = low, max(low - step, -_EDGE)
    return float(brentq(excess, low, high, xtol=1e-9))
