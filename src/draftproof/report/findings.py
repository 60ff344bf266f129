"""What is known of a comparison beyond its counts, in words."""

from __future__ import annotations

from draftproof.records import Comparison
from draftproof.report.wording import ABSENT

PROMISE_MEANING = {
    "L0": "changes answers",
    "L1": "equal in distribution",
    "L2": "equal up to rounding",
    "L3": "equal bit for bit",
}


def level(comparison: Comparison) -> str:
    """Return the level that a run supports, in a few words."""
    found = comparison.promise
    if found is None or found.shown is None:
        return ABSENT
    return f"{found.shown} {PROMISE_MEANING.get(found.shown, '')}".rstrip()


def findings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what is known of a comparison beyond its counts: a heading and a sentence each."""
    found = [
        ("known fault", comparison.known_cause and _cause_line(comparison)),
        ("noise floor", comparison.floor and comparison.floor.text),
        ("level", comparison.promise and comparison.promise.text),
        ("sensitivity", comparison.sensitivity and comparison.sensitivity.text),
        ("distribution", comparison.distribution and comparison.distribution.text),
        ("stopping", comparison.stopping and comparison.stopping.text),
    ]
    return [(heading, text) for heading, text in found if text]


def _cause_line(comparison: Comparison) -> str:
    cause = comparison.known_cause
    assert cause is not None
    return (
        f"{cause.name}: {cause.text} (explains {cause.explained} of {cause.of} divergences, "
        f"confidence {cause.confidence})"
    )
