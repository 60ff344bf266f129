"""What counts as one: prompts that render to the same bytes, and variants of one behaviour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOSS, SAME, GAIN = 1, 0, -1
NO_PAIR, UNREAD, TORN = 2, 3, 4
"""Signs of prompts; `UNREAD` is a pair that differs and lacks a label, `TORN` a prompt that one
answer loses and another gains."""


class Signs(NamedTuple):
    """Prompts of one task, ``[prompts]`` each.

    Attributes:
        asked: A number that prompts which render to the same bytes share.
        cluster: A number that prompts of one cluster share.
        sign: `LOSS`, `SAME`, `GAIN`, `NO_PAIR` or `UNREAD`.
    """

    asked: NDArray[np.uint64]
    cluster: NDArray[np.uint64]
    sign: NDArray[np.int8]


def one_a_unit(parts: Sequence[Signs]) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """Return cluster and sign of every distinct prompt.

    Where the answers to one prompt disagree the worst counts: a loss before all (`TORN` where
    another answer may have gained, which is no credit), else an answer that is missing or unread;
    gains beside none are counted as unread, which is the worst for every claim.
    """
    asked, cluster, sign = (np.concatenate(column) for column in zip(*parts, strict=True))
    _, first, unit = np.unique(asked, return_index=True, return_inverse=True)
    if first.size == asked.size:
        return cluster, sign

    def any_of(which: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(unit[which], minlength=first.size) > 0

    lost, gained, same = (any_of(sign == s) for s in (LOSS, GAIN, SAME))
    unread, missing = any_of(sign == UNREAD), any_of(sign == NO_PAIR)
    worst = np.select(
        [lost & (gained | unread | missing), lost, unread | (gained & same), missing, gained],
        [TORN, LOSS, UNREAD, NO_PAIR, GAIN],
        SAME,
    )
    return cluster[first], worst.astype(np.int8)


def whole_clusters(
    cluster: NDArray[np.uint64], sign: NDArray[np.int8]
) -> tuple[int, int, int, int]:
    """Return losses, gains, size and torn losses of clustered pairs, for tests of independent ones.

    Every cluster counts once, by the shares of its pairs that are lost and gained, so that the
    size is the number of clusters and one more loss is never worth less than none. Sums are
    rounded up, those of the losses first.

    Args:
        cluster: Of each pair.
        sign: `LOSS`, `SAME`, `GAIN` or `TORN`.
    """
    distinct, unit = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(unit, minlength=distinct.size)

    def shares(*which: int) -> int:
        counts = np.bincount(unit[np.isin(sign, which)], minlength=distinct.size)
        return math.ceil(float(np.sum(counts / sizes)) - 1e-9) if distinct.size else 0

    n = int(distinct.size)
    loss = min(shares(LOSS, TORN), n)
    gain = min(shares(GAIN), n - loss)
    # gains that are no credit, as there is a loss in their place, count against claims on gains
    return loss, gain, n, min(shares(GAIN, TORN), n) - gain
