"""Fingerprints of broken joins and label maps, looked for before agreement is reported.

"0 % agreement, kappa 0.000" is what a renamed label, a lost field or a join on the wrong key
looks like, and 100 % is what a column compared with itself looks like.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.optimize import linear_sum_assignment

from draftproof.stats.agreement import Agreement, agreement

_SUSPICIOUS_FROM = 30
_RELABEL_GAIN = 0.2


class FaultFingerprint(StrEnum):
    """Kinds of suspicion."""

    NOTHING_JOINED = "nothing-joined"
    PARTIAL_JOIN = "partial-join"
    DISJOINT_LABELS = "disjoint-labels"
    SPELLING = "label-spelling"
    CONSTANT_SCORER = "constant-scorer"
    NEVER_EQUAL = "never-equal"
    ALWAYS_EQUAL = "always-equal"
    RELABELLED = "relabelled"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One fingerprint that matched, with the numbers in a sentence."""

    kind: FaultFingerprint
    text: str


@dataclass(frozen=True, slots=True)
class Join:
    """How a join of two scorers' records went.

    Attributes:
        expected: Answers that both should have labelled.
        joined: Answers with a label from both.
        missing_first: Without a label of the first.
        missing_second: Without a label of the second.
        unparsed: Labels that could not be read, among the joined.
    """

    expected: int
    joined: int
    missing_first: int = 0
    missing_second: int = 0
    unparsed: int = 0

    @property
    def complete(self) -> bool:
        """Whether every expected answer was joined and read."""
        return self.joined == self.expected and self.unparsed == 0

    @property
    def share(self) -> float:
        """Joined and read share of what was expected; 0 when nothing was expected."""
        return (self.joined - self.unparsed) / self.expected if self.expected else 0.0


def suspicions(
    first: Sequence[Hashable], second: Sequence[Hashable], join: Join | None = None
) -> tuple[Suspicion, ...]:
    """Look for broken joins and label maps in two scorers' labels.

    Args:
        first: Labels of the first scorer.
        second: Labels of the second, same answers.
        join: How the records were joined.

    Returns:
        What was found; empty when nothing is suspicious. Any finding means: do not report.

    Examples:
        >>> [s.kind.value for s in suspicions(["SAFE"] * 20 + ["UNSAFE"] * 20,
        ...                                   ["safe"] * 20 + ["unsafe"] * 20)]
        ['disjoint-labels', 'label-spelling', 'never-equal', 'relabelled']
    """
    found = _join_suspicions(join)
    if not first:
        return (*found, Suspicion(FaultFingerprint.NOTHING_JOINED, "no answer has both labels"))
    table = agreement(first, second)
    used_first, used_second = set(first), set(second)
    if not used_first & used_second:
        text = f"no label in common: {_names(used_first)} against {_names(used_second)}"
        found.append(Suspicion(FaultFingerprint.DISJOINT_LABELS, text))
    folded = {_fold(x) for x in used_first} & {_fold(x) for x in used_second}
    if len(folded) > len(used_first & used_second):
        text = f"equal but for spelling: {', '.join(sorted(folded))}"
        found.append(Suspicion(FaultFingerprint.SPELLING, text))
    for name, used in (("first", used_first), ("second", used_second)):
        if len(used) == 1 and len(used_first | used_second) > 1:
            text = f"the {name} scorer always says {next(iter(used))!r}"
            found.append(Suspicion(FaultFingerprint.CONSTANT_SCORER, text))
    found.extend(_extreme(table))
    return tuple(found)


def _join_suspicions(join: Join | None) -> list[Suspicion]:
    if join is None or join.complete:
        return []
    text = (
        f"{join.joined} of {join.expected} joined; {join.missing_first} without a first label, "
        f"{join.missing_second} without a second, {join.unparsed} unparsed"
    )
    return [Suspicion(FaultFingerprint.PARTIAL_JOIN, text)]


def _extreme(table: Agreement) -> list[Suspicion]:
    found = []
    if table.n > _SUSPICIOUS_FROM and table.percent == 0:
        text = f"0 % of {table.n} equal"
        found.append(Suspicion(FaultFingerprint.NEVER_EQUAL, text))
    if table.n > _SUSPICIOUS_FROM and table.percent == 1:
        text = f"100 % of {table.n} equal"
        found.append(Suspicion(FaultFingerprint.ALWAYS_EQUAL, text))
    rows, columns = linear_sum_assignment(-table.table)
    best = float(table.table[rows, columns].sum()) / table.n
    # a better pairing of labels than the identity can be luck on a few answers only
    if table.n > _SUSPICIOUS_FROM and best - table.percent > _RELABEL_GAIN:
        moved = ", ".join(
            f"{table.labels[i]} as {table.labels[j]}"
            for i, j in zip(rows, columns, strict=True)
            if i != j and table.table[i, j] > 0
        )
        text = f"agreement rises from {table.percent:.2f} to {best:.2f} by reading {moved}"
        found.append(Suspicion(FaultFingerprint.RELABELLED, text))
    return found


def chance_consistent(observed: float, expected: float, kappa: float, digits: int = 3) -> bool:
    """Whether printed agreement, chance agreement and kappa fit each other when rounded.

    Examples:
        >>> chance_consistent(0.0, 0.5, 0.0)
        False
    """
    if expected == 1:
        return bool(np.isnan(kappa))
    slack = 2 * 10.0**-digits / (1 - expected)
    return abs((observed - expected) / (1 - expected) - kappa) <= slack


def _fold(label: Hashable) -> str:
    return "".join(c for c in str(label).lower() if c.isalnum())


def _names(labels: set[Hashable]) -> str:
    return "{" + ", ".join(sorted(str(label) for label in labels)) + "}"
