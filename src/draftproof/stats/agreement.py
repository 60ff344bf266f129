"""Agreement between two scorers of one construct, and signs of a broken join or label map.

Look at the table before any coefficient, and at the suspicions before the table: "0 % agreement,
kappa 0.000" is what a renamed label, a lost field or a join on the wrong key looks like, and
100 % is what a column compared with itself looks like.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from draftproof.stats.checks import FloatArray
from draftproof.stats.results import Interval

_COEFFICIENTS = ("percent", "kappa", "ac1", "alpha", "pabak")
_SUSPICIOUS_FROM = 30
_RELABEL_GAIN = 0.2


@dataclass(frozen=True, slots=True)
class Agreement:
    """A square cross table of two scorers' labels.

    Attributes:
        table: Counts, rows the first scorer, columns the second, float64 [C, C].
        labels: Labels in the order of rows and columns.

    Examples:
        >>> both = agreement_from_cells(118, 5, 2, 0)
        >>> round(both.percent, 3), round(both.kappa, 4), round(both.ac1, 4)
        (0.944, -0.0234, 0.9408)
    """

    table: FloatArray
    labels: tuple[Hashable, ...]

    @property
    def n(self) -> int:
        """Answers labelled by both."""
        return int(self.table.sum())

    @property
    def percent(self) -> float:
        """Share of equal labels; NaN without answers."""
        return _coefficients(self.table)[0]

    @property
    def kappa(self) -> float:
        """Cohen's kappa (po - pe)/(1 - pe); NaN when both scorers use one label only."""
        return _coefficients(self.table)[1]

    @property
    def ac1(self) -> float:
        """Gwet's AC1, chance term Σπ(1-π)/(C-1) with π the mean prevalence.

        Source: Gwet (2008) British J. of Mathematical and Statistical Psychology 61:29-48.
        """
        return _coefficients(self.table)[2]

    @property
    def alpha(self) -> float:
        """Krippendorff's alpha, nominal, two scorers, no gaps; NaN when only one label occurs.

        1 - Do/De with De from the 2n pooled labels drawn without replacement.
        Source: Krippendorff (2011) Computing Krippendorff's alpha-reliability.
        """
        return _coefficients(self.table)[3]

    @property
    def pabak(self) -> float:
        """Prevalence- and bias-adjusted kappa, (C·po - 1)/(C - 1)."""
        return _coefficients(self.table)[4]


def agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> Agreement:
    """Cross-tabulate two scorers' labels of the same answers.

    Raises:
        ValueError: When the sequences differ in length.

    Examples:
        >>> agreement(["refusal", "comply"], ["refusal", "refusal"]).table.tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    if len(first) != len(second):
        raise ValueError(f"both scorers must label the same answers: {len(first)}, {len(second)}")
    labels = tuple(sorted({*first, *second}, key=str))
    index = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for a, b in zip(first, second, strict=True):
        table[index[a], index[b]] += 1
    return Agreement(table, labels)


def agreement_from_cells(both: int, first: int, second: int, neither: int) -> Agreement:
    """Agreement from the four cells of two binary scorers (`first`: positive by the first only)."""
    return Agreement(np.array([[both, first], [second, neither]], dtype=np.float64), (True, False))


def kappa_from_rates(observed: float, expected: float) -> float:
    """Cohen's kappa from agreement rates; NaN when chance agreement is certain.

    Zero agreement with kappa 0 needs pe = 0: two scorers that share no label.
    """
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def bootstrap_agreement(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    cluster: ArrayLike | None = None,
    coefficient: str = "kappa",
    level: float = 0.95,
    draws: int = 2000,
) -> Interval:
    """Percentile interval of a coefficient over resampled prompts.

    Args:
        first: Labels of the first scorer, [N].
        second: Labels of the second, [N].
        rng: Source of random numbers.
        cluster: Prompt of each answer; None when no two answers share a prompt.
        coefficient: "percent", "kappa", "ac1", "alpha" or "pabak".
        level: Confidence level.
        draws: Resamples.

    Returns:
        The interval over the resamples in which the coefficient exists; NaN when it never does.
    """
    whole = agreement(first, second)
    index = {label: i for i, label in enumerate(whole.labels)}
    k = len(whole.labels)
    cell = np.array([index[a] * k + index[b] for a, b in zip(first, second, strict=True)])
    groups = np.arange(cell.size) if cluster is None else np.asarray(cluster)
    distinct, position = np.unique(groups, return_inverse=True)
    counts = np.zeros((distinct.size, k * k))
    np.add.at(counts, (position, cell), 1)
    which = _COEFFICIENTS.index(coefficient)
    share = np.full(distinct.size, 1 / distinct.size)
    values = np.empty(draws)
    for draw in range(draws):
        table = (rng.multinomial(distinct.size, share) @ counts).reshape(k, k)
        values[draw] = _coefficients(table)[which]
    name = f"bootstrap {coefficient}"
    if np.isnan(values).all():
        return Interval(math.nan, math.nan, level, name)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, name)


def _coefficients(table: FloatArray) -> tuple[float, float, float, float, float]:
    n, k = float(table.sum()), table.shape[0]
    if n == 0:
        return (math.nan,) * 5
    po = float(np.trace(table)) / n
    rows, columns = table.sum(axis=1) / n, table.sum(axis=0) / n
    mean = (rows + columns) / 2
    kappa = kappa_from_rates(po, float(rows @ columns))
    spread = float(mean @ (1 - mean))
    chance = spread / (k - 1) if k > 1 else 0.0
    ac1 = (po - chance) / (1 - chance)
    pooled = spread * 2 * n / (2 * n - 1)
    alpha = math.nan if pooled == 0 else 1 - (1 - po) / pooled
    pabak = (k * po - 1) / (k - 1) if k > 1 else po
    return po, kappa, ac1, alpha, pabak


class SuspicionKind(StrEnum):
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
    """One sign of a broken join or label map, with the numbers in a sentence."""

    kind: SuspicionKind
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
        The suspicions; empty when there are none. Any suspicion means: do not report.

    Examples:
        >>> [s.kind.value for s in suspicions(["SAFE"] * 20 + ["UNSAFE"] * 20,
        ...                                   ["safe"] * 20 + ["unsafe"] * 20)]
        ['disjoint-labels', 'label-spelling', 'never-equal', 'relabelled']
    """
    signs = _join_suspicions(join)
    if not first:
        return (*signs, Suspicion(SuspicionKind.NOTHING_JOINED, "no answer has both labels"))
    table = agreement(first, second)
    used_first, used_second = set(first), set(second)
    if not used_first & used_second:
        text = f"no label in common: {_names(used_first)} against {_names(used_second)}"
        signs.append(Suspicion(SuspicionKind.DISJOINT_LABELS, text))
    folded = {_fold(x) for x in used_first} & {_fold(x) for x in used_second}
    if len(folded) > len(used_first & used_second):
        text = f"equal but for spelling: {', '.join(sorted(folded))}"
        signs.append(Suspicion(SuspicionKind.SPELLING, text))
    for name, used in (("first", used_first), ("second", used_second)):
        if len(used) == 1 and len(used_first | used_second) > 1:
            text = f"the {name} scorer gives every answer the label {next(iter(used))!r}"
            signs.append(Suspicion(SuspicionKind.CONSTANT_SCORER, text))
    signs.extend(_extreme(table))
    return tuple(signs)


def _join_suspicions(join: Join | None) -> list[Suspicion]:
    if join is None or join.complete:
        return []
    text = (
        f"{join.joined} of {join.expected} joined; {join.missing_first} without a first label, "
        f"{join.missing_second} without a second, {join.unparsed} unparsed"
    )
    return [Suspicion(SuspicionKind.PARTIAL_JOIN, text)]


def _extreme(table: Agreement) -> list[Suspicion]:
    signs = []
    if table.n > _SUSPICIOUS_FROM and table.percent in {0, 1}:
        kind = SuspicionKind.ALWAYS_EQUAL if table.percent else SuspicionKind.NEVER_EQUAL
        signs.append(Suspicion(kind, f"{table.percent:.0%} of {table.n} equal".replace("%", " %")))
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
        signs.append(Suspicion(SuspicionKind.RELABELLED, text))
    return signs


def _fold(label: Hashable) -> str:
    return "".join(c for c in str(label).lower() if c.isalnum())


def _names(labels: set[Hashable]) -> str:
    return "{" + ", ".join(sorted(str(label) for label in labels)) + "}"
