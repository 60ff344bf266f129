"""One arm's answers in columns, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from draftproof.records.figures import impossible_counters
from draftproof.screen.counts.arm_tally import ArmTally

if TYPE_CHECKING:
    import polars


def count_arm(joined: polars.DataFrame, end: str) -> ArmTally:
    """Add up one arm of a joined piece.

    Args:
        joined: As `recorded.pairs` joins two files.
        end: Of the names of the arm's columns.
    """
    import polars as pl  # noqa: PLC0415

    here = joined.filter(pl.col(f"text{end}").is_not_null())
    finish = here[f"finish_reason{end}"]
    return ArmTally(
        answers=here.height,
        errors=int((finish == "error").sum()),
        truncated=int((finish == "length").sum()),
        tokens=int(here[f"token_ids{end}"].list.len().sum() or 0),
        counted=here[f"drafted{end}"].count(),
        rounds=int(here[f"rounds{end}"].sum() or 0),
        drafted=int(here[f"drafted{end}"].sum() or 0),
        accepted=int(here[f"accepted{end}"].sum() or 0),
        empty=int(
            here.select((is_empty(end) & (pl.col(f"finish_reason{end}") != "error")).sum()).item()
        ),
        impossible=_impossible(here, end),
    )


def spoken(end: str) -> polars.Expr:
    """Return what `Completion.spoken` says of answers in columns."""
    import polars as pl  # noqa: PLC0415

    text, refusal = pl.col(f"text{end}"), pl.col(f"refusal{end}").fill_null("")
    both = pl.concat_str(text, refusal, separator="\n")
    return pl.when(refusal == "").then(text).when(text == "").then(refusal).otherwise(both)


def is_empty(end: str) -> polars.Expr:
    """Return which answers in columns hold nothing in any channel."""
    import polars as pl  # noqa: PLC0415

    others = [pl.col(f"{c}{end}") for c in ("reasoning", "tool_calls", "refusal")]
    return (pl.col(f"text{end}").str.strip_chars() == "") & pl.all_horizontal(
        (other.fill_null("") == "") for other in others
    )


def _impossible(here: polars.DataFrame, end: str) -> tuple[str, ...]:
    """Return the first counters that cannot be."""
    import polars as pl  # noqa: PLC0415

    rounds, drafted, accepted = (pl.col(f"{c}{end}") for c in ("rounds", "drafted", "accepted"))
    strange = here.filter(
        (accepted > drafted)
        | (pl.min_horizontal(rounds, drafted, accepted) < 0)
        | ((drafted > 0) & (rounds == 0))
    ).sort("id")
    for row in strange.head(1).iter_rows(named=True):
        figure = impossible_counters(*(row[f"{c}{end}"] for c in ("rounds", "drafted", "accepted")))
        return (f"answer {row['id']!r}: {figure}",)
    return ()
