"""Assay sensitivity: how likely a plan detects an injected leak of a certain size.

A leak of rate λ replaces the candidate's answer on a random share λ of prompts, either by what
the draft alone answers or by a canned bad answer. On the remaining prompts the background
discordance of the noise floor stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from draftproof.stats.checks import FloatArray, closed_unit, one_of
from draftproof.stats.operating import GateProbabilities, gate_probabilities

_TARGETS = ("fail", "not-pass")


@dataclass(frozen=True, slots=True)
class Leak:
    """What a full leak does to a pair.

    Attributes:
        lost: P(good in the baseline, bad when leaked).
        gained: P(bad in the baseline, good when leaked).
        background: Discordance without a leak, split evenly.
        kind: "draft" (the draft's own labels) or "canned" (always bad).
    """

    lost: float
    gained: float
    background: float = 0.0
    kind: str = "draft"

    def rates(self, rate: float) -> tuple[float, float]:
        """(p10, p01) at leak rate `rate`."""
        share = closed_unit("rate", rate)
        rest = (1 - share) * self.background / 2
        return share * self.lost + rest, share * self.gained + rest

    def difference(self, rate: float) -> float:
        """True difference at leak rate `rate`."""
        return closed_unit("rate", rate) * (self.lost - self.gained)


def canned_leak(baseline_rate: float, background: float = 0.0) -> Leak:
    """Leak toward an answer that is always bad: every good pair that leaks is lost."""
    return Leak(closed_unit("baseline_rate", baseline_rate), 0.0, background, "canned")


@dataclass(frozen=True, slots=True)
class DetectionCurve:
    """Probabilities of the gate's states over leak rates.

    Attributes:
        rates: Leak rates, float64 [K].
        pass_: P(PASS), float64 [K].
        fail: P(FAIL), float64 [K].
        inconclusive: P(INCONCLUSIVE), float64 [K].
        n: Pairs.
        leak: The leak.
    """

    rates: FloatArray
    pass_: FloatArray
    fail: FloatArray
    inconclusive: FloatArray
    n: int
    leak: Leak


def detection_curve(
    n: int,
    leak: Leak,
    rates: ArrayLike,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    gross_margin: float | None = None,
) -> DetectionCurve:
    """Enumerate the gate's states at each leak rate.

    Examples:
        >>> curve = detection_curve(100, canned_leak(0.79), [0.05, 0.10])
        >>> curve.fail.round(2).tolist(), curve.pass_.round(2).tolist()
        ([0.2, 0.81], [0.02, 0.0])
    """
    grid = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    gate = _gate(n, leak, margin, alpha, alpha_fail, gross_margin)
    points = [gate(float(rate)) for rate in grid]
    return DetectionCurve(
        grid,
        np.array([p.pass_ for p in points]),
        np.array([p.fail for p in points]),
        np.array([p.inconclusive for p in points]),
        n,
        leak,
    )


def minimum_detectable_leak(
    n: int,
    leak: Leak,
    *,
    power: float = 0.80,
    target: str = "fail",
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    gross_margin: float | None = None,
    step: float = 0.0025,
) -> float:
    """Smallest leak rate from which on the plan reaches `target` with the target power.

    The probability is not monotone (a loss that is real but below the margin may PASS), so the
    rate counts only if every larger one on the grid is detected as well.

    Args:
        n: Pairs.
        leak: What a full leak does.
        power: Target probability, usually 0.80 and 0.95.
        target: "fail", or "not-pass" for a leak that at least does not slip through.
        margin: Margin.
        alpha: Level of the equivalence test.
        alpha_fail: Level of the loss test.
        gross_margin: Flip bound; None takes the margin, 1 leaves it out.
        step: Resolution of the rate.

    Returns:
        The rate, or NaN when not even a full leak is detected: the assay is not sensitive.

    Examples:
        >>> rate = minimum_detectable_leak(100, Leak(lost=1.0, gained=0.0), step=0.0005)
        >>> 0.0775 <= rate <= 0.0785
        True
        >>> minimum_detectable_leak(468, Leak(lost=0.04, gained=0.05))
        nan
    """
    one_of("target", target, _TARGETS)
    gate = _gate(n, leak, margin, alpha, alpha_fail, gross_margin)

    def reached(rate: float) -> bool:
        states = gate(rate)
        return (states.fail if target == "fail" else 1 - states.pass_) >= power

    # a coarse descent from the full leak, then the step resolution inside the last interval
    coarse = np.unique(np.concatenate([np.arange(0, 0.2, 8 * step), np.linspace(0.2, 1.0, 41)]))
    first_missed = -1
    for index in range(coarse.size - 1, -1, -1):
        if not reached(float(coarse[index])):
            first_missed = index
            break
    if first_missed == coarse.size - 1:
        return math.nan
    if first_missed < 0:
        return 0.0
    fine = np.arange(coarse[first_missed], coarse[first_missed + 1] + step, step)
    for rate in fine[::-1]:
        if not reached(min(float(rate), 1.0)):
            return min(float(rate) + step, 1.0)
    return float(coarse[first_missed])


def _gate(
    n: int,
    leak: Leak,
    margin: float,
    alpha: float,
    alpha_fail: float,
    gross_margin: float | None,
) -> Callable[[float], GateProbabilities]:
    def at(rate: float) -> GateProbabilities:
        lost, gained = leak.rates(rate)
        return gate_probabilities(
            n, lost, gained,
            margin=margin, alpha=alpha, alpha_fail=alpha_fail, gross_margin=gross_margin,
        )  # fmt: skip

    return at
