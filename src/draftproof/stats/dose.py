"""Dose-response over draft length γ: does more speculation change more labels?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, expit, ndtr, ndtri

from draftproof.stats.checks import FloatArray, open_unit
from draftproof.stats.results import HypothesisResult, Interval

_STEPS = 60
_CONVERGED = 1e-12
_RUNAWAY = 40.0


def cochran_armitage(x: ArrayLike, n: ArrayLike, scores: ArrayLike) -> HypothesisResult:
    """Trend of proportions over scores: T²/V with one degree of freedom.

    T = Σ(x - n·p)(s - s̄), V = p(1-p)·Σn(s - s̄)². Sources: Cochran (1954), Armitage (1955). For
    different prompts at each dose; on the same prompts it is conservative, use
    `conditional_slope` there.

    Args:
        x: Events per dose.
        n: Trials per dose.
        scores: The doses.

    Returns:
        The test; statistic 0 and p 1 when all outcomes or all doses are equal.

    Examples:
        >>> result = cochran_armitage([83, 90, 129, 70], [86, 93, 136, 82], [1, 2, 3, 4])
        >>> round(result.statistic, 4), round(result.p_value, 6)
        (8.2249, 0.004132)
    """
    events, trials, dose = (np.asarray(v, dtype=np.float64) for v in (x, n, scores))
    if not (events.shape == trials.shape == dose.shape) or np.any(events > trials):
        raise ValueError("x, n and scores must be of one length, with x <= n")
    total = trials.sum()
    if total == 0:
        return HypothesisResult(math.nan, math.nan, "cochran-armitage", "two-sided")
    p = events.sum() / total
    centred = dose - (trials @ dose) / total
    variance = p * (1 - p) * float(trials @ centred**2)
    if variance <= 0:
        return HypothesisResult(1.0, 0.0, "cochran-armitage", "two-sided")
    statistic = float(((events - trials * p) @ centred) ** 2 / variance)
    return HypothesisResult(float(chdtrc(1, statistic)), statistic, "cochran-armitage", "two-sided")


@dataclass(frozen=True, slots=True)
class Slope:
    """Slope of a log-odds over the dose.

    Attributes:
        coefficient: Change of the log-odds per unit of dose; ±inf when every informative prompt
            changes in one direction; NaN when no prompt changes at all.
        se: Standard error; NaN when the coefficient is not finite.
        informative: Prompts whose label is not the same at every dose.
        prompts: All prompts.
        method: Name of the method.
    """

    coefficient: float
    se: float
    informative: int
    prompts: int
    method: str

    @property
    def p_value(self) -> float:
        """Two-sided Wald p-value; NaN when undefined."""
        return float(2 * ndtr(-abs(self.coefficient / self.se))) if self.se > 0 else math.nan

    def interval(self, level: float = 0.95) -> Interval:
        """Wald interval of the slope."""
        half = float(ndtri((1 + open_unit("level", level)) / 2)) * self.se
        return Interval(self.coefficient - half, self.coefficient + half, level, self.method)

    def flip_bound(self, alpha: float = 0.05) -> float:
        """Upper bound of the share of prompts that change at any dose, when none did.

        1 - alpha^(1/K), to be reported instead of "slope 0". NaN when some prompt changed.
        """
        if self.informative or not self.prompts:
            return math.nan
        return -math.expm1(math.log(alpha) / self.prompts)


def conditional_slope(prompt: ArrayLike, dose: ArrayLike, outcome: ArrayLike) -> Slope:
    """Conditional logistic slope on the same prompts at every dose, exact likelihood.

    Each prompt is a stratum; its number of good outcomes is conditioned on, so prompts with a
    constant outcome drop out. With one pair per prompt the slope is log(c/b) and its standard
    error sqrt(1/b + 1/c). Source: Breslow & Day (1980) Statistical Methods in Cancer Research,
    chapter 7.

    Args:
        prompt: Prompt label, [N].
        dose: Dose, [N].
        outcome: 0 or 1, [N].

    Examples:
        >>> prompt, dose = [1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1]
        >>> slope = conditional_slope(prompt, dose, [1, 0, 1, 0, 0, 1])
        >>> round(slope.coefficient, 4), round(slope.se, 4)
        (-0.6931, 1.2247)
    """
    labels, doses, outcomes = _check(prompt, dose, outcome)
    distinct, position = np.unique(labels, return_inverse=True)
    strata = []
    for index in range(distinct.size):
        y, x = outcomes[position == index], doses[position == index]
        if 0 < y.sum() < y.size and np.ptp(x) > 0:
            strata.append((x - x.mean(), int(y.sum()), float((x - x.mean()) @ y)))
    name = "conditional logistic"
    if not strata:
        return Slope(math.nan, math.nan, 0, int(distinct.size), name)
    beta = 0.0
    for _ in range(_STEPS):
        moments = [_moments(x, m, beta) for x, m, _ in strata]
        score = sum(observed for _, _, observed in strata) - sum(mean for mean, _ in moments)
        information = sum(variance for _, variance in moments)
        # a likelihood without maximum sends beta off; the flattening information shows it first
        if information < 1e-9 or abs(beta) * max(np.ptp(x) for x, _, _ in strata) > _RUNAWAY:
            return Slope(math.copysign(math.inf, beta), math.nan, len(strata), distinct.size, name)
        step = score / information
        beta += max(min(step, 2.0), -2.0)
        if abs(step) < _CONVERGED * (1 + abs(beta)):
            break
    return Slope(beta, 1 / math.sqrt(information), len(strata), int(distinct.size), name)


def _moments(x: FloatArray, m: int, beta: float) -> tuple[float, float]:
    """Mean and variance of Σx over subsets of size m, weighted by exp(beta·Σx)."""
    # elementary symmetric polynomials with first and second derivatives, by recursion
    e = np.zeros((3, m + 1))
    e[0, 0] = 1.0
    for value, weight in zip(x, np.exp(beta * x), strict=True):
        shifted = np.zeros_like(e)
        shifted[:, 1:] = e[:, :-1]
        e[2] += weight * (shifted[2] + 2 * value * shifted[1] + value**2 * shifted[0])
        e[1] += weight * (shifted[1] + value * shifted[0])
        e[0] += weight * shifted[0]
    mean = e[1, m] / e[0, m]
    return float(mean), float(e[2, m] / e[0, m] - mean**2)


@dataclass(frozen=True, slots=True)
class MarginalLogit:
    """Logistic line with cluster-robust standard errors.

    Attributes:
        intercept: Log-odds at dose 0.
        slope: Change per unit of dose.
        intercept_se: Robust standard error.
        slope_se: Robust standard error.
        clusters: Prompts.
    """

    intercept: float
    slope: float
    intercept_se: float
    slope_se: float
    clusters: int


def marginal_slope(prompt: ArrayLike, dose: ArrayLike, outcome: ArrayLike) -> MarginalLogit:
    """Population-averaged logistic slope: independence working model, sandwich by prompt.

    Source: Liang & Zeger (1986) Biometrika 73:13-22. Trust it from about 40 prompts on. All
    values are NaN when the outcome is constant or separated.
    """
    labels, doses, outcomes = _check(prompt, dose, outcome)
    distinct, position = np.unique(labels, return_inverse=True)
    undefined = MarginalLogit(math.nan, math.nan, math.nan, math.nan, int(distinct.size))
    if outcomes.size == 0 or np.ptp(outcomes) == 0 or np.ptp(doses) == 0:
        return undefined
    design = np.column_stack([np.ones_like(doses), doses])
    beta = np.zeros(2)
    for _ in range(_STEPS):
        fitted = expit(design @ beta)
        bread = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if not np.linalg.cond(bread) < 1e14:
            return undefined
        step = np.linalg.solve(bread, design.T @ (outcomes - fitted))
        beta = beta + step
        if float(np.abs(step).max()) < _CONVERGED:
            break
    scores = design * (outcomes - expit(design @ beta))[:, None]
    by_prompt = np.zeros((distinct.size, 2))
    np.add.at(by_prompt, position, scores)
    inverse = np.linalg.inv(bread)
    se = np.sqrt(np.diag(inverse @ (by_prompt.T @ by_prompt) @ inverse))
    return MarginalLogit(
        float(beta[0]), float(beta[1]), float(se[0]), float(se[1]), int(distinct.size)
    )


def _check(
    prompt: ArrayLike, dose: ArrayLike, outcome: ArrayLike
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.generic]], FloatArray, FloatArray]:
    labels = np.asarray(prompt)
    doses, outcomes = np.asarray(dose, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if not labels.shape == doses.shape == outcomes.shape or labels.ndim != 1:
        raise ValueError("prompt, dose and outcome must be one-dimensional and of one length")
    if not np.isin(outcomes, (0.0, 1.0)).all():
        raise ValueError("outcome must hold only 0 and 1")
    return labels, doses, outcomes
