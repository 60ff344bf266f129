"""Correction of rates and differences for the errors of a scorer.

With sensitivity se and specificity sp the apparent rate is p·se + (1-p)(1-sp), so differences
between arms scored alike shrink by J = se + sp - 1: an imperfect scorer makes arms look more
alike than they are, and a margin on the labels is a wider margin on the true differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from draftproof.stats.checks import closed_unit, count, open_unit
from draftproof.stats.proportions import clopper_pearson
from draftproof.stats.results import Interval


@dataclass(frozen=True, slots=True)
class ScorerValidation:
    """A scorer against ground truth.

    Attributes:
        true_positive: Positives called positive.
        positives: Ground-truth positives.
        true_negative: Negatives called negative.
        negatives: Ground-truth negatives.

    Examples:
        >>> scorer = ScorerValidation(90, 100, 90, 100)
        >>> round(scorer.youden, 2), round(scorer.true_margin(0.03), 4)
        (0.8, 0.0375)
    """

    true_positive: int
    positives: int
    true_negative: int
    negatives: int

    def __post_init__(self) -> None:
        for name in ("true_positive", "positives", "true_negative", "negatives"):
            count(name, getattr(self, name))
        if self.true_positive > self.positives or self.true_negative > self.negatives:
            raise ValueError("hits must not exceed the cases they come from")

    @property
    def sensitivity(self) -> float:
        """Share of positives found; NaN without positives."""
        return self.true_positive / self.positives if self.positives else math.nan

    @property
    def specificity(self) -> float:
        """Share of negatives left alone; NaN without negatives."""
        return self.true_negative / self.negatives if self.negatives else math.nan

    @property
    def youden(self) -> float:
        """J = se + sp - 1, the factor by which differences shrink."""
        return self.sensitivity + self.specificity - 1

    def youden_lower(self, alpha: float = 0.05) -> float:
        """Lower 1 - alpha bound of J: exact bounds of both rates at alpha/2 each."""
        level = 1 - open_unit("alpha", alpha) / 2
        se = clopper_pearson(self.true_positive, self.positives, level, "lower").low
        sp = clopper_pearson(self.true_negative, self.negatives, level, "lower").low
        return se + sp - 1

    def youden_bounds(self, alpha: float = 0.05) -> tuple[float, float]:
        """Lower and upper 1 - alpha bound of J: exact bounds of both rates at alpha/2 each.

        Examples:
            >>> [round(bound, 3) for bound in ScorerValidation(90, 100, 90, 100).youden_bounds()]
            [0.648, 0.902]
        """
        level = 1 - open_unit("alpha", alpha) / 2
        hits = ((self.true_positive, self.positives), (self.true_negative, self.negatives))
        high = sum(clopper_pearson(k, n, level, "upper").high for k, n in hits) - 1
        return self.youden_lower(alpha), high

    def true_margin(self, margin: float = 0.03) -> float:
        """Margin in truth that `margin` on the labels means; inf for a scorer at chance or below.

        Examples:
            >>> ScorerValidation(50, 100, 50, 100).true_margin()
            inf
        """
        j = self.youden
        return margin / j if j > 0 else math.inf

    def label_margin(self, margin: float = 0.03, alpha: float = 0.05) -> float:
        """Margin to test on the labels so that `margin` holds in truth: J_lower·margin, or 0."""
        return max(self.youden_lower(alpha), 0.0) * margin


def implied_true_margin(margin: float, false_positive: float, false_negative: float) -> float:
    """margin/(1 - FPR - FNR); inf when the scorer is no better than chance.

    Examples:
        >>> round(implied_true_margin(0.03, 0.17, 0.10), 4)
        0.0411
    """
    j = (
        1
        - closed_unit("false_positive", false_positive)
        - closed_unit("false_negative", false_negative)
    )
    return margin / j if j > 0 else math.inf


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """A rate corrected for scorer error.

    Attributes:
        estimate: Corrected rate, clamped to [0, 1]; NaN when J <= 0.
        raw: Before clamping.
        clamped: Whether the raw value lay outside [0, 1]: the assumed se and sp do not fit.
        se: Standard error with the validation samples' share in it; NaN when undefined.
    """

    estimate: float
    raw: float
    clamped: bool
    se: float

    def interval(self, level: float = 0.95) -> Interval:
        """Normal interval around the raw estimate, cut to [0, 1]."""
        half = float(ndtri((1 + open_unit("level", level)) / 2)) * self.se
        if math.isnan(half):
            return Interval(math.nan, math.nan, level, "rogan-gladen")
        low, high = (min(max(self.raw + sign * half, 0.0), 1.0) for sign in (-1, 1))
        return Interval(low, high, level, "rogan-gladen")


def rogan_gladen(
    positive: int,
    n: int,
    sensitivity: float,
    specificity: float,
    *,
    positives: float = math.inf,
    negatives: float = math.inf,
) -> CorrectedRate:
    """Correct an apparent rate: (ap + sp - 1)/(se + sp - 1).

    Source: Rogan & Gladen (1978) American J. of Epidemiology 107:71-76; variance by the delta
    method with the sampling error of se and sp.

    Args:
        positive: Answers that the scorer calls positive.
        n: Answers.
        sensitivity: Scorer's sensitivity.
        specificity: Scorer's specificity.
        positives: Ground-truth positives behind `sensitivity`; inf when it is known.
        negatives: Ground-truth negatives behind `specificity`.

    Examples:
        >>> low = rogan_gladen(4, 80, 0.9, 0.93)
        >>> round(low.raw, 4), low.estimate, low.clamped
        (-0.0241, 0.0, True)
    """
    se, sp = closed_unit("sensitivity", sensitivity), closed_unit("specificity", specificity)
    j = se + sp - 1
    if n == 0 or j <= 0:
        return CorrectedRate(math.nan, math.nan, False, math.nan)
    apparent = count("positive", positive) / count("n", n)
    raw = (apparent + sp - 1) / j
    variance = (
        apparent * (1 - apparent) / n
        + raw**2 * se * (1 - se) / positives
        + (1 - raw) ** 2 * sp * (1 - sp) / negatives
    ) / j**2
    estimate = min(max(raw, 0.0), 1.0)
    return CorrectedRate(estimate, raw, estimate != raw, math.sqrt(variance))


def corrected_difference(
    loss: int, gain: int, n: int, scorer: ScorerValidation, rng: np.random.Generator,
    level: float = 0.90, draws: int = 20_000,
) -> Interval:  # fmt: skip
    """Interval of the true difference with the scorer's uncertainty propagated.

    The label difference is divided by J; label difference (normal around the Laplace-adjusted
    rates) and J (beta posteriors with Jeffreys' prior) are drawn together. Draws with J <= 0
    have no corrected difference and make the limits ±1.
    """
    if n == 0 or not scorer.positives or not scorer.negatives:
        return Interval(math.nan, math.nan, level, "corrected difference")
    lost, gained = (loss + 1) / (n + 2), (gain + 1) / (n + 2)
    centre = lost - gained
    spread = math.sqrt((lost + gained - centre**2) / (n + 2))
    label = rng.normal(centre, spread, draws)
    tp, fn = scorer.true_positive, scorer.positives - scorer.true_positive
    tn, fp = scorer.true_negative, scorer.negatives - scorer.true_negative
    j = rng.beta(tp + 0.5, fn + 0.5, draws) + rng.beta(tn + 0.5, fp + 0.5, draws) - 1
    true = np.where(j > 0, label / np.where(j > 0, j, 1.0), np.sign(label) * np.inf)
    tails = [(1 - open_unit("level", level)) / 2, (1 + level) / 2]
    low, high = np.clip(np.quantile(np.clip(true, -1e9, 1e9), tails), -1.0, 1.0)
    return Interval(float(low), float(high), level, "corrected difference")
