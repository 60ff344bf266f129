"""Decisions over arrays of tables by exact critical values.

The exact test rejects exactly when the score statistic is at most a critical value that
depends on n alone, so a million tables cost two statistics each and a lookup. The critical
values at 3 points and level 0.05 are tabulated in `critical_z.txt`. They were computed by
`draftproof.stats.exact.critical_z` with a nuisance grid twice as dense as in use; a test
recomputes a sample of them. They save a tenth of a second per size, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc

from draftproof.stats.checks import BoolArray, FloatArray, IntArray, count_arrays
from draftproof.stats.exact import TIE, critical_z
from draftproof.stats.flips import flips_tolerated
from draftproof.stats.mcnemar import loss_p_values
from draftproof.stats.score import BLOCK, score_statistic

PASS, FAIL, INCONCLUSIVE = 1, -1, 0
_WAYS = 2
"""Losses and gains are looked at."""
_SECOND = 5
"""A loss is tested too: a fifth of the level is left for a change."""


def critical_values(n: ArrayLike, margin: float = 0.03, alpha: float = 0.05) -> FloatArray:
    """Exact critical values for an array of sizes.

    At 3 points and level 0.05 the sizes 50 to 1000 are tabulated; any other combination is
    computed once (30 to 500 ms) and remembered.

    Args:
        n: Numbers of pairs.
        margin: Margin.
        alpha: One-sided level.

    Returns:
        float64 of the shape of `n`; -inf where nothing can be rejected (n = 0 included).

    Examples:
        >>> critical_values([0, 100]).round(4)
        array([   -inf, -1.7008])
    """
    return _by_size(n, lambda size: critical_value(size, margin, alpha))


def _by_size(n: ArrayLike, value: Callable[[int], float]) -> FloatArray:
    """Return a value that hangs on the size alone, computed once a size."""
    sizes = np.asarray(n, dtype=np.int64)
    flat = sizes.ravel()
    if flat.size and int(flat.max()) < 10_000_000:
        # counting beats sorting a million sizes by a factor of ten
        distinct = np.flatnonzero(np.bincount(flat))
        lookup = np.full(int(flat.max()) + 1, -np.inf)
        for size in distinct:
            lookup[size] = value(int(size))
        return lookup[sizes]
    distinct, position = np.unique(flat, return_inverse=True)
    return np.array([value(int(size)) for size in distinct])[position].reshape(sizes.shape)


def critical_value(n: int, margin: float = 0.03, alpha: float = 0.05) -> float:
    """Exact critical value for one size, from the table where it has it."""
    if margin == MARGIN and alpha == ALPHA and 0 <= n - FIRST_N < len(CRITICAL_Z):
        return CRITICAL_Z[n - FIRST_N]
    return critical_z(n, margin, alpha)


def equivalence_decisions(
    loss: ArrayLike,
    gain: ArrayLike,
    n: ArrayLike,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    mode: str = "equivalence",
    limit: float | None = None,
) -> BoolArray:
    """Whether each table shows equivalence (or non-inferiority) by the exact test.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs.
        margin: Margin.
        alpha: One-sided level.
        mode: "equivalence" tests both sides, "noninferiority" the loss side alone.
        limit: The critical value of all tables, where it is known.

    Returns:
        bool, broadcast over the counts; False where n is 0.

    Examples:
        >>> equivalence_decisions([0, 0, 1], [0, 0, 0], [99, 98, 157]).tolist()
        [True, False, True]
    """
    b, c, total = count_arrays(loss, gain, n)
    shape = b.shape
    b, c, total = b.ravel(), c.ravel(), total.ravel()
    if limit is None:
        limits = critical_values(total.astype(np.int64), margin, alpha) + TIE
    else:
        limits = np.full(total.shape, limit + TIE)
    equivalent = np.empty(b.size, dtype=bool)
    for start in range(0, b.size, BLOCK):
        part = slice(start, start + BLOCK)
        x, y, size, most = b[part], c[part], total[part], limits[part]
        inside = score_statistic(x, y, size, margin) <= most
        if mode == "equivalence":
            inside &= score_statistic(y, x, size, margin) <= most
        equivalent[part] = inside
    return equivalent.reshape(shape)


def change_p_values(
    loss: ArrayLike, gain: ArrayLike, n: int, bound: float, mode: str = "equivalence"
) -> FloatArray:
    """p-value of "more changed than is tolerated", table by table: PASS claims the opposite.

    No larger sample could turn such a stratum into a PASS, so it must not end as INCONCLUSIVE.
    Losses alone exceed the bound, or, where both directions are gated, gains alone do: exact
    binomial tests, the smaller p-value doubled for looking at both. It is the second test that may
    FAIL a task, after that of a loss, so its p-value counts five times: together they accuse a
    harmless candidate in at most 2.5 %. 1 where the bound is left out.

    Examples:
        >>> change_p_values([36, 3], [24, 3], 450, 0.03).round(4)
        array([0., 1.])
    """
    b, c, _ = count_arrays(loss, gain, n)
    if bound >= 1 or n == 0 or not b.size:
        return np.ones(b.shape)
    most = (np.maximum(b, c) if mode == "equivalence" else b).astype(np.int64)
    # the chance of that many or more, once for each number; of none or more it is 1
    tails = np.append(1.0, bdtrc(np.arange(int(most.max())), n, bound))
    return np.minimum(_WAYS * _SECOND * tails[most], 1.0)


def pass_decisions(
    loss: ArrayLike,
    gain: ArrayLike,
    n: ArrayLike,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    gross_margin: float | None = None,
    mode: str = "equivalence",
    unexplained: bool = False,
    limit: float | None = None,
) -> BoolArray:
    """Whether each table of complete pairs passes: equivalence and the bounds on flips.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: All pairs.
        margin: Margin.
        alpha: One-sided level.
        gross_margin: Bound on the upper limit of the loss rate; None takes the margin, 1 omits it.
        mode: "equivalence" or "noninferiority".
        unexplained: The upper 95 % limit of all flips must be within the margin, too.
        limit: The exact critical value, where it is known.
    """
    b, c, _ = count_arrays(loss, gain, n)
    bound = margin if gross_margin is None else gross_margin
    passed = equivalence_decisions(b, c, n, margin=margin, alpha=alpha, mode=mode, limit=limit)
    passed &= b <= _by_size(n, lambda size: flips_tolerated(size, bound, alpha))
    if mode == "equivalence" and bound < 1:
        # no loss is set off against gains, where the exact test is the bound on flips
        passed &= c <= _by_size(n, lambda size: flips_tolerated(size, margin, alpha))
    if unexplained:
        passed &= b + c <= _by_size(n, lambda size: flips_tolerated(size, margin))
    return passed


def gate_decisions(
    loss: ArrayLike,
    gain: ArrayLike,
    n: ArrayLike,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    gross_margin: float | None = None,
    mode: str = "equivalence",
) -> IntArray:
    """State of each table of complete pairs, as `gate` decides it: 1 PASS, -1 FAIL, 0 neither.

    Examples:
        >>> gate_decisions([0, 10, 0], [0, 1, 9], 404).tolist()
        [1, -1, 0]
    """
    bound = margin if gross_margin is None else gross_margin
    b, c, total = count_arrays(loss, gain, n)
    passed = pass_decisions(b, c, n, margin=margin, alpha=alpha, gross_margin=bound, mode=mode)
    failed = loss_p_values(b, c) <= alpha_fail
    most = np.maximum(b, c) if mode == "equivalence" else b
    failed |= most >= _by_size(n, lambda size: _flips_shown(size, bound, alpha_fail))
    return np.where(passed, PASS, np.where(failed & (total > 0), FAIL, INCONCLUSIVE))


@lru_cache(maxsize=4096)
def _flips_shown(n: int, bound: float, alpha_fail: float) -> float:
    """Smallest number of losses, or gains, that shows more change than is tolerated."""
    counts = np.arange(n + 1)
    shown = np.flatnonzero(change_p_values(counts, 0, n, bound) <= alpha_fail)
    return float(shown[0]) if shown.size else np.inf


MARGIN = 0.03
ALPHA = 0.05
FIRST_N = 50

CRITICAL_Z: tuple[float, ...] = tuple(
    -float(word) for word in Path(__file__).with_name("critical_z.txt").read_text("ascii").split()
)
"""Critical values for n = 50, 51, ..., 1000; the file holds their magnitudes, all are negative."""
