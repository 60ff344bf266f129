"""Figures of a speculative loop that cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence


def impossible_counters(
    rounds: float | None, drafted: float, accepted: float, histogram: Sequence[float] = ()
) -> str | None:
    """Return which figure of a speculative loop cannot be, in words; None where all can.

    Args:
        rounds: Forward passes that verified a proposal; None where they are not counted.
        drafted: Tokens that were drafted.
        accepted: Those that were accepted.
        histogram: Entry k counts the rounds that accepted exactly k tokens; empty if unknown.
    """
    named = {"drafted tokens": drafted, "accepted tokens": accepted}
    if rounds is not None:
        named["rounds"] = rounds
    named |= {f"rounds that accepted {k}": count for k, count in enumerate(histogram)}
    for name, value in named.items():
        if not math.isfinite(value):
            return f"the number of {name} is {value}"
        if value < 0:
            return f"{value:,} {name}"
    accepted_in_rounds = sum(k * count for k, count in enumerate(histogram))
    wrong = {
        f"{accepted:,} tokens accepted of {drafted:,} drafted": accepted > drafted,
        f"{drafted:,} tokens drafted in no round": drafted and rounds == 0,
        f"the histogram counts {sum(histogram):,} rounds, the counter {rounds or 0:,}": (
            histogram and rounds is not None and sum(histogram) != rounds
        ),
        f"the histogram counts {accepted_in_rounds:,} accepted tokens, the counter {accepted:,}": (
            histogram and accepted_in_rounds != accepted
        ),
    }
    return next((figure for figure, holds in wrong.items() if holds), None)
