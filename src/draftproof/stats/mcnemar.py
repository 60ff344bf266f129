"""McNemar tests of "no difference" from the discordant pairs, and Holm's correction of a family.

"Every stratum is equivalent" is an intersection-union test: each stratum is tested at the full
level and the size stays at most that level (Berger 1982, Technometrics 24:295-300); correcting
would only cost power. "Some stratum lost" is a union of claims and needs Holm's correction.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, bdtrc, ndtr

from draftproof.stats.checks import FloatArray, IntArray, count, discordants, one_of
from draftproof.stats.proportions import clopper_pearson
from draftproof.stats.results import HypothesisResult

METHODS = ("exact", "midp", "asymptotic", "corrected", "exact-unconditional")
ALTERNATIVES = ("two-sided", "loss", "gain")


def mcnemar_test(
    loss: int,
    gain: int,
    n: int | None = None,
    *,
    method: str = "exact",
    alternative: str = "two-sided",
    gamma: float = 1e-4,
) -> HypothesisResult:
    """McNemar's test of H0: losses and gains are equally likely.

    Sources: exact and mid-p, Fagerland, Lydersen & Laake (2013) BMC Medical Research
    Methodology 13:91; "corrected" is Edwards' continuity correction, which is 0 (not 1/m) when
    losses equal gains, as in R; "exact-unconditional" is Suissa & Shuster (1991) Biometrics
    47:361-372 with the Berger-Boos confidence set for the discordance.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs; only "exact-unconditional" needs it.
        method: One of `METHODS`.
        alternative: "two-sided", "loss" (the candidate lost) or "gain".
        gamma: Error spent on the confidence set of the unconditional test; 0 searches all.

    Returns:
        The test. Without discordant pairs every p-value is 1: there is no evidence.

    Raises:
        ValueError: For invalid counts, names, or a missing n.

    Examples:
        >>> round(mcnemar_test(6, 16).p_value, 6)
        0.052479
        >>> round(mcnemar_test(6, 16, method="midp").p_value, 6)
        0.03469
        >>> round(mcnemar_test(6, 0, alternative="loss").p_value, 6)
        0.015625
    """
    b, c = count("loss", loss), count("gain", gain)
    one_of("method", method, METHODS)
    one_of("alternative", alternative, ALTERNATIVES)
    if method in {"asymptotic", "corrected"}:
        statistic = chi_square(b, c, correction=method == "corrected")
        z = math.copysign(math.sqrt(statistic), b - c)
        tails = {"two-sided": 2 * ndtr(-abs(z)), "loss": ndtr(-z), "gain": ndtr(z)}
        p = float(tails[alternative]) if b + c else 1.0
        return HypothesisResult(p, statistic, method, alternative)
    if method == "exact-unconditional":
        if n is None:
            raise ValueError("n is needed by the exact unconditional test")
        return _unconditional(*discordants(b, c, n), gamma, alternative)
    p = _conditional(b, c, alternative, mid=method == "midp")
    return HypothesisResult(p, math.nan, method, alternative)


def chi_square(loss: int, gain: int, *, correction: bool = False) -> float:
    """(b-c)²/(b+c), or (max(|b-c|-1, 0))²/(b+c) with the continuity correction; 0 at 0/0."""
    if loss + gain == 0:
        return 0.0
    distance = max(abs(loss - gain) - 1, 0) if correction else abs(loss - gain)
    return distance**2 / (loss + gain)


def loss_p_values(loss: FloatArray, gain: FloatArray) -> FloatArray:
    """P{Bin(b + c, 1/2) >= b}, vectorised; 1 where nothing is discordant."""
    b, m = np.asarray(loss, dtype=float), np.asarray(loss, dtype=float) + np.asarray(gain)
    return np.where(b > 0, bdtrc(np.maximum(b - 1, 0), m.astype(int), 0.5), 1.0)


def _conditional(b: int, c: int, alternative: str, *, mid: bool) -> float:
    m = b + c
    if m == 0:
        return 1.0
    half = 0.5 * _probability(b, m) if mid else 0.0
    at_least = float(bdtrc(b - 1, m, 0.5)) if b > 0 else 1.0
    at_most = float(bdtr(b, m, 0.5))
    if alternative == "loss":
        return at_least - half
    if alternative == "gain":
        return at_most - half
    # mid-p halves the observed probability once in each tail: 2·one-sided - pmf
    if b == c:
        return 1.0 - half * 2 if mid else 1.0
    return min(2 * min(at_least, at_most) - 2 * half, 1.0)


def _probability(b: int, m: int) -> float:
    """P{Bin(m, 1/2) = b}."""
    from scipy.stats import binom  # noqa: PLC0415 - scipy.stats takes a second to import

    return float(binom.pmf(b, m, 0.5))


def _unconditional(b: int, c: int, n: int, gamma: float, alternative: str) -> HypothesisResult:
    from scipy.stats import binom  # noqa: PLC0415 - scipy.stats takes a second to import

    m = b + c
    if m == 0:
        return HypothesisResult(1.0, 0.0, "exact-unconditional", alternative)
    z = (b - c) / math.sqrt(m)
    sizes = np.arange(n + 1)
    inside = _conditional_tail(z, sizes, alternative)
    low, high = 0.0, 1.0
    if gamma > 0:
        region = clopper_pearson(m, n, level=1 - gamma)
        low, high = region.low, region.high
    grid = np.linspace(low, high, 1001)
    for _ in range(3):
        p = binom.pmf(sizes[None, :], n, grid[:, None]) @ inside
        best = int(np.argmax(p))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)], 101)
    return HypothesisResult(min(float(p.max()) + gamma, 1.0), z, "exact-unconditional", alternative)


def _conditional_tail(z: float, sizes: IntArray, alternative: str) -> FloatArray:
    """P{(2B - m)/sqrt(m) at least as extreme as z | B ~ Bin(m, 1/2)} for each m."""
    from scipy.stats import binom  # noqa: PLC0415 - scipy.stats takes a second to import

    edge = (abs(z) if alternative == "two-sided" else z) - 1e-9
    m = np.maximum(sizes, 1)
    if alternative == "gain":
        k = np.floor((m + (z + 1e-9) * np.sqrt(m)) / 2)
        tail = binom.cdf(k, m, 0.5)
        empty = float(z >= 0)
    else:
        k = np.ceil((m + edge * np.sqrt(m)) / 2)
        tail = binom.sf(k - 1, m, 0.5)
        empty = float(edge <= 0)
        if alternative == "two-sided" and edge > 0:
            tail = 2 * tail
    if alternative == "two-sided" and edge <= 0:
        tail = np.ones_like(tail)
    return np.where(sizes == 0, empty, tail)


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values.

    Source: Holm (1979) Scandinavian Journal of Statistics 6:65-70. NaN (an undefined test)
    counts as 1: it stays a member of the declared family.

    Examples:
        >>> holm([0.01, 0.04, 0.03, 0.005, 0.5]).round(3).tolist()
        [0.04, 0.09, 0.09, 0.025, 0.5]
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("p_values must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((p.size - np.arange(p.size)) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
