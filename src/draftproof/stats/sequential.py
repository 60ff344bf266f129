"""Anytime-valid monitoring: stop as soon as the verdict is certain, at any time.

An e-process is a non-negative process whose expectation under the null hypothesis never
exceeds 1; by Ville's inequality it ever reaches 1/α with probability at most α, so looking
after every pair does not raise the error. Sources: Waudby-Smith & Ramdas (2024) JRSS B 86:1-27
(betting); Ramdas, Grünwald, Vovk & Shafer (2023) Statistical Science 38:576-601.

Prompts must arrive in random order within a stratum, else stopping is confounded with topic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaln, logsumexp, xlog1py

from draftproof.records import State
from draftproof.stats.checks import FloatArray, discordants, open_unit

_NODES = 200
_BLOCK = 64


def log_e_margin(
    loss: ArrayLike, gain: ArrayLike, n: ArrayLike, margin: float = 0.03
) -> FloatArray:
    """Log e-value against H0: difference >= margin, after n pairs.

    E = ∫ Π(1 + λ(margin - d)) over bets λ = v/(1 - margin), v ~ Beta(5, 1), with d = +1 for a
    loss and -1 for a gain. Only the counts enter. The bet stays below its maximum, where one
    loss would make E zero for good.

    Args:
        loss: Losses so far; arrays broadcast.
        gain: Gains so far.
        n: Pairs so far.
        margin: Margin under the null hypothesis, in (-1, 1).

    Examples:
        >>> round(float(log_e_margin(0, 0, 114)), 3), round(math.log(20), 3)
        (2.998, 2.996)
    """
    b, c, total = np.broadcast_arrays(
        np.asarray(loss, dtype=np.float64),
        np.asarray(gain, dtype=np.float64),
        np.asarray(n, dtype=np.float64),
    )
    bets, log_weights = _bets()
    bets = bets / (1 - margin)
    b, c, total = b[..., None], c[..., None], total[..., None]
    wealth = (
        xlog1py(b, bets * (margin - 1))
        + xlog1py(c, bets * (margin + 1))
        + xlog1py(total - b - c, bets * margin)
    )
    return np.asarray(logsumexp(wealth + log_weights, axis=-1))


def log_e_loss(loss: ArrayLike, gain: ArrayLike) -> FloatArray:
    """Log e-value against H0: losses are no more likely than gains.

    E = 2^(m+1)·∫ over θ in (1/2, 1) of θ^b(1-θ)^c, m = b + c: a uniform mixture of likelihood
    ratios over the alternatives.

    Examples:
        >>> round(math.exp(float(log_e_loss(7, 0))), 1)
        31.9
    """
    b, c = np.asarray(loss, dtype=np.float64), np.asarray(gain, dtype=np.float64)
    above_half = betainc(c + 1, b + 1, 0.5)
    return np.asarray((b + c + 1) * math.log(2) + betaln(b + 1, c + 1) + np.log(above_half))


@lru_cache(maxsize=1)
def _bets() -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and log weights of the Beta(5, 1) law."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    v = (nodes + 1) / 2
    return v, np.log(weights / 2 * 5 * v**4)


@dataclass(frozen=True, slots=True)
class SequentialState:
    """State of a monitored stratum after some pairs.

    Attributes:
        state: PASS or FAIL once certain, else INCONCLUSIVE (go on).
        e_loss_side: e-value against "the loss is at least the margin".
        e_gain_side: The same for gains.
        e_loss: e-value against "no loss".
        pairs: Pairs so far.
    """

    state: State
    e_loss_side: float
    e_gain_side: float
    e_loss: float
    pairs: int


def sequential_state(
    loss: int,
    gain: int,
    n: int,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    mode: str = "equivalence",
) -> SequentialState:
    """State after n pairs. PASS and FAIL hold whenever the counts are looked at.

    Examples:
        >>> sequential_state(0, 0, 114).state, sequential_state(0, 0, 113).state
        (<State.PASS: 'PASS'>, <State.INCONCLUSIVE: 'INCONCLUSIVE'>)
        >>> sequential_state(8, 0, 60).state
        <State.FAIL: 'FAIL'>
    """
    b, c, total = discordants(loss, gain, n)
    against_loss = float(log_e_margin(b, c, total, margin))
    # losses are no credit against gains: one loss more must never turn into a PASS
    against_gain = float(log_e_margin(c, 0, total, margin))
    lost = float(log_e_loss(b, c))
    equivalence = against_loss if mode == "noninferiority" else min(against_loss, against_gain)
    state = State.INCONCLUSIVE
    if equivalence >= -math.log(open_unit("alpha", alpha)):
        state = State.PASS
    elif lost >= -math.log(open_unit("alpha_fail", alpha_fail)):
        state = State.FAIL
    return SequentialState(
        state, math.exp(against_loss), math.exp(against_gain), math.exp(lost), total
    )


@dataclass(frozen=True, slots=True)
class StoppedRun:
    """Outcome of monitoring a stream.

    Attributes:
        state: PASS, FAIL, or INCONCLUSIVE when the stream ended first.
        pairs: Pairs used.
    """

    state: State
    pairs: int


def monitor(
    differences: ArrayLike,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    mode: str = "equivalence",
) -> StoppedRun:
    """Walk through a stream of pairs and stop at the first certain verdict.

    Args:
        differences: +1 loss, -1 gain, 0 equal, in the order seen, [N].
        margin: Margin.
        alpha: Level of PASS.
        alpha_fail: Level of FAIL.
        mode: "equivalence" or "noninferiority".

    Examples:
        >>> monitor([0] * 500)
        StoppedRun(state=<State.PASS: 'PASS'>, pairs=114)
    """
    d = np.asarray(differences, dtype=np.int64)
    b, c = np.cumsum(d == 1), np.cumsum(d == -1)
    n = np.arange(1, d.size + 1)
    for start in range(0, d.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        equivalence = log_e_margin(b[part], c[part], n[part], margin)
        if mode == "equivalence":
            equivalence = np.minimum(equivalence, log_e_margin(c[part], 0, n[part], margin))
        passed = equivalence >= -math.log(alpha)
        failed = log_e_loss(b[part], c[part]) >= -math.log(alpha_fail)
        stop = np.flatnonzero(passed | failed)
        if stop.size:
            first = int(stop[0])
            state = State.PASS if passed[first] else State.FAIL
            return StoppedRun(state, start + first + 1)
    return StoppedRun(State.INCONCLUSIVE, int(d.size))
