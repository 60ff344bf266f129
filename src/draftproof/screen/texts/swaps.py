"""Answers that fit another prompt better than their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from draftproof.screen.texts.features import (
    BoolArray,
    FloatArray,
    IndexArray,
    character_codes,
    gram_hashes,
)

_GRAM = 5
_BUCKETS = 1 << 20
_SHARE = 0.02
_FEWEST, _MOST = 8, 50
"""A gram that this many answers share says nothing of the prompt: stock phrases drop out."""
_TIMES = 3.0
_AT_LEAST = 0.2
"""Another prompt must fit three times as well as the own one, and with a cosine of 0.2 at least."""
_CHANCE = 0.02
"""What unrelated texts share; added to the own fit, so that nothing is divided by zero."""
_ROWS = 512


class Fit(NamedTuple):
    """How well the answers of one arm fit prompts, ``[N] float64`` each, from 0 to 2.

    Attributes:
        own: Fit to the own prompt: cosine with the other arm's answer to it, plus cosine with
            the prompt.
        other: Best fit to another prompt: cosine with the baseline's answer, plus with the prompt.
    """

    own: FloatArray
    other: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """How many times better the best other prompt fits; 0 where it hardly fits at all."""
        return np.where(self.other > _AT_LEAST, self.other / (self.own + _CHANCE), 0.0)


def swapped(
    prompts: Sequence[str], baseline: Sequence[str], candidate: Sequence[str]
) -> tuple[BoolArray, BoolArray]:
    """Return which answer of a pair fits another prompt better than its own; one arm at most.

    Where both do, the one that fits better counts. An arm's answers are more alike among
    themselves than the arms are, so without swaps the baseline has as many as the candidate or
    more: the test of an excess in the candidate is one-sided.

    Args:
        prompts: ``N`` prompts; equal prompts are one prompt.
        baseline: Their answers.
        candidate: Their answers by the other arm.

    Returns:
        Two ``[N] bool``, of the baseline and of the candidate.
    """
    before = after = np.zeros(len(prompts))
    # an answer that both arms gave fits equally well for both
    differ = np.flatnonzero([a != b for a, b in zip(baseline, candidate, strict=True)])
    if differ.size:
        first, second = _fits(prompts, baseline, candidate, differ)
        before, after = np.zeros(len(prompts)), np.zeros(len(prompts))
        before[differ], after[differ] = first.ratio, second.ratio
    return (before > _TIMES) & (before > after), (after > _TIMES) & (after > before)


def _fits(
    prompts: Sequence[str], baseline: Sequence[str], candidate: Sequence[str], differ: IndexArray
) -> tuple[Fit, Fit]:
    """Compare the answers that differ with their own and with all other prompts.

    Texts are bags of hashed 5-grams of characters, those in more than 2 % of the texts (8 at
    least, 50 at most) left out, weighted by inverse document frequency.

    Args:
        prompts: ``N`` prompts.
        baseline: Their answers.
        candidate: Their answers by the other arm.
        differ: Places of the pairs whose answers differ, ``[M] int64``.

    Returns:
        The fits of the baseline's and of the candidate's answers, ``[M]`` each.
    """
    n = len(prompts)
    grams = _rare_grams([*baseline, *(candidate[i] for i in differ.tolist()), *prompts])
    asked = grams[n + differ.size :]
    before, after = grams[:n][differ], grams[n : n + differ.size]
    columns = (grams[:n] + asked).T.tocsc()
    _, same = np.unique(np.array(prompts, dtype=object).astype(str), return_inverse=True)
    fits = []
    for answers, others in ((before, after), (after, before)):
        own = np.asarray((others + asked[differ]).multiply(answers).sum(axis=1)).ravel()
        best = np.zeros(differ.size)
        for start in range(0, differ.size, _ROWS):
            cosine = (answers[start : start + _ROWS] @ columns).tocoo()
            row = cosine.row + start
            foreign = same[differ[row]] != same[cosine.col]
            np.maximum.at(best, row[foreign], cosine.data[foreign])
        fits.append(Fit(own, best))
    return fits[0], fits[1]


def _rare_grams(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return texts as rows of unit length ``[N, 2^20]``."""
    codes, owners = character_codes([" ".join(t.casefold().split()) for t in texts])
    hashes, inside = gram_hashes(codes, owners, _GRAM)
    buckets = (hashes[inside] >> np.uint64(44)).astype(np.int64)
    # every gram counts once an answer; sorting beats numpy's unique by hashing
    cells = np.sort(owners[: hashes.size][inside] * _BUCKETS + buckets)
    cells = cells[np.diff(cells, prepend=-1) > 0]
    row, column = cells // _BUCKETS, cells % _BUCKETS
    frequency = np.bincount(column, minlength=_BUCKETS)
    limit = int(np.clip(_SHARE * len(texts), _FEWEST, _MOST))
    # a gram of every text has no weight, and a row of such grams no length
    rare = frequency[column] <= min(limit, len(texts) - 1)
    row, column = row[rare], column[rare]
    weight = np.log(len(texts) / frequency[column])
    length = np.sqrt(np.bincount(row, weights=weight**2, minlength=len(texts)))
    return sparse.csr_matrix((weight / length[row], (row, column)), shape=(len(texts), _BUCKETS))
