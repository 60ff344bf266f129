"""What is known of a comparison beyond its counts, in words."""

from __future__ import annotations

from draftproof.records import Channel, Comparison, Counts, Verdict, channel_words
from draftproof.report import wording
from draftproof.report.wording import ABSENT

PROMISE_MEANING = {
    "L0": "changes answers",
    "L1": "equal in distribution",
    "L2": "equal up to rounding",
    "L3": "equal bit for bit",
}


def level(comparison: Comparison) -> str:
    """Return the level that a run supports, in a few words."""
    promise = comparison.promise
    if promise is None or promise.shown is None:
        return ABSENT
    return f"{promise.shown} {PROMISE_MEANING.get(promise.shown, '')}".rstrip()


def channels(comparison: Comparison) -> str:
    """Say which channels were compared, and why the others were not; empty where nobody knows."""
    if not comparison.compared and not comparison.not_compared:
        return ""
    text = f"compared: {channel_words(comparison.compared)}"
    return "; ".join(filter(None, (text, not_compared(comparison))))


def not_compared(comparison: Comparison) -> str:
    """Say which channels were not compared, and why; empty where none is missing."""
    missing: dict[str, list[Channel]] = {}
    for channel in comparison.not_compared:
        missing.setdefault(comparison.channel_notes.get(channel.value, ""), []).append(channel)
    parts = [f"{channel_words(those)} ({why})" for why, those in missing.items()]
    return f"not compared: {'; '.join(parts)}" if parts else ""


def parted(counts: Counts) -> str:
    """Say in how many pairs each channel is the first to differ.

    >>> parted(Counts(n=20, identical=8, divergences={}, flips={}, missing=0, unscored=0,
    ...               channels={"text": 9, "tool_calls": 3}))
    '12 differ: 9 text, 3 tool calls'
    """
    if not counts.channels:
        return ""
    parts = [f"{n:,} {Channel(name).words}" for name, n in counts.channels.items()]
    return f"{counts.n - counts.identical:,} differ: {', '.join(parts)}"


def parts_by_profile(comparison: Comparison) -> bool:
    """Whether the profiles do not all say the same."""
    return len({ruling.state for ruling in comparison.profiles}) > 1


def findings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what is known of a comparison beyond its counts: a heading and a sentence each."""
    lines = [
        ("known fault", comparison.known_cause and _cause_line(comparison)),
        ("faults not tried", ", ".join(comparison.untried)),
        ("channels", "; ".join(filter(None, (channels(comparison), parted(comparison.counts))))),
        ("noise floor", comparison.floor and comparison.floor.text),
        ("rounding", comparison.stack_noise and comparison.stack_noise.text),
        ("level", comparison.promise and comparison.promise.text),
        ("sensitivity", comparison.sensitivity and comparison.sensitivity.text),
        ("distribution", comparison.distribution and comparison.distribution.text),
        ("stopping", comparison.stopping and comparison.stopping.text),
    ]
    return [(heading, text) for heading, text in lines if text]


def rounding(verdict: Verdict) -> list[Comparison]:
    """Return the comparisons of which the rounding of the stack was measured."""
    return [c for c in wording.comparisons(verdict) if c.stack_noise and c.stack_noise.arm]


def without_rounding(verdict: Verdict) -> str:
    """Return why no rounding was measured."""
    texts = [c.stack_noise.text for c in wording.comparisons(verdict) if c.stack_noise]
    return texts[0] if texts else "No model scored the answers."


def _cause_line(comparison: Comparison) -> str:
    cause = comparison.known_cause
    assert cause is not None
    return (
        f"{cause.name}: {cause.text} (explains {cause.explained} of {cause.of} divergences, "
        f"confidence {cause.confidence})"
    )
