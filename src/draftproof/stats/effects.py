"""Effect sizes: Cohen's h, its size under noise alone, and the odds ratio of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from draftproof.stats.checks import closed_unit, count, one_of
from draftproof.stats.proportions import clopper_pearson
from draftproof.stats.results import EffectSize, Ratio


def cohen_h(p1: float, p2: float) -> float:
    """Cohen's h = 2·asin(sqrt(p1)) - 2·asin(sqrt(p2)).

    Source: Cohen (1988) Statistical Power Analysis, section 6.2.

    Examples:
        >>> round(cohen_h(0.78, 0.79), 4)
        -0.0243
    """
    first, second = closed_unit("p1", p1), closed_unit("p2", p2)
    return 2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second))


def paired_cohen_h(both: int, loss: int, gain: int, neither: int) -> EffectSize:
    """Cohen's h of baseline against candidate with its paired standard error.

    se = sqrt(2·(1 - phi)/n), phi the ordinary 2×2 coefficient: the delta method with the
    multinomial covariance. Positive h means that the candidate lost.

    Returns:
        The effect; h is NaN when there are no pairs. When a margin is empty phi does not exist
        and se is NaN, unless nothing is discordant: then both rates are equal in every sample
        and se is 0.

    Examples:
        >>> effect = paired_cohen_h(329, 1, 3, 24)
        >>> round(effect.h, 4), round(effect.se, 4)
        (-0.0216, 0.0215)
    """
    n = both + loss + gain + neither
    if n == 0:
        return EffectSize(math.nan, math.nan, "paired")
    h = cohen_h((both + loss) / n, (both + gain) / n)
    phi = phi_coefficient(both, loss, gain, neither)
    if math.isnan(phi):
        return EffectSize(h, 0.0 if loss + gain == 0 else math.nan, "paired")
    return EffectSize(h, math.sqrt(max(2 * (1 - phi) / n, 0.0)), "paired")


def phi_coefficient(both: float, loss: float, gain: float, neither: float) -> float:
    """Correlation of the two binary outcomes; NaN when a margin is empty."""
    margins = (both + loss) * (gain + neither) * (both + gain) * (loss + neither)
    if margins == 0:
        return math.nan
    return (both * neither - loss * gain) / math.sqrt(margins)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A quantile of an effect size under noise alone, with its confidence bounds.

    Attributes:
        value: Upper confidence bound of the quantile, the cutoff to use; NaN without repeats.
        estimate: The quantile at the observed flip rate; NaN without repeats.
        low: Lower confidence bound of the quantile; NaN without prompts.
    """

    value: float
    estimate: float
    low: float

    @property
    def defined(self) -> bool:
        """Whether a cutoff exists."""
        return not math.isnan(self.value)


def modelled_h_cutoff(
    rng: np.random.Generator,
    baseline_rate: float,
    discordant: int,
    repeated: int,
    n: int,
    *,
    quantile: float = 0.95,
    level: float = 0.95,
    draws: int = 20_000,
) -> Cutoff:
    """Cutoff of |h| from a model of noise: symmetric flips at the rate of the repeats.

    The flip rate is the repeats' discordance. Its Clopper-Pearson bound gives the cutoff and its
    estimate the point value, so few repeats give a loose cutoff and not a false one.

    Args:
        rng: Source of random numbers.
        baseline_rate: Share of good answers in the baseline.
        discordant: Flipped pairs among the repeated prompts.
        repeated: Repeated prompts.
        n: Prompts per stratum to which the cutoff applies.
        quantile: Quantile of |h| under noise alone.
        level: Confidence of the bound on the flip rate.
        draws: Simulated strata per flip rate.
    """
    bound = clopper_pearson(discordant, repeated, level, "upper").high
    lower = clopper_pearson(discordant, repeated, level, "lower").low
    estimate = discordant / repeated if repeated else math.nan
    low, middle, high = (
        _h_quantile(rng, baseline_rate, psi, n, quantile, draws) for psi in (lower, estimate, bound)
    )
    return Cutoff(high, middle, low)


def _h_quantile(
    rng: np.random.Generator, rate: float, psi: float, n: int, quantile: float, draws: int
) -> float:
    if math.isnan(psi) or n == 0:
        return math.nan
    # flips leave from both labels equally often, so neither cell may be emptied
    flips = min(psi / 2, rate, 1 - rate)
    cells = rng.multinomial(n, [rate - flips, flips, flips, 1 - rate - flips], size=draws)
    both, loss, gain = (cells[:, i].astype(np.float64) for i in range(3))
    h = 2 * np.arcsin(np.sqrt((both + loss) / n)) - 2 * np.arcsin(np.sqrt((both + gain) / n))
    return float(np.quantile(np.abs(h), quantile))


def paired_odds_ratio(loss: int, gain: int, method: str = "haldane") -> Ratio:
    """Conditional odds ratio, losses against gains.

    "haldane": (b + 1/2)/(c + 1/2) with log-se sqrt(1/(b + 1/2) + 1/(c + 1/2)), defined always.
    "mle": b/c, 0 or inf at an empty cell, NaN at 0/0. Never both·neither/(loss·gain).

    Examples:
        >>> paired_odds_ratio(0, 3).estimate
        0.14285714285714285
    """
    b, c = count("loss", loss), count("gain", gain)
    if one_of("method", method, ("haldane", "mle")) == "haldane":
        return Ratio((b + 0.5) / (c + 0.5), math.sqrt(1 / (b + 0.5) + 1 / (c + 0.5)), method)
    if b == 0 or c == 0:
        return Ratio(math.nan if b == c else (0.0 if b == 0 else math.inf), math.nan, method)
    return Ratio(b / c, math.sqrt(1 / b + 1 / c), method)
