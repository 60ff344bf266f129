"""Do the ties follow the draft? An exact conditional test, stratified by gap.

Among near-ties a clean stack says the second token as often where the draft proposed it as where
the draft proposed the best, given the gap. A rule that keeps drafted tokens only where the gap is
of the size of rounding shows in no margin; it shows here. A draft that shares the stack's rounding
follows it without any leak, so the candidate is also held against the baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, ndtri

from draftproof.stats.checks import BoolArray, FloatArray, IntArray

STRATUM: Final = 12  # positions a stratum: narrow in gap, wide enough to hold both proposals
CANDIDATE_LEVEL: Final = 0.005
BASELINE_LEVEL: Final = 0.05
EXCESS_Z: Final = 2.58


@dataclass(frozen=True, slots=True, eq=False)
class NearTies:
    """2×2 tables of near-ties, one a stratum of gap.

    Attributes:
        both: Draft proposed the second token and the arm said it, int64 [S].
        proposed: Draft proposed the second token, int64 [S].
        said: Arm said the second token, int64 [S].
        size: Positions, int64 [S].
    """

    both: IntArray
    proposed: IntArray
    said: IntArray
    size: IntArray

    @property
    def statistic(self) -> int:
        """Positions at which the arm said a second token that the draft proposed."""
        return int(self.both.sum())

    @property
    def log_law(self) -> tuple[int, FloatArray]:
        """Smallest value and log-law of the statistic given all margins, without dependence.

        The law is the convolution of the strata's hypergeometric laws, in logarithms: where
        hundreds of ties follow the draft its tail is below the smallest float.
        """
        first, law = 0, np.zeros(1)
        for n, k, m in zip(self.size, self.proposed, self.said, strict=True):
            low, stratum = _log_hypergeometric(int(n), int(k), int(m))
            wider = np.full(law.size + len(stratum) - 1, -np.inf)
            for shift, weight in enumerate(stratum):
                part = slice(shift, shift + law.size)
                wider[part] = np.logaddexp(wider[part], law + weight)
            first, law = first + low, wider
        return first, law

    @property
    def p_value(self) -> float:
        """One-sided exact P{statistic >= observed}; 1 where the margins fix it."""
        first, law = self.log_law
        return min(1.0, float(np.exp(logsumexp(law[self.statistic - first :]))))

    @property
    def log_odds(self) -> float:
        """Mantel-Haenszel log-odds ratio; infinite or NaN where a sum is zero."""
        right, wrong = self._products
        if right.sum() == 0 and wrong.sum() == 0:
            return math.nan
        with np.errstate(divide="ignore"):
            return float(np.log(right.sum()) - np.log(wrong.sum()))

    @property
    def standard_error(self) -> float:
        """Standard error of the log-odds (Robins, Breslow and Greenland 1986); NaN if undefined."""
        right, wrong = self._products
        r, s = float(right.sum()), float(wrong.sum())
        if r == 0 or s == 0:
            return math.nan
        neither = self.size - self.proposed - self.said + self.both
        concordant = (self.both + neither) / self.size
        discordant = 1 - concordant
        variance = (
            (concordant * right).sum() / (2 * r * r)
            + (concordant * wrong + discordant * right).sum() / (2 * r * s)
            + (discordant * wrong).sum() / (2 * s * s)
        )
        return math.sqrt(float(variance))

    @property
    def _products(self) -> tuple[FloatArray, FloatArray]:
        neither = self.size - self.proposed - self.said + self.both
        right = self.both * neither / self.size
        wrong = (self.proposed - self.both) * (self.said - self.both) / self.size
        return np.asarray(right), np.asarray(wrong)


def _log_hypergeometric(n: int, k: int, m: int) -> tuple[int, list[float]]:
    """Smallest overlap of k and m positions out of n, and the log-law of the overlap."""
    low = max(0, k + m - n)
    ways = math.comb(n, m)
    law = [math.comb(k, x) * math.comb(n - k, m - x) / ways for x in range(low, min(k, m) + 1)]
    return low, [math.log(share) for share in law]


def near_ties(
    gap: ArrayLike, said_second: ArrayLike, draft_second: ArrayLike, *, widest: float
) -> NearTies:
    """Stratify the near-ties of one arm by gap, about twelve positions a stratum.

    Positions belong here only where the draft proposed one of the two best tokens and the arm
    said one of them. Bonus tokens, which no draft proposed, are left out by the caller.

    Args:
        gap: Gap of the instrument's two best tokens, nats, [N].
        said_second: Whether the arm said the second token, bool [N].
        draft_second: Whether the draft proposed the second token, bool [N].
        widest: Gap in nats from which a position is no near-tie.

    Raises:
        ValueError: When the arrays differ in length or a gap is not finite and >= 0.
    """
    gaps = np.asarray(gap, dtype=np.float64)
    said: BoolArray = np.asarray(said_second, dtype=np.bool_)
    drafted: BoolArray = np.asarray(draft_second, dtype=np.bool_)
    if gaps.ndim != 1 or not gaps.shape == said.shape == drafted.shape:
        raise ValueError("gap, said_second and draft_second must be one-dimensional, one length")
    if not (np.isfinite(gaps) & (gaps >= 0)).all():
        raise ValueError("gaps must be finite and >= 0 nats")
    order = np.flatnonzero(gaps < widest)
    order = order[np.argsort(gaps[order], kind="stable")]
    strata = max(1, order.size // STRATUM)
    edges = np.arange(order.size) * strata // max(1, order.size)

    def total(values: BoolArray) -> IntArray:
        return np.bincount(edges[values], minlength=strata).astype(np.int64)

    s, k = said[order], drafted[order]
    size = total(np.ones(order.size, dtype=np.bool_))
    held = size > 0
    return NearTies(total(s & k)[held], total(k)[held], total(s)[held], size[held])


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """Whether the candidate's ties follow the draft beyond the baseline's.

    Attributes:
        candidate: Near-ties of the candidate.
        baseline: Near-ties of the baseline, the draft replayed on its positions.
    """

    candidate: NearTies
    baseline: NearTies

    @property
    def excess_p_value(self) -> float:
        """Exact one-sided test that the candidate's odds ratio exceeds the baseline's.

        With one odds ratio in both arms the candidate's statistic given the sum of both is free
        of that ratio (Zelen 1971): P(x) ∝ P_c(x)·P_b(t - x). It needs no variance, so it holds
        where every tie follows the draft and the Mantel-Haenszel ratio is infinite.
        """
        (first_c, law_c), (first_b, law_b) = self.candidate.log_law, self.baseline.log_law
        total = self.candidate.statistic + self.baseline.statistic
        x = np.arange(law_c.size) + first_c
        other = total - x - first_b
        possible = (other >= 0) & (other < law_b.size)
        weight = law_c[possible] + law_b[other[possible]]
        above = x[possible] >= self.candidate.statistic
        return min(1.0, float(np.exp(logsumexp(weight[above]) - logsumexp(weight))))

    @property
    def excess_z(self) -> float:
        """The excess as a normal quantile; -inf where the margins fix the statistic."""
        return -float(ndtri(self.excess_p_value))

    @property
    def fails(self) -> bool:
        """Candidate below .005, excess over the baseline above 2.58, baseline above .05."""
        return (
            self.candidate.p_value < CANDIDATE_LEVEL
            and self.excess_z > EXCESS_Z
            and self.baseline.p_value > BASELINE_LEVEL
        )
