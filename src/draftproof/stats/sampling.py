"""Tests of sampled output at temperature above 0, by tokens and by whole answers.

Tokens: the speculative sampler claims to draw from the target's law p. At a fixed prefix p is
known, so N draws are tested against it, which is stronger than a two-sample test.

Answers: two arms are compared by maximum mean discrepancy with a string kernel, within prompts;
labels are permuted within prompts and the statistic is averaged. It detects large changes of
the law of whole answers; for leaks of single tokens use the token tests. Source: Gao, Liang &
Guestrin (2024) Model Equality Testing, arXiv:2410.20247.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, stdtrit, xlogy

from draftproof.stats.checks import FloatArray, open_unit
from draftproof.stats.results import HypothesisResult

Tokens = Sequence[int]
Kernel = Callable[[Tokens, Tokens], float]

_LEAST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class TokenTest:
    """G test of token counts.

    Attributes:
        statistic: G = 2·Σ x·log(x/e).
        df: Cells after pooling, minus 1.
        p_value: Upper chi-square tail; 0 when a token of probability 0 was drawn; 1 when fewer
            than two cells remain.
        draws: Tokens drawn.
    """

    statistic: float
    df: int
    p_value: float
    draws: int


def g_test(counts: ArrayLike, law: ArrayLike, least_expected: float = _LEAST_EXPECTED) -> TokenTest:
    """Test draws against a known law; cells expected fewer than five times are pooled.

    Args:
        counts: Draws of each token, [V].
        law: Probability of each token, [V], summing to 1.
        least_expected: Smallest expected count of a cell that is not pooled.

    Raises:
        ValueError: When shapes differ or the law does not sum to 1.

    Examples:
        >>> g_test([50, 50], [0.5, 0.5]).p_value
        1.0
        >>> g_test([1, 99], [0.0, 1.0]).p_value  # impossible under the law
        0.0
    """
    x, p = np.asarray(counts, dtype=np.float64), np.asarray(law, dtype=np.float64)
    if x.shape != p.shape or x.ndim != 1:
        raise ValueError("counts and law must be one-dimensional and of one length")
    if abs(float(p.sum()) - 1) > 1e-6 or np.any(p < 0):
        raise ValueError("law must be a probability vector")
    n = float(x.sum())
    if np.any((p == 0) & (x > 0)):
        return TokenTest(math.inf, 1, 0.0, int(n))
    observed, expected = _pool(x, n * p, least_expected)
    if observed.size < 2:
        return TokenTest(0.0, 0, 1.0, int(n))
    statistic = max(float(2 * (xlogy(observed, observed / expected)).sum()), 0.0)
    df = int(observed.size - 1)
    return TokenTest(statistic, df, float(chdtrc(df, statistic)), int(n))


def law_test(
    samples: Sequence[tuple[ArrayLike, ArrayLike]],
    rng: np.random.Generator,
    simulations: int = 9999,
) -> HypothesisResult:
    """Exact test of draws at several prefixes against known laws: the sum of G, simulated.

    The chi-square limit rejects too often where cells are expected only a few times. As the laws
    are known, the statistic is simulated from them (Dwass 1957, Ann. Math. Stat.
    28, 181): p = (1 + exceedances)/(1 + simulations) holds at every size.

    Args:
        samples: Counts ``[V]`` and law ``[V]`` of each prefix; see `g_test`.
        rng: Source of the simulated draws.
        simulations: How many; p is never below 1/(simulations + 1), except that it is 0 when a
            token of probability 0 was drawn.

    Raises:
        ValueError: See `g_test`.

    Examples:
        >>> half = [0.5, 0.5]
        >>> law_test([([50, 50], half), ([80, 20], half)], np.random.default_rng(1)).p_value
        0.0001
    """
    tests = [g_test(counts, law) for counts, law in samples]
    statistic = math.fsum(test.statistic for test in tests)
    method = f"sum of {len(tests)} G statistics, {simulations:,} simulations"
    if math.isinf(statistic):
        return HypothesisResult(0.0, statistic, method, "two-sided")
    simulated = np.zeros(simulations)
    for (counts, law), test in zip(samples, tests, strict=True):
        if test.df:
            p = np.asarray(law, dtype=np.float64)
            _, cells = _pool(np.asarray(counts, dtype=np.float64), test.draws * p, _LEAST_EXPECTED)
            drawn = rng.multinomial(test.draws, cells / cells.sum(), size=simulations)
            simulated += 2 * xlogy(drawn, drawn / cells).sum(axis=1)
    # equal draws differ from the observed value by rounding only
    exceed = int((simulated >= statistic - 1e-9).sum())
    p_value = (1 + exceed) / (1 + simulations) if any(test.df for test in tests) else 1.0
    return HypothesisResult(p_value, statistic, method, "two-sided")


def total_variation(first: ArrayLike, second: ArrayLike) -> float:
    """Half the L1 distance of two probability vectors."""
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).sum() / 2)


def total_variation_upper(counts: ArrayLike, law: ArrayLike, alpha: float = 0.05) -> float:
    """Upper 1 - alpha bound of the distance between the sampler's law and p: the equivalence claim.

    TV(r, p) <= TV(emp, p) + E TV(emp, r) + sqrt(log(1/α)/(2N)), with the expectation at most
    sqrt(cells - 1)/(2·sqrt(N)) and the last term by McDiarmid's inequality. Holds for every N
    and every law; 1 without draws. Tokens may be pooled beforehand to shorten it.

    Examples:
        >>> round(total_variation_upper([5000, 5000], [0.5, 0.5]), 4)
        0.0172
    """
    x, p = np.asarray(counts, dtype=np.float64), np.asarray(law, dtype=np.float64)
    n = float(x.sum())
    if n == 0:
        return 1.0
    cells = int(((p > 0) | (x > 0)).sum())
    drift = math.sqrt(max(cells - 1, 0) / n) / 2
    chance = math.sqrt(math.log(1 / open_unit("alpha", alpha)) / (2 * n))
    return min(total_variation(x / n, p) + drift + chance, 1.0)


def _pool(x: FloatArray, expected: FloatArray, least: float) -> tuple[FloatArray, FloatArray]:
    """Put rare cells together; join the remainder to the rarest common cell if it stays rare."""
    common = expected >= least
    observed, pooled_expected = x[common], expected[common]
    rest_x, rest_e = float(x[~common].sum()), float(expected[~common].sum())
    if rest_e >= least or (rest_e > 0 and observed.size == 0):
        return np.append(observed, rest_x), np.append(pooled_expected, rest_e)
    if rest_e > 0:
        rarest = int(np.argmin(pooled_expected))
        observed, pooled_expected = observed.copy(), pooled_expected.copy()
        observed[rarest] += rest_x
        pooled_expected[rarest] += rest_e
    return observed, pooled_expected


def hamming_kernel(first: Tokens, second: Tokens) -> float:
    """Share of positions with equal tokens, the shorter answer padded; 1 for two empty ones.

    Examples:
        >>> hamming_kernel([1, 2, 3, 4], [1, 2, 9])
        0.5
    """
    longest = max(len(first), len(second))
    if longest == 0:
        return 1.0
    return sum(a == b for a, b in zip(first, second, strict=False)) / longest


@dataclass(frozen=True, slots=True)
class MmdResult:
    """Two-sample comparison of answers.

    Attributes:
        mmd2: Unbiased squared discrepancy, averaged over prompts; may be below 0.
        p_value: Permutation p-value, (1 + exceedances)/(1 + permutations); NaN without prompts.
        per_prompt: Squared discrepancy of each prompt, float64 [K].
        permutations: Permutations drawn.
    """

    mmd2: float
    p_value: float
    per_prompt: FloatArray
    permutations: int

    def upper(self, alpha: float = 0.05) -> float:
        """Upper 1 - alpha bound of the mean squared discrepancy over prompts like these.

        t limit over prompts, which are independent; NaN with fewer than two. The equivalence
        statement: "the discrepancy is below this".
        """
        k = self.per_prompt.size
        if k < 2:
            return math.nan
        spread = float(self.per_prompt.std(ddof=1)) / math.sqrt(k)
        return self.mmd2 + float(stdtrit(k - 1, 1 - open_unit("alpha", alpha))) * spread

    def equivalent(self, bound: float, alpha: float = 0.05) -> bool:
        """Whether the mean squared discrepancy is shown to be below `bound`; False if undefined.

        Equal answers in every draw leave no spread and then no t limit either: without spread
        the claim is left to byte identity.
        """
        if self.per_prompt.size < 2 or float(np.ptp(self.per_prompt)) == 0:
            return False
        return self.upper(alpha) < bound


def mmd_test(
    baseline: Sequence[Sequence[Tokens]],
    candidate: Sequence[Sequence[Tokens]],
    rng: np.random.Generator,
    *,
    kernel: Kernel = hamming_kernel,
    permutations: int = 999,
) -> MmdResult:
    """Compare answers drawn from two arms, prompt by prompt.

    Args:
        baseline: Answers of the baseline for each prompt, at least two a prompt, [K][M].
        candidate: Answers of the candidate for the same prompts, [K][M'].
        rng: Source of permutations.
        kernel: Similarity of two answers in [0, 1], 1 for equal ones.
        permutations: Relabellings within prompts.

    Raises:
        ValueError: When the prompts do not match or a prompt has fewer than two answers.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> same = [[[int(t) for t in rng.integers(2, size=8)] for _ in range(6)] for _ in range(9)]
        >>> other = [[[7] * 8 for _ in range(6)] for _ in range(9)]
        >>> mmd_test(same, other, rng, permutations=199).p_value
        0.005
    """
    if len(baseline) != len(candidate):
        raise ValueError("both arms must answer the same prompts")
    if any(len(a) < 2 for a in (*baseline, *candidate)):
        raise ValueError("every prompt needs at least two answers from each arm")
    if not baseline:
        return MmdResult(math.nan, math.nan, np.empty(0), 0)
    grams = [_gram([*a, *b], kernel) for a, b in zip(baseline, candidate, strict=True)]
    sizes = [(len(a), len(b)) for a, b in zip(baseline, candidate, strict=True)]
    per_prompt = np.array(
        [
            float(_mmd2(g, np.arange(sum(s))[None, :], s[0])[0])
            for g, s in zip(grams, sizes, strict=True)
        ]
    )
    total = np.zeros(permutations)
    for gram, (m, n) in zip(grams, sizes, strict=True):
        orders = rng.permuted(np.tile(np.arange(m + n), (permutations, 1)), axis=1)
        total += _mmd2(gram, orders, m)
    observed = float(per_prompt.mean())
    # relabelled ties differ from the observed value by rounding only
    exceed = int((total / len(grams) >= observed - 1e-12).sum())
    return MmdResult(observed, (1 + exceed) / (1 + permutations), per_prompt, permutations)


def _gram(answers: Sequence[Tokens], kernel: Kernel) -> FloatArray:
    k = len(answers)
    gram = np.eye(k)
    for i in range(k):
        for j in range(i):
            gram[i, j] = gram[j, i] = kernel(answers[i], answers[j])
    return gram


def _mmd2(
    gram: FloatArray, orders: np.ndarray[tuple[int, ...], np.dtype[np.int64]], m: int
) -> FloatArray:
    """Unbiased MMD² for each ordering; its first m answers are taken as the baseline's."""
    k = gram.shape[0]
    n = k - m
    first = np.zeros((orders.shape[0], k))
    np.put_along_axis(first, orders[:, :m], 1.0, axis=1)
    second = 1 - first
    off = gram - np.diag(np.diag(gram))
    xx = np.einsum("pi,pi->p", first @ off, first) / (m * (m - 1))
    yy = np.einsum("pi,pi->p", second @ off, second) / (n * (n - 1))
    xy = np.einsum("pi,pi->p", first @ gram, second) / (m * n)
    return np.asarray(xx + yy - 2 * xy)
