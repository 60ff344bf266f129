"""Which divergences the page shows, in which order, and how many it leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from draftproof.records import Cause, Channel, Comparison, Divergence, Role
from draftproof.report import wording
from draftproof.report.diff import Side, answer_diff

_MOST = 20
"""Divergences shown of one cause in one comparison."""
_FLIP_ORDER = {"loss": 0, "gain": 1, None: 2}
_DECIDING = frozenset({Cause.LEAK, Cause.FAULT, Cause.TEMPLATE})


@dataclass(frozen=True)
class ListedDivergence:
    """One divergence with its two answers compared."""

    divergence: Divergence

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Both answers, word by word."""
        return answer_diff(self.divergence.baseline_text, self.divergence.candidate_text)

    @cached_property
    def beside(self) -> tuple[tuple[Channel, Side, Side], ...]:
        """What the answers hold beside their texts, channel by channel, word by word."""
        before, after = self.divergence.baseline_channels, self.divergence.candidate_channels
        return tuple(
            (channel, *answer_diff(before.get(channel.value, ""), after.get(channel.value, "")))
            for channel in Channel
            if channel.value in before or channel.value in after
        )

    @property
    def provenance(self) -> str | None:
        """Where the token under suspicion came from, in words."""
        origin = self.divergence.provenance
        return wording.PROVENANCE.get(origin, origin) if origin else None

    @property
    def over_bound(self) -> bool:
        """Whether the target's preference is beyond what rounding explains."""
        margin, bound = self.divergence.margin, self.divergence.noise_bound
        return margin is not None and bound is not None and margin > bound


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """The divergences of one cause in one comparison."""

    cause: Cause
    total: int
    entries: tuple[ListedDivergence, ...]
    open: bool
    """Whether the page starts with the group unfolded."""

    @property
    def hidden(self) -> int:
        """How many are counted and not shown."""
        return self.total - len(self.entries)


def groups(comparison: Comparison) -> list[CauseGroup]:
    """Group a comparison's divergences by cause, worst first, flips first within a cause."""
    cause_groups: list[CauseGroup] = []
    for cause in wording.CAUSE_ORDER:
        listed = [entry for entry in comparison.divergences if entry.cause is cause]
        total = max(comparison.counts.divergences.get(cause.value, 0), len(listed))
        if not total:
            continue
        listed.sort(key=lambda entry: (_FLIP_ORDER.get(entry.flip, 2), entry.task, entry.id))
        unfolded = comparison.role is Role.CANDIDATE and cause in _DECIDING
        shown = tuple(ListedDivergence(divergence) for divergence in listed[:_MOST])
        cause_groups.append(CauseGroup(cause, total, shown, unfolded))
    return cause_groups
