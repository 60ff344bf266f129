"""How many pairs a PASS needs, and what a number of pairs can show, by the whole rule of the gate.

Power is saw-toothed in n: it falls between two sizes at which one more flip is tolerated. A size
is therefore sufficient only if every larger one is. The worst sizes, just before one more loss is
tolerated, are enumerated first. Up to 1,000 pairs at 3 points and level 0.05 every size around the
one found is enumerated then; elsewhere the worst take the critical value of a size alike, and the
size found, up to 3,000, its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from draftproof.stats.checks import closed_unit, open_unit
from draftproof.stats.decisions import (
    ALPHA,
    CRITICAL_Z,
    FIRST_N,
    MARGIN,
    critical_value,
    pass_decisions,
)
from draftproof.stats.flips import rung
from draftproof.stats.operating import gate_probabilities, outcome_weights
from draftproof.stats.proportions import clopper_pearson

POWER = 0.80
_LEVEL = 0.80
_TABULATED = FIRST_N + len(CRITICAL_Z) - 1
_LARGEST = 100_000
_TEETH = 2
"""Teeth of the saw that are enumerated size by size."""
_VERIFIED = 3000
"""Largest size whose own critical value is computed; further up it takes seconds."""
_STEP = 0.0005


@dataclass(frozen=True, slots=True)
class SizeNeeded:
    """The number of pairs from which on a harmless change passes.

    Attributes:
        n: The smallest size such that it and every larger one reach the power; None where no size
            does, or none up to 100,000.
        why: Why no size does; empty where one does.
    """

    n: int | None
    why: str = ""


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


def discordance_bound(flips: int, n: int) -> float:
    """Upper 80 % bound of the share of labels that flip, which sizes are planned with.

    With none observed the estimate itself would promise that none will ever flip.

    Examples:
        >>> round(discordance_bound(0, 99), 4), round(discordance_bound(5, 100), 3)
        (0.0161, 0.078)
    """
    return clopper_pearson(flips, n, _LEVEL, "upper").high


def pass_power(
    n: int,
    discordance: float,
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    gross_margin: float | None = None,
    mode: str = "equivalence",
    unexplained: bool = False,
) -> float:
    """Probability that `n` pairs pass if nothing is lost and `discordance` of the labels flip.

    Args:
        n: Pairs.
        discordance: Share of labels that flip, half of them either way.
        margin: Equivalence margin.
        alpha: Level of the equivalence test.
        gross_margin: Bound on the upper limit of the loss rate; None takes the margin, 1 omits it.
        mode: "equivalence" or "noninferiority".
        unexplained: PASS also bounds all flips, as where no model finds why answers differ.

    Examples:
        >>> [round(pass_power(n, 0.01), 2) for n in (157, 207, 208)]
        [0.66, 0.52, 0.83]
    """
    rule = (margin, alpha, gross_margin, mode, unexplained)
    return _power(n, discordance, rule, critical_value(n, margin, alpha))


_Rule = tuple[float, float, float | None, str, bool]


def _power(n: int, discordance: float, rule: _Rule, limit: float) -> float:
    margin, alpha, gross_margin, mode, unexplained = rule
    b, c, weight = outcome_weights(n, discordance / 2, discordance / 2)
    passed = pass_decisions(
        b, c, n,
        margin=margin, alpha=alpha, gross_margin=gross_margin, mode=mode, unexplained=unexplained,
        limit=limit,
    )  # fmt: skip
    return float(weight[passed].sum())


@lru_cache(maxsize=1024)
def pairs_needed(
    discordance: float,
    *,
    power: float = POWER,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    gross_margin: float | None = None,
    mode: str = "equivalence",
    unexplained: bool = False,
) -> SizeNeeded:
    """Smallest n such that it and every larger n pass with the power if nothing is lost.

    The arguments are those of `pass_power`.

    Examples:
        >>> pairs_needed(0.0).n, pairs_needed(0.01).n, pairs_needed(0.02).n
        (99, 257, 478)
        >>> pairs_needed(0.06).why
        '3 % of the labels are lost by chance, as much as the margin of 3 points'
    """
    open_unit("power", power)
    bound = margin if gross_margin is None else gross_margin
    lost, flipped = discordance / 2, discordance if unexplained else 0.0
    if lost >= bound:
        return SizeNeeded(
            None,
            f"{100 * lost:.3g} % of the labels are lost by chance, as much as the margin of "
            f"{100 * bound:g} points",
        )
    if flipped >= margin:
        return SizeNeeded(
            None,
            f"{100 * flipped:.3g} % of the labels flip by chance, as much as the margin of "
            f"{100 * margin:g} points, and no model finds why answers differ",
        )
    rule = (margin, alpha, gross_margin, mode, unexplained)
    n = _from_above(discordance, power, rule)
    if n is None:
        why = f"{100 * discordance:.3g} % of the labels flip by chance: more than {_LARGEST:,}"
        return SizeNeeded(None, why)
    return SizeNeeded(n)


def _from_above(psi: float, power: float, rule: _Rule) -> int | None:
    """Return the size from which on all reach the power, None beyond the largest that is tried."""
    margin, alpha, gross_margin, *_ = rule
    bound = margin if gross_margin is None or gross_margin >= 1 else gross_margin

    def first(losses: int) -> int:
        return rung(losses, bound, alpha)

    def enough(losses: int) -> bool:
        worst = first(losses + 1) - 1
        return _power(worst, psi, rule, _near(worst, margin, alpha)) >= power

    low, high = -1, 1
    while not enough(high):
        low, high = high, 2 * high
        if first(high) > _LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    n = first(high + _TEETH) - 1
    if (margin, alpha) == (MARGIN, ALPHA) and n <= _TABULATED:
        while n > 0 and _power(n, psi, rule, critical_value(n)) >= power:
            n -= 1
        return n + 1
    while first(high) <= _VERIFIED and (
        _power(first(high), psi, rule, critical_value(first(high), margin, alpha)) < power
    ):
        high += 1
    return first(high)


def _near(n: int, margin: float, alpha: float) -> float:
    """Return the critical value of a size alike; they wander within a few hundredths.

    At level 0.05 it hangs on n times the margin, as that of a Poisson law does.
    """
    if alpha == ALPHA:
        alike = round(n * margin / MARGIN)
        return critical_value(min(max(alike, FIRST_N), _TABULATED))
    return critical_value(max(int(10 ** (math.floor(math.log10(n) * 24) / 24)), 1), margin, alpha)


def detectable_loss(
    n: int,
    discordance: float,
    *,
    power: float = POWER,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    alpha_fail: float = 0.025,
    mode: str = "equivalence",
) -> float:
    """Smallest true loss with which the gate FAILs with the power; NaN where none does.

    Args:
        n: Pairs.
        discordance: Share of labels that flip by chance, half of them either way; the loss comes
            on top.
        power: Power.
        margin: Equivalence margin.
        alpha: Level of the equivalence test.
        alpha_fail: Level of the tests that FAIL; one of k tasks is tested at a k-th of it first.
        mode: "equivalence" or "noninferiority".

    Examples:
        >>> round(detectable_loss(468, 0.0), 3)
        0.022
    """
    half = closed_unit("discordance", discordance) / 2

    def shown(loss: float) -> bool:
        states = gate_probabilities(
            n, half + loss, half, margin=margin, alpha=alpha, alpha_fail=alpha_fail, mode=mode
        )
        return states.fail >= power

    step = 16 * _STEP
    coarse = next((x for x in np.arange(step, 1 - discordance, step).tolist() if shown(x)), None)
    if coarse is None:
        return math.nan
    fine = (coarse + _STEP * (i - 15) for i in range(16))
    return next((x for x in fine if shown(x)), coarse)
