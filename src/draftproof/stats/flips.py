"""The gross-flip bound: losses alone, without credit for gains.

The net difference cancels losses against gains, but a gain on one prompt does not repair a loss
on another. The bound is the one-sided Clopper-Pearson limit of the loss rate.
With losses only it coincides with the exact equivalence test.
"""

from __future__ import annotations

import math

from scipy.special import bdtr

from draftproof.stats.checks import count, open_unit
from draftproof.stats.proportions import clopper_pearson


def flip_upper(loss: int, n: int, alpha: float = 0.05) -> float:
    """One-sided upper 1 - alpha bound of the loss rate; 1 when there are no pairs.

    Examples:
        >>> round(flip_upper(2, 208), 5)
        0.02996
    """
    return clopper_pearson(count("loss", loss), count("n", n), 1 - alpha, "upper").high


def flips_tolerated(n: int, bound: float = 0.03, alpha: float = 0.05) -> int:
    """Largest number of losses among `n` whose upper bound is at most `bound`; -1 for none.

    Examples:
        >>> [flips_tolerated(n) for n in (98, 99, 208, 303, 400, 521)]
        [-1, 0, 2, 4, 6, 9]
    """
    if bound >= 1:
        return n
    tolerated = -1
    while tolerated < n and bdtr(tolerated + 1, n, bound) <= alpha:
        tolerated += 1
    return tolerated


def rung(loss: int, bound: float = 0.03, alpha: float = 0.05) -> int:
    """Smallest n at which `loss` losses (and no gain) still show a loss rate below `bound`.

    With 0 losses it is log(alpha)/log(1 - bound), rounded up. These are the rungs of the exact
    test: power is best just above one.

    Examples:
        >>> [rung(k) for k in range(11)]
        [99, 157, 208, 257, 303, 348, 392, 436, 478, 521, 562]
    """
    open_unit("bound", bound)
    loss = count("loss", loss)
    low = loss
    high = max(math.ceil(math.log(alpha) / math.log1p(-bound)), loss + 1)
    while bdtr(loss, high, bound) > alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(loss, middle, bound) > alpha else (low, middle)
    return high
