"""The answers that failed: what their stack said, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from draftproof.records import Completion, ErrorCount
from draftproof.stacks.base import fault_kind

_MOST = 3


def frequent_errors(answers: Iterable[Completion]) -> tuple[ErrorCount, ...]:
    """Return the three most frequent errors among an arm's answers, in the stack's own words.

    Errors that differ in numbers and ids alone are one; the first stands for them.
    """
    words: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for completion in answers:
        if completion.finish_reason == "error":
            text = completion.error or "no error message"
            counts[fault_kind(text)] += 1
            words.setdefault(fault_kind(text), text)
    return tuple(ErrorCount(text=words[kind], count=n) for kind, n in counts.most_common(_MOST))


def failure_sentences(answers: Mapping[str, Mapping[str, Completion]]) -> list[str]:
    """Return a sentence an arm some of whose answers failed."""
    sentences = []
    for arm, by_id in answers.items():
        failed = sum(1 for c in by_id.values() if c.finish_reason == "error")
        if failed:
            errors = "; ".join(f"{e.count} × {e.text}" for e in frequent_errors(by_id.values()))
            sentences.append(
                f"{failed} of {len(by_id)} answers of {arm!r} failed: {errors}. "
                "--retry-errors asks them again"
            )
    return sentences
