"""The pairs of one task, added up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from draftproof.records import Label
from draftproof.screen.counts.units import NO_PAIR, UNREAD, Signs, one_a_unit, whole_clusters
from draftproof.stats import ByteEvidence, PairedTable, Stratum


@dataclass(slots=True)
class TaskTally:
    """One task's pairs, added up.

    A pair enters the test if both answers are scored, or if they are the same bytes: whatever
    scorer one takes, identical texts have identical labels, so such a pair is concordant even
    where no label can be read (`same_unread`). A pair that differs and lacks a label is `unread`
    and counts as missing.

    Attributes:
        place: Of its first prompt in the battery.
        prompts: Prompts, paired or not.
        missing: Prompts without a pair.
        pairs: Prompts that both arms answered.
        identical: Pairs of the same bytes.
        both: Pairs that are good in both arms; `loss`, `gain` and `neither` likewise.
        same_unread: Pairs without a label but with the same bytes.
        both_unread: Pairs with a text that the scorer could read in neither arm.
        baseline_scored: Pairs whose baseline answer is scored.
        baseline_good: Those of them that are good.
        in_clusters: Pairs that enter the test and belong to a cluster.
        label: A label of the baseline, which says what was scored and by whom.
        signs: Of every prompt; empty where no prompt belongs to a cluster or can be told from
            others, and the pairs are too many to keep.
    """

    place: int
    prompts: int = 0
    missing: int = 0
    pairs: int = 0
    identical: int = 0
    both: int = 0
    loss: int = 0
    gain: int = 0
    neither: int = 0
    same_unread: int = 0
    both_unread: int = 0
    baseline_scored: int = 0
    baseline_good: int = 0
    in_clusters: int = 0
    label: Label | None = None
    signs: list[Signs] = field(default_factory=list)

    @property
    def table(self) -> PairedTable:
        """Scored pairs by outcome."""
        return PairedTable(both=self.both, loss=self.loss, gain=self.gain, neither=self.neither)

    @property
    def n(self) -> int:
        """Pairs that enter the test."""
        return self.table.n + self.same_unread

    @property
    def unread(self) -> int:
        """Pairs without a label whose bytes differ."""
        return self.pairs - self.n

    @property
    def divergent(self) -> int:
        """Pairs whose bytes differ."""
        return self.pairs - self.identical

    @property
    def independent(self) -> int:
        """Prompts that are independent of each other: clusters, or all prompts without them."""
        return int(np.unique(self.units()[0]).size) if self.signs else self.prompts

    @property
    def shared(self) -> int:
        """Ids whose prompt another id has asked already."""
        return self.prompts - int(self.units()[0].size) if self.signs else 0

    def units(self) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        """Return the clusters' numbers and the signs of all distinct prompts, ``[units]`` each."""
        return one_a_unit(self.signs)

    def _effect(self) -> float:
        """Return Cohen's h, or its value without the losses where that is larger in size.

        Losses set off against gains would let one loss more end a difference.
        """
        table = self.table
        undone = PairedTable(both=table.both + table.loss, loss=0, gain=table.gain,
                             neither=table.neither)  # fmt: skip
        return max(table.cohen_h().h, undone.cohen_h().h, key=abs)

    def stratum(self, name: str, *, as_printed: bool = False) -> Stratum:
        """Return the counts that decide: equal prompts are one, clusters are worth their number.

        Args:
            name: Of the task.
            as_printed: Count every id as a pair of its own, as the published rule does.
        """
        loss, gain, n, torn, clusters = self.loss, self.gain, self.n, 0, None
        gone = self.missing + self.unread
        divergent, total = self.divergent, self.pairs
        if self.signs and (self.in_clusters or self.shared) and not as_printed:
            keys, signs = self.units()
            scored = (signs != NO_PAIR) & (signs != UNREAD)
            gone = int(np.sum(~scored))
            loss, gain, n, torn = whole_clusters(keys[scored], signs[scored])
            # variants of one behaviour that agree are one agreement
            divergent, total = min(divergent, n), n
            clusters = n
        return Stratum(
            name=name,
            loss=loss,
            gain=gain,
            n=n,
            missing=gone,
            torn=torn,
            clusters=clusters,
            cohen_h=self.table.cohen_h().h if as_printed else self._effect(),
            bytes=ByteEvidence(divergent=divergent, total=total),
        )
