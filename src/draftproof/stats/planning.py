"""Sample sizes: how many pairs an equivalence claim needs, and the power of a number of pairs.

Exact figures enumerate the test at the assumed true rates. Power is saw-toothed in n (it drops
just after each rung of the exact test), so a size is sufficient only when the next three sizes
reach the power as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from draftproof.stats.checks import FloatArray, IntArray, closed_unit, open_unit
from draftproof.stats.decisions import critical_value
from draftproof.stats.exact import TIE
from draftproof.stats.flips import rung
from draftproof.stats.operating import mcnemar_power, outcome_weights
from draftproof.stats.score import score_statistic

_HOLD = 3
_TABULATED = 1000
_LARGE = 1500


def normal_pairs(
    discordance: float, difference: float, power: float, margin: float, alpha: float
) -> int:
    """Pairs by the normal approximation, for comparison with the exact figures.

    n = (ψ - δ²)·(z_α + z)²/(M - |δ|)², with z for power/2 on each side at δ = 0. It is
    optimistic: at small discordance the exact decision needs 40 to 110 pairs more.
    """
    beta = (1 - power) / 2 if difference == 0 else 1 - power
    z = -float(ndtri(alpha)) - float(ndtri(beta))
    variance = max(discordance - difference**2, 0.0)
    return max(math.ceil(variance * z * z / (margin - abs(difference)) ** 2 - 1e-9), 1)


def scorer_discordance(error: float) -> float:
    """Discordance that the errors of a scorer create between two texts of equal meaning: 2e(1-e).

    Examples:
        >>> round(scorer_discordance(0.05), 3)
        0.095
    """
    e = closed_unit("error", error)
    return 2 * e * (1 - e)


def observed_rates(
    difference: float, discordance: float, scorer_error: float = 0.0
) -> tuple[float, float]:
    """(p10, p01) that a scorer with symmetric, independent error would show.

    True rates are p10 = (ψ + δ)/2 and p01 = (ψ - δ)/2. With error e in each arm the difference
    shrinks to δ(1-2e), and the discordance becomes ψ(1-2e)² + 2e(1-e).

    Raises:
        ValueError: When |difference| exceeds the discordance.
    """
    psi = closed_unit("discordance", discordance)
    if abs(difference) > psi + 1e-12:
        raise ValueError(f"|difference| {abs(difference)} exceeds the discordance {psi}")
    shrink = 1 - 2 * scorer_error
    psi = psi * shrink**2 + scorer_discordance(scorer_error)
    delta = difference * shrink
    return max((psi + delta) / 2, 0.0), max((psi - delta) / 2, 0.0)


def equivalence_power(
    n: int,
    discordance: float,
    *,
    difference: float = 0.0,
    scorer_error: float = 0.0,
    margin: float = 0.03,
    alpha: float = 0.05,
    method: str = "exact",
) -> float:
    """Probability of showing equivalence with `n` pairs, by enumeration.

    Args:
        n: Pairs.
        discordance: True share of pairs whose label flips, in both directions together.
        difference: True difference.
        scorer_error: Error rate of the scorer per answer; 0 when identical texts are scored once.
        margin: Margin.
        alpha: One-sided level.
        method: "exact", or "tango" for the score test without calibration.

    Examples:
        >>> round(equivalence_power(468, 0.03), 3)
        0.917
    """
    p10, p01 = observed_rates(difference, discordance, scorer_error)
    limit = critical_value(n, margin, alpha) if method == "exact" else float(ndtri(alpha)) - TIE
    return _power(n, p10, p01, margin, limit)


def _power(n: int, p10: float, p01: float, margin: float, limit: float) -> float:
    b, c, weight = outcome_weights(n, p10, p01)
    equivalent = score_statistic(b, c, n, margin) <= limit + TIE
    equivalent &= score_statistic(c, b, n, margin) <= limit + TIE
    return float(weight[equivalent].sum())


@lru_cache(maxsize=1024)
def pairs_needed(
    discordance: float,
    *,
    power: float = 0.80,
    difference: float = 0.0,
    scorer_error: float = 0.0,
    margin: float = 0.03,
    alpha: float = 0.05,
    method: str = "exact",
    limit: int = 200_000,
) -> int | None:
    """Smallest n that shows equivalence with the target power, as do the next three sizes.

    Args:
        discordance: True share of flipped pairs.
        power: Target power.
        difference: True difference, below the margin in size.
        scorer_error: Error rate of the scorer per answer.
        margin: Margin.
        alpha: One-sided level.
        method: "exact", "tango", "normal" (closed form, too optimistic by 40 to 110 pairs), or
            "quick": exact up to 1000 pairs at the tabulated margin and level, and elsewhere with
            a critical value taken from a nearby size (from 1500 pairs on the normal figure plus
            one percent), which errs by a few pairs and is fast.
        limit: Give up beyond this size.

    Returns:
        The size, or None when `limit` is not enough or the difference reaches the margin.

    Examples:
        >>> pairs_needed(0.01), pairs_needed(0.03), pairs_needed(0.01, method="tango")
        (208, 358, 199)
    """
    open_unit("power", power)
    p10, p01 = observed_rates(difference, discordance, scorer_error)
    slack = margin - abs(p10 - p01)
    if slack <= 0:
        return None
    rough = normal_pairs(p10 + p01, p10 - p01, power, margin, alpha)
    if method == "normal":
        return rough
    if method == "quick" and rough > _LARGE:
        # up here the normal figure is short by about one percent, enumeration costs seconds
        return math.ceil(1.01 * rough) if 1.01 * rough <= limit else None
    n = max(int(0.93 * rough), 1, 0 if method == "tango" else rung(0, margin, alpha) - 1)
    sufficient = 0
    while n <= limit:
        if _power(n, p10, p01, margin, _planning_limit(n, margin, alpha, method)) >= power:
            sufficient += 1
            if sufficient > _HOLD:
                return n - _HOLD
        else:
            sufficient = 0
        n += 1 if n < 3000 else max(n // 1000, 1)
    return None


def _planning_limit(n: int, margin: float, alpha: float, method: str) -> float:
    if method == "tango":
        return float(ndtri(alpha)) - TIE
    if method == "quick" and not (n <= _TABULATED and (margin, alpha) == (0.03, 0.05)):
        # critical values wander within a few hundredths; one size per ten percent is enough
        n = max(int(10 ** (math.floor(math.log10(n) * 24) / 24)), 1)
    return critical_value(n, margin, alpha)


def minimum_detectable_loss(
    n: int, discordance: float, *, power: float = 0.80, alpha: float = 0.025
) -> float:
    """Smallest true loss that the exact McNemar test shows with the target power.

    The background discordance is split evenly; the loss comes on top of it.

    Returns:
        The loss as a fraction, or NaN when even a loss of everything would not do.

    Examples:
        >>> round(minimum_detectable_loss(468, 0.0), 3)
        0.017
    """
    psi = closed_unit("discordance", discordance)

    def shortfall(loss: float) -> float:
        return mcnemar_power(n, psi / 2 + loss, psi / 2, alpha) - power

    top = 1 - psi
    if n == 0 or shortfall(top) < 0:
        return math.nan
    return float(brentq(shortfall, 0.0, top, xtol=1e-6)) if shortfall(0.0) < 0 else 0.0


@dataclass(frozen=True, slots=True)
class SampleSizePlan:
    """Power against size for one design: the rows of a table, the points of a curve.

    Attributes:
        n: Sizes, int64 [K].
        power: Probability of showing equivalence, float64 [K].
        detectable_loss: Smallest loss shown with the target power, float64 [K].
        needed: Size for the target power; None when out of reach.
        discordance: Assumed discordance.
        scorer_error: Assumed scorer error.
        margin: Margin.
        alpha: Level.
        target_power: Power that `needed` and `detectable_loss` are for.
    """

    n: IntArray
    power: FloatArray
    detectable_loss: FloatArray
    needed: int | None
    discordance: float
    scorer_error: float
    margin: float
    alpha: float
    target_power: float


def plan(
    sizes: list[int],
    discordance: float,
    *,
    scorer_error: float = 0.0,
    margin: float = 0.03,
    alpha: float = 0.05,
    power: float = 0.80,
) -> SampleSizePlan:
    """Tabulate a design over candidate sizes.

    Examples:
        >>> rows = plan([99, 208, 400], 0.01)
        >>> rows.power.round(2).tolist(), rows.needed
        ([0.37, 0.86, 1.0], 208)
    """
    p10, p01 = observed_rates(0.0, discordance, scorer_error)
    powers = [
        equivalence_power(n, discordance, scorer_error=scorer_error, margin=margin, alpha=alpha)
        for n in sizes
    ]
    losses = [minimum_detectable_loss(n, p10 + p01, power=power) for n in sizes]
    needed = pairs_needed(
        discordance,
        power=power,
        scorer_error=scorer_error,
        margin=margin,
        alpha=alpha,
        method="quick",
    )
    return SampleSizePlan(
        np.asarray(sizes), np.asarray(powers), np.asarray(losses), needed,
        discordance, scorer_error, margin, alpha, power,
    )  # fmt: skip
