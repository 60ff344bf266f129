"""Paired binary outcomes: one prompt, two arms, a good answer or not in each.

`ExcessDivergence` compares two candidates against one baseline in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from draftproof.stats import intervals
from draftproof.stats.checks import count, discordants, one_of
from draftproof.stats.effects import paired_cohen_h, paired_odds_ratio
from draftproof.stats.exact import exact_interval, exact_p_value
from draftproof.stats.mcnemar import mcnemar_test
from draftproof.stats.results import EffectSize, HypothesisResult, Interval, Ratio, TostResult
from draftproof.stats.score import score_interval, score_p_value

INTERVALS = (
    "tango", "newcombe", "newcombe-8", "bonett_price", "agresti_min", "wald", "exact", "melded",
)  # fmt: skip
TESTS = ("exact", "tango", "wald")


class PairedCounts:
    """Statistics of the losses, the gains and the number of pairs alone."""

    __slots__ = ()

    loss: int
    gain: int

    @property
    def n(self) -> int:
        """All pairs."""
        raise NotImplementedError

    @property
    def discordant(self) -> int:
        """Pairs whose label flipped, in either direction."""
        return self.loss + self.gain

    @property
    def difference(self) -> float:
        """(loss - gain)/n, positive when the candidate lost; NaN without pairs."""
        return (self.loss - self.gain) / self.n if self.n else math.nan

    def interval(self, level: float = 0.90, method: str = "tango") -> Interval:
        """Confidence interval of the difference.

        Args:
            level: Two-sided level; 0.90 belongs to a TOST at 0.05.
            method: One of `INTERVALS`.

        Returns:
            The interval, undefined (NaN) without pairs.
        """
        one_of("method", method, INTERVALS)
        if method in _FROM_DISCORDANTS:
            return _FROM_DISCORDANTS[method](self.loss, self.gain, self.n, level)
        return self._newcombe(level, 8 if method == "newcombe-8" else 10)

    def _newcombe(self, level: float, variant: int) -> Interval:
        raise ValueError("newcombe needs the concordant cells: use PairedTable with all four")

    def noninferiority(self, margin: float = 0.03, method: str = "exact") -> HypothesisResult:
        """Test of H0: the candidate lost `margin` or more; small p says it did not.

        Args:
            margin: In (0, 1).
            method: "exact" (unconditional), "tango" or "wald".

        Returns:
            The test; NaN without pairs, or for "wald" without variance.
        """
        return HypothesisResult(
            _p_value(self.loss, self.gain, self.n, margin, method), math.nan, method, "loss"
        )

    def tost(self, margin: float = 0.03, method: str = "exact") -> TostResult:
        """Two one-sided tests: equivalence within ±margin.

        Examples:
            >>> DiscordantPairs(0, 0, 100).tost(0.03).equivalent()
            True
            >>> DiscordantPairs(0, 0, 98).tost(0.03).equivalent()
            False
        """
        lost = _p_value(self.loss, self.gain, self.n, margin, method)
        gained = _p_value(self.gain, self.loss, self.n, margin, method)
        # max() would drop a NaN in second place; undefined must stay undefined
        worst = math.nan if math.isnan(lost) or math.isnan(gained) else max(lost, gained)
        return TostResult(worst, lost, gained, margin, method, self.difference)

    def mcnemar(self, method: str = "exact", alternative: str = "two-sided") -> HypothesisResult:
        """McNemar's test of no difference; see `mcnemar_test`."""
        return mcnemar_test(self.loss, self.gain, self.n, method=method, alternative=alternative)

    def odds_ratio(self, method: str = "haldane") -> Ratio:
        """Odds ratio from the discordant pairs, loss against gain; see `paired_odds_ratio`."""
        return paired_odds_ratio(self.loss, self.gain, method)


@dataclass(frozen=True, slots=True)
class DiscordantPairs(PairedCounts):
    """Paired counts without the split of the concordant pairs into good and bad.

    Attributes:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs.

    Examples:
        >>> DiscordantPairs(loss=2, gain=0, n=120).difference
        0.016666666666666666
    """

    loss: int
    gain: int
    n: int

    def __post_init__(self) -> None:
        for name, value in zip(
            ("loss", "gain", "n"), discordants(self.loss, self.gain, self.n), strict=True
        ):
            object.__setattr__(self, name, value)

    def swapped(self) -> DiscordantPairs:
        """The same pairs with the arms exchanged."""
        return DiscordantPairs(self.gain, self.loss, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTable(PairedCounts):
    """A 2×2 table of pairs.

    Attributes:
        both: Good in baseline and candidate.
        loss: Good in the baseline only.
        gain: Good in the candidate only.
        neither: Good in neither.

    Raises:
        ValueError: When a cell is not a count; the message names the field.

    Examples:
        >>> table = PairedTable(both=95, loss=2, gain=1, neither=2)
        >>> table.n, table.discordant, table.difference
        (100, 3, 0.01)
        >>> interval = table.interval(0.90)
        >>> round(interval.low, 4), round(interval.high, 4)
        (-0.026, 0.05)
    """

    both: int
    loss: int
    gain: int
    neither: int

    def __post_init__(self) -> None:
        for name in ("both", "loss", "gain", "neither"):
            object.__setattr__(self, name, count(name, getattr(self, name)))

    @property
    def n(self) -> int:
        """All pairs."""
        return self.both + self.loss + self.gain + self.neither

    @property
    def baseline_rate(self) -> float:
        """Share good in the baseline; NaN without pairs."""
        return (self.both + self.loss) / self.n if self.n else math.nan

    @property
    def candidate_rate(self) -> float:
        """Share good in the candidate; NaN without pairs."""
        return (self.both + self.gain) / self.n if self.n else math.nan

    def swapped(self) -> Self:
        """The same pairs with the arms exchanged."""
        return type(self)(both=self.both, loss=self.gain, gain=self.loss, neither=self.neither)

    def cohen_h(self) -> EffectSize:
        """Paired Cohen's h, positive when the candidate lost; see `paired_cohen_h`."""
        return paired_cohen_h(self.both, self.loss, self.gain, self.neither)

    def _newcombe(self, level: float, variant: int) -> Interval:
        return intervals.newcombe_interval(
            self.both, self.loss, self.gain, self.neither, level, variant
        )


@dataclass(frozen=True, slots=True)
class ExcessDivergence:
    """Divergence of the candidate beyond the baseline's own, on the same prompts.

    Attributes:
        pairs: loss = diverged against the candidate only, gain = against the repeat only.
    """

    pairs: DiscordantPairs

    @property
    def excess(self) -> float:
        """Excess divergence rate; NaN without prompts."""
        return self.pairs.difference

    def interval(self, level: float = 0.90) -> Interval:
        """Tango interval of the excess."""
        return self.pairs.interval(level)

    def test(self) -> HypothesisResult:
        """Exact McNemar test whether the candidate diverges more than the repeat."""
        return self.pairs.mcnemar(alternative="loss")


def excess_divergence(candidate: ArrayLike, repeat: ArrayLike) -> ExcessDivergence:
    """Compare divergence indicators of two arms against one baseline, prompt by prompt.

    Args:
        candidate: Whether the candidate diverged from the baseline, bool [N].
        repeat: Whether the baseline's repeat diverged, bool [N].

    Raises:
        ValueError: When the two differ in length.

    Examples:
        >>> excess_divergence([True, True, False, False], [True, False, False, False]).excess
        0.25
    """
    first = np.asarray(candidate, dtype=bool)
    second = np.asarray(repeat, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError("candidate and repeat must be one-dimensional and of one length")
    candidate_only, repeat_only = int((first & ~second).sum()), int((second & ~first).sum())
    return ExcessDivergence(DiscordantPairs(candidate_only, repeat_only, int(first.size)))


def _tango(loss: int, gain: int, n: int, level: float) -> Interval:
    low, high = score_interval(loss, gain, n, level=level)
    return Interval(float(low), float(high), level, "tango")


_FROM_DISCORDANTS: dict[str, Callable[[int, int, int, float], Interval]] = {
    "tango": _tango,
    "bonett_price": intervals.bonett_price_interval,
    "agresti_min": intervals.agresti_min_interval,
    "wald": intervals.wald_interval,
    "exact": exact_interval,
    "melded": intervals.melded_interval,
}


def _p_value(loss: int, gain: int, n: int, margin: float, method: str) -> float:
    one_of("method", method, TESTS)
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie strictly between 0 and 1, got {margin!r}")
    if n == 0:
        return math.nan
    if method == "exact":
        return exact_p_value(loss, gain, n, margin)
    if method == "tango":
        return float(score_p_value(loss, gain, n, margin))
    return intervals.wald_p_value(loss, gain, n, margin)
