"""Counting a piece of two files of answers.

What holds for identical pairs of one task is counted in columns. A pair becomes a `Pair` only
where it is explained, so that a file may hold more pairs than the memory does.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from draftproof.records import Cause, Channel, Completion, Pair, Prompt, ToolCall
from draftproof.scoring import score
from draftproof.scoring.recorded import leave_unread, recorded_label
from draftproof.screen.counts.channel_tally import count_channels, differs
from draftproof.screen.counts.counted_arm import count_arm
from draftproof.screen.counts.counted_labels import SCORER, label_columns
from draftproof.screen.counts.units import NO_PAIR, UNREAD, Signs
from draftproof.screen.forensics import explain
from draftproof.screen.pairing import Pairing
from draftproof.screen.tally import Tally, TaskTally

if TYPE_CHECKING:
    import polars

_FIRST = 2**62
_OPTIONAL = (Channel.REASONING, Channel.REFUSAL, Channel.TOOL_CALLS)
SAMPLED = 2_000
"""Pairs whose texts are checked where not all are held."""
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counting:
    """How pairs are counted.

    Attributes:
        names: The arms.
        good: Labels that count as good; None scores the texts for refusal.
        everything: Score identical answers as well; else their label is left unread, which
            changes no decision.
        clustered: Whether any prompt belongs to a cluster.
        listed: Divergences that a piece lists.
        unread: Labels that the user says stand for no reading.
    """

    names: tuple[str, str]
    good: frozenset[str] | None
    everything: bool
    clustered: bool
    listed: int
    unread: frozenset[str] = frozenset()


@dataclass(slots=True)
class CountedPiece:
    """A piece of two files, counted; two pieces add up to one.

    Attributes:
        tally: Its pairs.
        met: Prompts that are in both files.
        causes: Divergences by cause.
        listed: Places and rows of the first divergences.
        sampled: Digests and rows of a random sample of the pairs, the smallest digests of ids.
        ids: Digests of the ids, per file.
    """

    tally: Tally = field(default_factory=Tally)
    met: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    listed: list[tuple[int, _Row]] = field(default_factory=list)
    sampled: list[tuple[int, _Row]] = field(default_factory=list)
    ids: tuple[list[NDArray[np.uint64]], list[NDArray[np.uint64]]] = field(
        default_factory=lambda: ([], [])
    )

    def add(self, other: CountedPiece, listed: int) -> None:
        """Add another piece, keeping the first `listed` divergences."""
        self.tally.add(other.tally)
        self.met += other.met
        self.causes += other.causes
        self.listed = sorted((*self.listed, *other.listed), key=lambda item: item[0])[:listed]
        self.sampled = sorted((*self.sampled, *other.sampled), key=lambda item: item[0])[:SAMPLED]
        for mine, theirs in zip(self.ids, other.ids, strict=True):
            mine.extend(theirs)

    def sample(self, counting: Counting) -> tuple[Pair, ...]:
        """Return the sampled pairs, labelled as the tally counts them."""
        return tuple(_pair(row, counting) for _, row in self.sampled)

    def listed_pairs(self, counting: Counting) -> Pairing:
        """Return the listed divergences, those of prompts in different form apart."""
        pairs = [(_pair(row, counting), row["paired"]) for _, row in self.listed]
        alike, unlike = (tuple(p for p, q in pairs if q == is_) for is_ in (True, False))
        return Pairing(pairs=alike, missing=(), mismatched=unlike)


def count(joined: polars.DataFrame, counting: Counting) -> CountedPiece:
    """Count a piece of two files, joined as `recorded.pairs` joins them.

    Raises:
        DraftproofError: An answer carries no label where all should.
    """
    import polars as pl  # noqa: PLC0415 - slow to import

    tally = Tally(arms=(count_arm(joined, ""), count_arm(joined, "_2")))
    both = joined["text"].is_not_null() & joined["text_2"].is_not_null()
    counted = CountedPiece(tally, met=int(both.sum()))
    for digests, end in zip(counted.ids, ("", "_2"), strict=True):
        here = joined["id"].filter(joined[f"text{end}"].is_not_null())
        digests.append(here.hash(seed=1).to_numpy())
    answered = (
        pl.col("text").is_not_null()
        & pl.col("text_2").is_not_null()
        & (pl.col("finish_reason") != "error")
        & (pl.col("finish_reason_2") != "error")
    ).fill_null(value=False)
    unlike = (pl.col("asked") != pl.col("asked_2")).fill_null(value=False)
    rows = joined.with_columns(
        task=pl.when(pl.col("text").is_not_null())
        .then(pl.col("task"))
        .otherwise(pl.col("task_2"))
        .fill_null("all"),
        cluster=pl.coalesce("cluster", "cluster_2"),
        paired=answered & ~unlike,
        unlike=answered & unlike,
        same=_same(),
    )
    rows = rows.with_columns(
        label_columns(rows, counting.good, counting.unread, everything=counting.everything)
    )
    rows = rows.with_columns(
        flip=pl.when(pl.col("paired"))
        .then(pl.col("good").cast(pl.Int8) - pl.col("good_2").cast(pl.Int8))
        .otherwise(None)
    )
    strange = rows.filter(pl.col("unlike"))
    tally.mismatched = strange.height
    if strange.height:
        tally.first_mismatched = min(strange.select("place", "id").iter_rows())
    tally.missing = rows.height - strange.height - int(rows["paired"].sum())
    differing = rows.filter((pl.col("paired") | pl.col("unlike")) & ~pl.col("same"))
    counted.causes = _causes(differing, counting)
    shared = rows.filter("paired")["token_ids_2"].list.len().sum()
    tally.tokens = int(shared or 0)
    said = joined.filter(pl.col("text").is_not_null() & (pl.col("finish_reason") != "error"))
    whole = pl.struct("text", *(c.value for c in _OPTIONAL))
    digests_of = said.select(pl.coalesce("asked", "id").hash(seed=3), said=whole.hash(seed=3))
    tally.texts = [digests_of.to_numpy().view(np.int64)]
    tally.channels = count_channels(rows.filter("paired"))
    _tasks(rows, counting, tally)
    # a prompt that reached the arms in different form is listed before all others
    head = differing.sort(~pl.col("unlike"), "place").head(counting.listed)
    counted.listed = [
        (row["place"] - _FIRST if row["unlike"] else row["place"], row)
        for row in head.iter_rows(named=True)
    ]
    drawn = rows.filter("paired").with_columns(drawn=pl.col("id").hash(seed=4))
    counted.sampled = [
        (row.pop("drawn"), row) for row in drawn.bottom_k(SAMPLED, by="drawn").iter_rows(named=True)
    ]
    counted.sampled.sort(key=lambda item: item[0])
    return counted


def _same() -> polars.Expr:
    """Return what `Pair.identical` says; a null is a channel that the file does not show."""
    import polars as pl  # noqa: PLC0415

    both = pl.col("text").is_not_null() & pl.col("text_2").is_not_null()
    return both & ~pl.any_horizontal(differs(channel) for channel in Channel)


def _causes(differing: polars.DataFrame, counting: Counting) -> Counter[Cause]:
    """Return why pairs differ, as `explain` says without a model; texts alone in columns."""
    import polars as pl  # noqa: PLC0415

    text, text_2 = pl.col("text"), pl.col("text_2")
    spelled = pl.col("token_ids").is_not_null() & pl.col("token_ids_2").is_not_null()
    by_pair = differing.filter(spelled | pl.col("unlike") | ~_text_first())
    pairs = [_pair(row, counting) for row in by_pair.iter_rows(named=True)]
    causes = Counter(e.divergence.cause for e in explain(pairs, None))
    by_text = differing.filter(~spelled & ~pl.col("unlike") & _text_first())
    cut = by_text.select(text.str.starts_with(text_2) | text_2.str.starts_with(text)).to_series()
    causes[Cause.TRUNCATION] += int(cut.sum())
    causes[Cause.UNEXPLAINED] += int((~cut).sum())
    return +causes


def _text_first() -> polars.Expr:
    """Return whether a pair parts in its texts and goes on with nothing else."""
    import polars as pl  # noqa: PLC0415

    later = [f"{c.value}{end}" for c in (Channel.REFUSAL, Channel.TOOL_CALLS) for end in ("", "_2")]
    goes_on = pl.any_horizontal((pl.col(c) != "").fill_null(value=False) for c in later)
    return differs(Channel.TEXT) & ~differs(Channel.REASONING) & ~goes_on


def _tasks(rows: polars.DataFrame, counting: Counting, tally: Tally) -> None:
    import polars as pl  # noqa: PLC0415

    paired, same, good, flip = (pl.col(c) for c in ("paired", "same", "good", "flip"))
    read = paired & flip.is_not_null()
    grouped = rows.group_by("task").agg(
        place=pl.col("place").min(),
        prompts=pl.len(),
        missing=(~paired).sum(),
        pairs=paired.sum(),
        identical=(paired & same).sum(),
        both=(read & (flip == 0) & good).sum(),
        loss=(read & (flip == 1)).sum(),
        gain=(read & (flip == -1)).sum(),
        neither=(read & (flip == 0) & ~good).sum(),
        same_unread=(paired & same & flip.is_null()).sum(),
        both_unread=(paired & pl.col("unread") & pl.col("unread_2")).sum(),
        baseline_scored=(paired & good.is_not_null()).sum(),
        baseline_good=(paired & good).sum(),
        in_clusters=(paired & (same | flip.is_not_null()) & pl.col("cluster").is_not_null()).sum(),
        first=pl.col("place").filter(paired).min(),
    )
    for row in grouped.iter_rows(named=True):
        task, first = row.pop("task"), row.pop("first")
        tally.tasks[task] = one = TaskTally(**row)
        if first is not None:
            (at,) = rows.filter(pl.col("place") == first).iter_rows(named=True)
            one.label = _pair(at, counting).baseline_label
    if counting.clustered:
        asked = pl.coalesce("asked", "asked_2", "id")
        named = rows.select(
            "task",
            asked=asked.hash(seed=5),
            key=pl.coalesce(pl.concat_str(pl.lit("cluster "), "cluster"), asked).hash(seed=2),
            sign=pl.when(~paired)
            .then(NO_PAIR)
            .when(same | flip.is_not_null())
            .then(flip.fill_null(0))
            .otherwise(UNREAD)
            .cast(pl.Int8),
        )
        for (task,), part in named.partition_by("task", as_dict=True).items():
            arrays = (part[c].to_numpy() for c in ("asked", "key", "sign"))
            tally.tasks[str(task)].signs.append(Signs(*arrays))


def _pair(row: _Row, counting: Counting) -> Pair:
    """Return one row as a pair, labelled as the tally counts it."""
    scored = None if counting.good is not None else SCORER
    prompt = Prompt(
        id=row["id"], task=row["task"], messages=(), scorer=scored, expect=scored,
        cluster=row["cluster"],
    )  # fmt: skip
    before, after = (
        _completion(row, name, end) for name, end in zip(counting.names, ("", "_2"), strict=True)
    )
    label = (
        leave_unread(score, counting.unread)
        if counting.good is None
        else recorded_label(counting.good, counting.unread)
    )
    if row["unlike"]:
        return Pair(prompt=prompt, baseline=before, candidate=after)
    return Pair(
        prompt=prompt,
        baseline=before,
        candidate=after,
        baseline_label=label(prompt, before),
        candidate_label=label(prompt, after),
    )


def _completion(row: _Row, arm: str, end: str) -> Completion:
    ids = row[f"token_ids{end}"]
    calls = row[f"tool_calls{end}"]
    channels = [Channel.TEXT, Channel.FINISH_REASON]
    channels += [c for c in _OPTIONAL if row[f"{c.value}{end}"] is not None]
    return Completion(
        arm=arm,
        id=row["id"],
        text=row[f"text{end}"],
        finish_reason=row[f"finish_reason{end}"],
        token_ids=None if ids is None else tuple(ids),
        reasoning=row[f"reasoning{end}"] or None,
        refusal=row[f"refusal{end}"] or None,
        tool_calls=tuple(ToolCall(name=n, arguments=a) for n, a in json.loads(calls))
        if calls
        else None,
        channels=tuple(channels),
        prompt_hash=row[f"asked{end}"],
        label=row[f"label{end}"],
    )
