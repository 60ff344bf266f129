"""Which channels two arms show, and in which they part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from draftproof.records import Channel, Pair

if TYPE_CHECKING:
    import polars

APART = {Channel.REASONING: "thinks", Channel.TOOL_CALLS: "calls tools"}
"""Channels that a stack may leave out of its text: what an arm does that has something there."""


@dataclass(slots=True)
class ChannelTally:
    """Channels of the pairs of two arms, added up; every count is of pairs.

    Attributes:
        shown: By channel, pairs in which the baseline's answer shows it, and the candidate's.
        compared: Pairs in which both do.
        used: Pairs in which either answer holds something there, or ended by it.
        parted: Pairs that differ, by the first channel in which they do.
    """

    shown: tuple[Counter[Channel], Counter[Channel]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    compared: Counter[Channel] = field(default_factory=Counter)
    used: Counter[Channel] = field(default_factory=Counter)
    parted: Counter[Channel] = field(default_factory=Counter)

    def __add__(self, other: ChannelTally) -> ChannelTally:
        before, after = (one + two for one, two in zip(self.shown, other.shown, strict=True))
        return ChannelTally(
            (before, after),
            self.compared + other.compared,
            self.used + other.used,
            self.parted + other.parted,
        )


def tally_channels(pairs: Iterable[Pair]) -> ChannelTally:
    """Count the channels of pairs that are held in memory."""
    tally = ChannelTally()
    for pair in pairs:
        answers = (pair.baseline, pair.candidate)
        for shown, answer in zip(tally.shown, answers, strict=True):
            shown.update(answer.visible_channels)
        tally.compared.update(pair.compared_channels)
        tally.used.update(
            c for c in APART if any(a.in_channel(c) or a.finish_reason == c.value for a in answers)
        )
        tally.parted.update(pair.different_channels[:1])
    return tally


def shown(channel: Channel, end: str) -> polars.Expr:
    """Return whether the answers in columns show a channel, as `visible_channels` says."""
    import polars as pl  # noqa: PLC0415 - slow to import

    column = pl.col(f"{_COLUMNS.get(channel, channel.value)}{end}")
    told = column.is_not_null()
    if channel is Channel.FINISH_REASON:
        told &= ~column.is_in(["unknown", "error"])
    return told.fill_null(value=False)


def differs(channel: Channel) -> polars.Expr:
    """Return whether both answers in columns show a channel and hold other things there."""
    import polars as pl  # noqa: PLC0415

    name = _COLUMNS.get(channel, channel.value)
    same = (pl.col(name) == pl.col(f"{name}_2")).fill_null(value=False)
    return shown(channel, "") & shown(channel, "_2") & ~same


def count_channels(paired: polars.DataFrame) -> ChannelTally:
    """Count the channels of pairs in columns."""
    import polars as pl  # noqa: PLC0415

    ends = ("", "_2")
    columns: dict[str, polars.Expr] = {}
    before = pl.lit(value=False)
    for c in Channel:
        seen = [shown(c, end) for end in ends]
        columns |= {f"shown{end} {c}": s for end, s in zip(ends, seen, strict=True)}
        columns[f"compared {c}"] = seen[0] & seen[1]
        columns[f"parted {c}"] = differs(c) & ~before
        before = before | differs(c)
    for c in APART:
        held = [
            (pl.col(f"{c.value}{end}") != "").fill_null(value=False)
            | (pl.col(f"finish_reason{end}") == c.value)
            for end in ends
        ]
        columns[f"used {c}"] = reduce(lambda one, other: one | other, held)
    sums = paired.select(**{name: flag.sum() for name, flag in columns.items()}).row(0, named=True)
    return ChannelTally(
        (_counter(sums, "shown"), _counter(sums, "shown_2")),
        *(_counter(sums, what) for what in ("compared", "used", "parted")),
    )


_COLUMNS: Mapping[Channel, str] = {Channel.TOKENS: "token_ids"}


def _counter(sums: Mapping[str, int | None], what: str) -> Counter[Channel]:
    named = {c: sums.get(f"{what} {c}") or 0 for c in Channel}
    return Counter({c: count for c, count in named.items() if count})
