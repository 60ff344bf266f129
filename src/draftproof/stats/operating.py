"""Operating characteristics of a decision, by enumeration: P(PASS), P(FAIL) at a true difference.

All tables (b, c) that carry probability under the trinomial (n; p10, p01) are listed and the
decision is taken for each of them; nothing is simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri, xlogy

from draftproof.stats.checks import BoolArray, FloatArray, closed_unit, count
from draftproof.stats.decisions import gate_decisions
from draftproof.stats.flips import flips_tolerated
from draftproof.stats.mcnemar import loss_p_values

Decision = Callable[[FloatArray, FloatArray, int], BoolArray]
_WINDOW = 8.5


@dataclass(frozen=True, slots=True)
class GateProbabilities:
    """Probabilities of the three states of one stratum at one truth."""

    pass_: float
    fail: float
    inconclusive: float


def outcome_weights(n: int, p10: float, p01: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """List the tables that carry probability.

    Args:
        n: Pairs.
        p10: Probability that a pair is lost.
        p01: Probability that a pair is gained.

    Returns:
        (losses, gains, weights), flat float64 arrays of one length; weights sum to 1 - 1e-12 or
        more.

    Raises:
        ValueError: When the probabilities exceed 1 together.
    """
    n = count("n", n)
    lost, gained = closed_unit("p10", p10), closed_unit("p01", p01)
    rest = 1 - lost - gained
    if rest < -1e-12:
        raise ValueError(f"p10 + p01 must be <= 1, got {lost + gained}")
    b = _window(n, lost)[:, None]
    c = _window(n, gained)[None, :]
    b, c = (grid.ravel() for grid in np.broadcast_arrays(b, c))
    possible = b + c <= n
    b, c = b[possible], c[possible]
    log_weight = (
        gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
        + xlogy(b, lost) + xlogy(c, gained) + xlogy(n - b - c, max(rest, 0.0))
    )  # fmt: skip
    return b, c, np.exp(log_weight)


def decision_probability(n: int, p10: float, p01: float, decision: Decision) -> float:
    """Probability that a vectorised predicate of losses, gains and n holds."""
    b, c, weight = outcome_weights(n, p10, p01)
    return float(weight[decision(b, c, n)].sum())


def gate_probabilities(
    n: int,
    p10: float,
    p01: float,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    gross_margin: float | None = None,
    mode: str = "equivalence",
    unexplained: bool = False,
) -> GateProbabilities:
    """Probabilities of PASS, FAIL and INCONCLUSIVE for one stratum with complete pairs.

    The whole rule of `gate` is enumerated: equivalence on both sides, the flip bound, and FAIL by
    a loss or by more change than is tolerated.

    Args:
        n: Pairs.
        p10: Probability of a loss.
        p01: Probability of a gain.
        margin: Equivalence margin.
        alpha: Level of the equivalence test.
        alpha_fail: Level of the tests that FAIL.
        gross_margin: Bound on the upper limit of the loss rate; None takes the margin, 1 omits it.
        mode: "equivalence" or "noninferiority".
        unexplained: PASS also asks that the upper limit of all flips is within the margin, as
            where no model finds why answers differ and no repeat shows what the noise is.

    Examples:
        >>> at_margin = gate_probabilities(100, 0.03, 0.0)
        >>> round(at_margin.pass_, 4), round(at_margin.fail, 4)
        (0.0476, 0.0808)
    """
    b, c, weight = outcome_weights(n, p10, p01)
    state = gate_decisions(
        b, c, n,
        margin=margin, alpha=alpha, alpha_fail=alpha_fail, gross_margin=gross_margin, mode=mode,
    )  # fmt: skip
    passed, failed = state > 0, state < 0
    if unexplained:
        passed &= b + c <= flips_tolerated(n, margin)
    p_pass, p_fail = float(weight[passed].sum()), float(weight[failed].sum())
    return GateProbabilities(p_pass, p_fail, max(float(weight.sum()) - p_pass - p_fail, 0.0))


def wald_tost(margin: float, alpha: float, *, zero_variance_passes: bool) -> Decision:
    """Wald TOST as published: |D| + z·SE < margin, with either reading of SE = 0."""
    z = -float(ndtri(alpha))

    def decision(b: FloatArray, c: FloatArray, n: int) -> BoolArray:
        se = np.sqrt(np.maximum(b + c - (b - c) ** 2 / n, 0.0)) / n
        return (np.abs(b - c) / n + z * se < margin) & (zero_variance_passes | (se > 0))

    return decision


def wald_tost_probability(
    n: int,
    p10: float,
    p01: float,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    zero_variance_passes: bool = True,
) -> float:
    """Probability that the Wald TOST declares equivalence.

    Examples:
        >>> round(wald_tost_probability(100, 0.03, 0.0), 3)  # a true loss exactly at the margin
        0.195
    """
    decision = wald_tost(margin, alpha, zero_variance_passes=zero_variance_passes)
    return decision_probability(n, p10, p01, decision)


def mcnemar_power(
    n: int, p10: float, p01: float, alpha: float = 0.025, alternative: str = "loss"
) -> float:
    """Power of the exact one-sided McNemar test (or of both sides at alpha/2 each).

    Examples:
        >>> round(mcnemar_power(100, 0.05, 0.0), 4)
        0.384
    """
    b, c, weight = outcome_weights(n, p10, p01)
    lost, gained = loss_p_values(b, c), loss_p_values(c, b)
    p = {"loss": lost, "gain": gained, "two-sided": 2 * np.minimum(lost, gained)}[alternative]
    return float(weight[p <= alpha].sum())


def _window(n: int, p: float) -> FloatArray:
    half = _WINDOW * np.sqrt(n * p * (1 - p)) + (20 if p > 0 else 0)
    first, last = max(int(n * p - half), 0), min(int(np.ceil(n * p + half)), n)
    return np.arange(first, last + 1, dtype=np.float64)
