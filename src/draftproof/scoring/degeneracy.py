"""Answers that broke down: empty, cut off, or stuck in a loop.

Counted on every arm beside the labels: a loop or a cut answer may still read as a refusal, and a
difference of their rates between arms is a finding of its own.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

from draftproof.records import Completion

_LONG = 200
"""Characters from which repetition can be told from brevity."""
_COMPRESSED = 0.15
"""Prose compresses to 0.35 to 0.6 of its bytes, lists to 0.25, loops below 0.1."""
_TAIL_PERIODS = 4


def degeneracy(completion: Completion) -> str | None:
    """Return ``error``, ``empty``, ``repetition``, ``truncated`` or None, the worst that holds.

    >>> degeneracy(Completion(arm="a", id="1", text="and so on " * 60))
    'repetition'
    """
    if completion.finish_reason == "error":
        return "error"
    if completion.is_empty:
        return "empty"
    if any(repeats(part.strip()) for part in (completion.reasoning or "", completion.spoken)):
        return "repetition"
    return "truncated" if completion.finish_reason == "length" else None


def repeats(text: str) -> bool:
    """Return whether `text` is a loop, as a whole or at its end."""
    if len(text) < _LONG:
        return False
    data = text.encode("utf-8", "surrogatepass")
    if len(zlib.compress(data, 6)) < _COMPRESSED * len(data):
        return True
    return _loops(text[-_LONG:])


def _loops(end: str) -> bool:
    """Return whether `end` repeats with one period, at least four times: a loop that began late.

    With such a period all but the longest period's worth of `end` occurs again one period on, so
    only where it does need the rest be compared.
    """
    longest = len(end) // _TAIL_PERIODS
    most = end[:-longest]
    period = end.find(most, 1)
    while period >= 0:
        if end[period:] == end[:-period]:
            return True
        period = end.find(most, period + 1)
    return False


def degenerate_counts(completions: Iterable[Completion]) -> dict[str, int]:
    """Return how many answers of an arm broke down, by kind, and how many there are."""
    counts = Counter(degeneracy(c) or "sound" for c in completions)
    kinds = ("sound", "error", "empty", "repetition", "truncated")
    return {kind: counts[kind] for kind in kinds} | {"answers": counts.total()}
