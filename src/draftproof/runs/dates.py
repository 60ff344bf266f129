"""When answers were given: a verdict over earlier answers says so, and nothing dates them anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from draftproof.records import Completion

Span = tuple[str, str]
"""UTC times of the first and the last answer."""


def span(times: Iterable[str | None]) -> Span | None:
    """Return the first and last of some times; None where there are none, or one is not known."""
    known = list(times)
    if not known or None in known:
        return None
    found = sorted(t for t in known if t is not None)
    return found[0], found[-1]


def answered(answers: Mapping[str, Completion]) -> Span | None:
    """Return when an arm's answers were given; see `span`."""
    return span(c.answered_at for c in answers.values())


def when(between: Span | None) -> str:
    """Return a span in words.

    >>> when(("2026-11-28T21:04:10+00:00", "2026-11-28T21:09:00+00:00"))
    'on 2026-11-28 21:04 to 2026-11-28 21:09 UTC'
    >>> when(("2026-11-28T21:04:10+00:00", "2026-11-28T21:04:59+00:00"))
    'on 2026-11-28 21:04 UTC'
    >>> when(None)
    'at a time that was not recorded for all'
    """
    if between is None:
        return "at a time that was not recorded for all"
    first, last = (time[:16].replace("T", " ") for time in between)
    return f"on {first} UTC" if first == last else f"on {first} to {last} UTC"


def given_earlier(answers: Mapping[str, Mapping[str, Completion]], begun: str | None) -> list[str]:
    """Return a sentence an arm of whose answers some were given before this command began.

    Args:
        answers: Of every arm, by prompt id; those of version 0.1.0 have no time.
        begun: UTC time of the beginning; None where nothing was asked.
    """
    said = []
    for arm, given in answers.items():
        times = [c.answered_at for c in given.values()]
        before = [t for t in times if begun is None or t is None or t < begun]
        if len(before) == len(times) > 0:
            said.append(
                f"answers of {arm!r} were given {when(span(times))}; this command asked it nothing"
            )
        elif before:
            said.append(
                f"{len(before)} of {len(times)} answers of {arm!r} were given "
                f"{when(span(before))}; this command asked for the others"
            )
    return said


def recorded_dates(arms: Sequence[str], spans: Sequence[Span | None]) -> list[str]:
    """Return a sentence a file of answers that says when they were given."""
    return [
        f"answers of {arm!r} were given {when(between)}, as their file says"
        for arm, between in zip(arms, spans, strict=True)
        if between is not None
    ]
