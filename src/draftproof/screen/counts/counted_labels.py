"""Labels of answers in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from draftproof.records import Completion, Prompt
from draftproof.scoring import score
from draftproof.scoring.recorded import Labels, leave_unread, recorded_label
from draftproof.screen.counts.counted_arm import is_empty, spoken

if TYPE_CHECKING:
    import polars

SCORER = "refusal"
"""Scores answers that came without labels."""


def label_columns(
    rows: polars.DataFrame,
    good: frozenset[str] | None,
    unread: frozenset[str],
    *,
    everything: bool,
) -> list[polars.Series]:
    """Return whether each answer is good, null where that is not known, and which are unread.

    Args:
        rows: Pairs.
        good: Recorded labels that count as good; None scores the texts for refusal.
        unread: Labels that the user says stand for no reading.
        everything: Score identical answers as well.
    """
    import polars as pl  # noqa: PLC0415

    said = [spoken(end) for end in ("", "_2")]
    # an answer that says nothing because it is a tool call was not read wrongly
    failed = [(text != "") | is_empty(end) for text, end in zip(said, ("", "_2"), strict=True)]
    rows = rows.with_columns(
        **{f"spoken{end}": text for text, end in zip(said, ("", "_2"), strict=True)},
        **{f"failed{end}": one for one, end in zip(failed, ("", "_2"), strict=True)},
    )
    if good is not None:
        read = recorded_label(good, unread)
        columns = []
        for end in ("", "_2"):
            labels = rows[f"label{end}"]
            values = {v: _value(read, v) for v in labels.unique().drop_nulls()}
            told = labels.replace_strict(values, default=None, return_dtype=pl.Boolean)
            columns += [
                told.alias(f"good{end}"),
                (told.is_null() & rows[f"failed{end}"]).alias(f"unread{end}"),
            ]
        return columns
    needed = rows["paired"] if everything else rows["paired"] & ~rows["same"]
    first = _scored(rows["spoken"], rows["finish_reason"], needed, unread)
    other = _scored(rows["spoken_2"], rows["finish_reason_2"], needed & ~rows["same"], unread)
    second = pl.select(pl.when(rows["same"]).then(first).otherwise(other)).to_series()
    return [
        first.alias("good"),
        second.alias("good_2"),
        (first.is_null() & needed & rows["failed"]).alias("unread"),
        (second.is_null() & needed & rows["failed_2"]).alias("unread_2"),
    ]


def _value(read: Labels, label: str) -> bool | None:
    answer = Completion(arm="", id="", text="", label=label)
    found = read(Prompt(id="", task="", messages=()), answer)
    return None if found is None else found.good


def _scored(
    texts: polars.Series, finishes: polars.Series, needed: polars.Series, unread: frozenset[str]
) -> polars.Series:
    import polars as pl  # noqa: PLC0415

    prompt = Prompt(id="", task="", messages=(), scorer=SCORER, expect=SCORER)
    judge = leave_unread(score, unread)
    out: list[bool | None] = []
    for text, finish in zip(texts.filter(needed), finishes.filter(needed), strict=True):
        answer = Completion(arm="", id="", text=text, finish_reason=finish)
        label = judge(prompt, answer)
        out.append(None if label is None else label.good)
    unknown = pl.Series([None] * texts.len(), dtype=pl.Boolean)
    return unknown.scatter(needed.arg_true(), pl.Series(out, dtype=pl.Boolean))
