"""Clustered pairs, which are not independent: wrappers of one behaviour, seeds of one prompt.

A cluster is what was drawn independently (a behaviour, a prompt). Counting its members as
independent pairs makes a test liberal: with seven copies of 100 prompts and a true loss at
the margin the naive score test passes four times as often as it may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from draftproof.stats.checks import FloatArray, open_unit
from draftproof.stats.paired import DiscordantPairs
from draftproof.stats.results import Interval
from draftproof.stats.score import score_interval


@dataclass(frozen=True, slots=True)
class ClusteredPairs:
    """Paired outcomes grouped into clusters.

    Attributes:
        sums: Losses minus gains per cluster, float64 [K].
        sizes: Pairs per cluster, float64 [K].
        loss: Losses in all.
        gain: Gains in all.
    """

    sums: FloatArray
    sizes: FloatArray
    loss: int
    gain: int

    @property
    def n(self) -> int:
        """Pairs."""
        return int(self.sizes.sum())

    @property
    def clusters(self) -> int:
        """Clusters."""
        return int(self.sizes.size)

    @property
    def difference(self) -> float:
        """(losses - gains)/n; NaN without pairs."""
        return (self.loss - self.gain) / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """K/(K-1)·Σ(S - D·m)²/n², the ratio form; NaN with fewer than two clusters.

        Source: Obuchowski (1998) Statistics in Medicine 17:1495-1507.
        """
        k = self.clusters
        if k < 2:
            return math.nan
        residual = self.sums - self.difference * self.sizes
        return float(k / (k - 1) * np.sum(residual**2) / self.n**2)

    @property
    def design_effect(self) -> float:
        """Cluster variance over the variance of independent pairs, at least 1.

        NaN when nothing is discordant or there are fewer than two clusters: it cannot be
        estimated then, and `effective_n` falls back to the number of clusters.
        """
        naive = (self.loss + self.gain - self.n * self.difference**2) / self.n**2 if self.n else 0
        if not naive > 0 or self.clusters < 2:
            return math.nan
        return max(self.variance / naive, 1.0)

    @property
    def effective_n(self) -> float:
        """Independent pairs that carry the same information, n over the design effect.

        Never above the number of clusters, which is what was drawn independently.
        """
        deff = self.design_effect
        return float(self.clusters if math.isnan(deff) else min(self.n / deff, self.clusters))

    def interval(self, level: float = 0.90, method: str = "score") -> Interval:
        """Cluster-robust interval of the difference.

        Args:
            level: Two-sided level.
            method: "score" (Tango limits at the effective counts, holds its level even with few
                discordant pairs) or "t" (D ± t·se with K - 1 degrees of freedom; undefined
                without variance).
        """
        open_unit("level", level)
        name = f"cluster {method}"
        if self.n == 0:
            return Interval(math.nan, math.nan, level, name)
        if method == "t":
            se = math.sqrt(self.variance) if self.clusters > 1 else math.nan
            if not se > 0:
                return Interval(math.nan, math.nan, level, name)
            half = float(stdtrit(self.clusters - 1, (1 + level) / 2)) * se
            return Interval(self.difference - half, self.difference + half, level, name)
        if method != "score":
            raise ValueError(f"method must be score or t, got {method!r}")
        shrink = self.effective_n / self.n
        low, high = score_interval(self.loss * shrink, self.gain * shrink, self.effective_n, level)
        return Interval(float(low), float(high), level, name)

    def effective_pairs(self) -> DiscordantPairs:
        """Whole counts for the exact test of the loss side: losses up, gains and n down.

        For the gain side call it on `swapped()`.
        """
        if self.n == 0:
            return DiscordantPairs(0, 0, 0)
        shrink = self.effective_n / self.n
        loss = math.ceil(self.loss * shrink - 1e-9)
        gain = math.floor(self.gain * shrink + 1e-9)
        n = math.floor(self.effective_n + 1e-9)
        loss = min(loss, n)
        return DiscordantPairs(loss, min(gain, n - loss), n)

    def swapped(self) -> ClusteredPairs:
        """The same pairs with the arms exchanged."""
        return ClusteredPairs(-self.sums, self.sizes, self.gain, self.loss)


def cluster_pairs(cluster: ArrayLike, difference: ArrayLike) -> ClusteredPairs:
    """Group paired differences by cluster.

    Args:
        cluster: Label of each pair's cluster, [N].
        difference: +1 for a loss, -1 for a gain, 0 for equal labels, [N].

    Raises:
        ValueError: When lengths differ or a difference is none of -1, 0, 1.

    Examples:
        >>> pairs = cluster_pairs(["a", "a", "b", "b", "c", "c"], [1, 1, 0, 0, 0, 0])
        >>> pairs.clusters, round(pairs.design_effect, 2), round(pairs.effective_n, 2)
        (3, 3.0, 2.0)
    """
    d = np.asarray(difference, dtype=np.float64)
    labels = np.asarray(cluster)
    if d.shape != labels.shape or d.ndim != 1:
        raise ValueError("cluster and difference must be one-dimensional and of one length")
    if not np.isin(d, (-1.0, 0.0, 1.0)).all():
        raise ValueError("difference must hold only -1, 0 and 1")
    distinct, position = np.unique(labels, return_inverse=True)
    sums = np.bincount(position, weights=d, minlength=distinct.size).astype(np.float64)
    sizes = np.bincount(position, minlength=distinct.size).astype(np.float64)
    return ClusteredPairs(sums, sizes, int((d > 0).sum()), int((d < 0).sum()))
