"""Whether the candidate's texts are as sound as the baseline's, without any reference.

Labels read little of an answer: garbage, loops and swapped answers can leave them all equal. The
checks count such defects in both arms. A defect that no answer may have (`HARD`) is bounded: its
excess over the baseline must be 3 points at most with 95 % confidence. What answers may differ in
(`PAIRED`: length, finish reasons, fit to the prompt) is held against an exact paired test, with
Holm's correction over these checks.

Pairs count as independent, so the caller passes one pair for prompts that render alike. Arms are
compared on what they recorded; nothing is assumed where a channel is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from draftproof.screen.texts.defects import (
    HARD,
    JSON,
    Counter,
    TextPair,
    another_prompt,
    ended_by,
    longer,
    shorter,
)
from draftproof.screen.texts.features import is_json
from draftproof.stats import DiscordantPairs, holm, mcnemar_test

EXCESS_LIMIT = 0.03
"""Largest upper bound of the excess share of a hard defect."""
LEVEL = 0.05
FEWEST_PAIRS = 99
"""Without any defect the bound is 3 points from here on: 1 - 0.05^(1/99) = 0.0298."""
EXAMPLES = 5
SWAPPED = "fits another prompt"
LENGTH = "length"
FINISH = "finish reasons"
PAIRED = (SWAPPED, LENGTH, FINISH)
"""What answers may differ in by chance."""
_SIDES = 0.90
"""Level of the two-sided interval whose upper limit is the one-sided 95 % bound."""


class CheckState(StrEnum):
    """What a text check found."""

    OK = "ok"
    FAILED = "failed"
    TOO_FEW = "too-few"
    """Neither soundness nor a defect is shown: more pairs would settle it."""
    ABSENT = "absent"
    """Nothing to check: no finish reason was recorded, or no answer is JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCheck:
    """One check.

    Attributes:
        name: One of `HARD` or `PAIRED`.
        state: What it found.
        counted: What was counted in answers, as it is said in a sentence.
        n: Pairs that could be checked.
        baseline: Baseline answers in which it was found.
        candidate: Candidate answers in which it was found.
        excess: (candidate - baseline) / n; None without pairs.
        upper: One-sided 95 % upper bound of the excess; None where the test is two-sided.
        p_value: Exact McNemar or sign test, adjusted by Holm; one-sided where only an excess in
            the candidate is a defect.
        examples: Ids of up to five pairs where the candidate alone has the defect.
    """

    name: str
    state: CheckState
    counted: str = ""
    n: int = 0
    baseline: int = 0
    candidate: int = 0
    excess: float | None = None
    upper: float | None = None
    p_value: float | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChecks:
    """All checks of two arms."""

    checks: tuple[TextCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every check is ok or had nothing to check."""
        return all(c.state in {CheckState.OK, CheckState.ABSENT} for c in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that found a defect."""
        return tuple(c.name for c in self.checks if c.state is CheckState.FAILED)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Names of the checks for which the pairs are too few."""
        return tuple(c.name for c in self.checks if c.state is CheckState.TOO_FEW)

    @property
    def sentence(self) -> str:
        """What was found, in one or two sentences."""
        parts = [_sentence(c) for c in self.checks if c.state is CheckState.FAILED]
        if parts:
            defects = "; ".join(parts)
            return f"The candidate's texts have more defects than the baseline's: {defects}."
        if self.undecided:
            return (
                "The pairs are too few to show that the candidate's texts have no more defects "
                f"than the baseline's: {', '.join(self.undecided)}."
            )
        return "No text check found a difference between the arms."


def _sentence(check: TextCheck) -> str:
    shares = f"{check.counted}: {check.candidate} of {check.n} answers, baseline {check.baseline}"
    return f"{shares} (for example {', '.join(check.examples)})" if check.examples else shares


def text_checks(pairs: Iterable[TextPair]) -> TextChecks:
    """Run every check over the pairs.

    Args:
        pairs: One a prompt; 99 at least for any check to be ok.

    Returns:
        The checks, in the order of `HARD` and `PAIRED`.

    Raises:
        ValueError: There are no pairs.
    """
    rows = tuple(pairs)
    if not rows:
        raise ValueError("text checks need at least one pair")
    hard = [
        _counted(name, _json_rows(rows) if name == JSON else rows, find, "loss")
        for name, find in HARD.items()
    ]
    sizes = {"longer than the other arm's": longer, "shorter than the other arm's": shorter}
    paired = [
        _counted(SWAPPED, rows, another_prompt, "loss"),
        _most_changed(LENGTH, rows, sizes, tests=1),
        _finish_reasons(rows),
    ]
    return TextChecks(
        checks=(
            *(replace(c, state=_bound_state(c)) for c in _adjusted(hard)),
            *(replace(c, state=_test_state(c)) for c in _adjusted(paired)),
        )
    )


def _json_rows(rows: tuple[TextPair, ...]) -> tuple[TextPair, ...]:
    """Return the pairs where an answer is JSON, or all where those are too few for a bound."""
    either = [p for p in rows if any(is_json([p.baseline, p.candidate]))]
    return rows if 0 < len(either) < FEWEST_PAIRS else tuple(either)


def _counted(
    name: str, rows: Sequence[TextPair], find: Counter, alternative: str, tests: int = 1
) -> TextCheck:
    """Count one defect in both arms.

    Args:
        name: Of the check.
        rows: Pairs that can be checked; without any it is absent.
        find: Finds the defect.
        alternative: ``loss`` for an excess in the candidate (bounded too), or ``two-sided``.
        tests: Tests of which this one is the most significant (Bonferroni).

    Returns:
        The check, its state still to be decided and its p-value not adjusted by Holm.
    """
    if not rows:
        return TextCheck(name=name, state=CheckState.ABSENT)
    before, after = find(rows)
    loss, gain, n = int(np.sum(after & ~before)), int(np.sum(before & ~after)), len(rows)
    return TextCheck(
        name=name,
        counted=name,
        state=CheckState.TOO_FEW,
        n=n,
        baseline=int(before.sum()),
        candidate=int(after.sum()),
        excess=(loss - gain) / n,
        upper=_upper(loss, gain, n) if alternative == "loss" else None,
        p_value=min(tests * mcnemar_test(loss, gain, alternative=alternative).p_value, 1.0),
        examples=tuple(rows[i].id for i in np.flatnonzero(after & ~before)[:EXAMPLES]),
    )


def _upper(loss: int, gain: int, n: int) -> float:
    """Return the one-sided 95 % upper bound of the excess, by the melded exact interval."""
    return DiscordantPairs(loss, gain, n).interval(_SIDES, "melded").high


def _finish_reasons(rows: tuple[TextPair, ...]) -> TextCheck:
    known = [p for p in rows if "unknown" not in {p.baseline_finish, p.candidate_finish}]
    reasons = sorted({f for p in known for f in (p.baseline_finish, p.candidate_finish)})
    ended = {f"finish reason {reason!r}": ended_by(reason) for reason in reasons}
    # of two reasons the second repeats the test of the first
    return _most_changed(FINISH, known, ended, tests=len(reasons) if len(reasons) > 2 else 1)


def _most_changed(
    name: str, rows: Sequence[TextPair], finders: Mapping[str, Counter], *, tests: int
) -> TextCheck:
    """Return the count that changed most significantly, of equals the one that grew."""
    if not rows:
        return TextCheck(name=name, state=CheckState.ABSENT)
    counts = [
        replace(_counted(name, rows, find, "two-sided", tests), counted=counted)
        for counted, find in finders.items()
    ]
    return min(counts, key=lambda c: (c.p_value or 0.0, -(c.excess or 0.0)))


def _adjusted(checks: Sequence[TextCheck]) -> list[TextCheck]:
    """Return the checks with Holm's p-values; those with nothing to check make no claim."""
    own = {c.name: c.p_value for c in checks if c.p_value is not None}
    adjusted = dict(zip(own, holm(list(own.values())).tolist(), strict=True))
    return [replace(c, p_value=adjusted.get(c.name)) for c in checks]


def _bound_state(check: TextCheck) -> CheckState:
    if check.upper is None or check.p_value is None:
        return CheckState.ABSENT
    if check.upper <= EXCESS_LIMIT:
        return CheckState.OK
    # a bound may be wide because answers vary, which is no defect: then more pairs would settle it
    return CheckState.FAILED if check.p_value <= LEVEL else CheckState.TOO_FEW


def _test_state(check: TextCheck) -> CheckState:
    if check.p_value is None:
        return CheckState.ABSENT
    if check.p_value <= LEVEL:
        return CheckState.FAILED
    return CheckState.OK if check.n >= FEWEST_PAIRS else CheckState.TOO_FEW
