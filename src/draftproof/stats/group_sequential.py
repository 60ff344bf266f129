"""Group-sequential alternative: a few planned looks with an error budget, each look exact.

The budget is spent by a function of the information fraction (Lan & DeMets 1983, Biometrika
70:659-663) and every look uses the exact test at its own increment, so the type I error is at
most the sum of the increments whatever the nuisance parameter is. A union bound wastes a
little of the budget and needs no normal approximation of rare flips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from draftproof.records import State
from draftproof.stats.checks import FloatArray, IntArray, one_of, open_unit
from draftproof.stats.decisions import critical_value
from draftproof.stats.exact import TIE
from draftproof.stats.mcnemar import loss_p_values
from draftproof.stats.score import score_statistic
from draftproof.stats.sequential import monitor

_SPENDING = ("pocock", "obrien-fleming", "linear")


def spending(fractions: FloatArray, alpha: float, shape: str = "pocock") -> FloatArray:
    """Cumulative error spent at each information fraction.

    "pocock": α·log(1 + (e-1)t); "obrien-fleming": 2 - 2Φ(z_{α/2}/√t); "linear": α·t.

    Examples:
        >>> spending(np.array([0.5, 1.0]), 0.05).round(4).tolist()
        [0.031, 0.05]
    """
    t = np.asarray(fractions, dtype=np.float64)
    open_unit("alpha", alpha)
    if one_of("shape", shape, _SPENDING) == "pocock":
        return alpha * np.log1p((math.e - 1) * t)
    if shape == "linear":
        return alpha * t
    return np.asarray(2 - 2 * ndtr(-float(ndtri(alpha / 2)) / np.sqrt(t)))


@dataclass(frozen=True, slots=True)
class GroupSequentialPlan:
    """Planned looks.

    Attributes:
        looks: Pairs at each look, increasing.
        levels: Level of the equivalence test at each look; they sum to alpha.
        levels_fail: Level of the loss test at each look.
        critical: Critical score statistic at each look.
        margin: Margin.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    levels_fail: tuple[float, ...]
    critical: tuple[float, ...]
    margin: float

    def state(self, look: int, loss: int, gain: int) -> State:
        """State at look number `look` (from 0) with the counts so far."""
        code = int(self.states(look, np.array([loss]), np.array([gain]))[0])
        return {1: State.PASS, -1: State.FAIL, 0: State.INCONCLUSIVE}[code]

    def states(self, look: int, loss: IntArray, gain: IntArray) -> IntArray:
        """Vectorised `state`: 1 PASS, -1 FAIL, 0 go on."""
        n, limit = self.looks[look], self.critical[look] + TIE
        b, c = np.asarray(loss, dtype=np.float64), np.asarray(gain, dtype=np.float64)
        shown = (score_statistic(b, c, n, self.margin) <= limit) & (
            score_statistic(c, b, n, self.margin) <= limit
        )
        lost = loss_p_values(b, c) <= self.levels_fail[look]
        return np.where(shown, 1, np.where(lost, -1, 0))


def plan_looks(
    looks: list[int],
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    shape: str = "pocock",
) -> GroupSequentialPlan:
    """Distribute the error over the looks.

    Raises:
        ValueError: When the looks do not increase.

    Examples:
        >>> design = plan_looks([150, 300])
        >>> design.state(0, 0, 0), design.state(0, 1, 0)
        (<State.PASS: 'PASS'>, <State.INCONCLUSIVE: 'INCONCLUSIVE'>)
    """
    sizes = np.asarray(looks, dtype=np.int64)
    if sizes.size == 0 or sizes[0] < 1 or np.any(np.diff(sizes) <= 0):
        raise ValueError("looks must be positive and increase")
    fractions = sizes / sizes[-1]
    levels = np.diff(spending(fractions, alpha, shape), prepend=0.0)
    fails = np.diff(spending(fractions, alpha_fail, shape), prepend=0.0)
    critical = tuple(
        critical_value(int(n), margin, float(level)) for n, level in zip(sizes, levels, strict=True)
    )
    return GroupSequentialPlan(
        tuple(int(n) for n in sizes),
        tuple(levels.tolist()),
        tuple(fails.tolist()),
        critical,
        margin,
    )


@dataclass(frozen=True, slots=True)
class StoppingSummary:
    """What a stopping rule does at one truth.

    Attributes:
        pass_: P(PASS).
        fail: P(FAIL).
        mean_pairs: Mean pairs used.
        median_pairs: Median pairs used.
        draws: Simulated runs; 0 for an exact enumeration.
    """

    pass_: float
    fail: float
    mean_pairs: float
    median_pairs: float
    draws: int


def simulate_plan(
    plan: GroupSequentialPlan, p10: float, p01: float, rng: np.random.Generator, draws: int = 4000
) -> StoppingSummary:
    """Simulate the plan at a truth."""
    b = np.zeros(draws, dtype=np.int64)
    c = np.zeros(draws, dtype=np.int64)
    state = np.zeros(draws, dtype=np.int64)
    used = np.full(draws, plan.looks[-1])
    before = 0
    for look, n in enumerate(plan.looks):
        step = rng.multinomial(n - before, [p10, p01, max(1 - p10 - p01, 0.0)], size=draws)
        b, c, before = b + step[:, 0], c + step[:, 1], n
        found = np.where(state == 0, plan.states(look, b, c), 0)
        used = np.where(found != 0, n, used)
        state = np.where(found != 0, found, state)
    return _summary(state, used)


def simulate_monitor(
    p10: float,
    p01: float,
    n_max: int,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
) -> StoppingSummary:
    """Simulate the anytime-valid monitor, looking after every pair up to `n_max`."""
    state, used = np.zeros(draws, dtype=np.int64), np.zeros(draws, dtype=np.int64)
    code = {State.PASS: 1, State.FAIL: -1, State.INCONCLUSIVE: 0}
    for run in range(draws):
        u = rng.random(n_max)
        d = np.where(u < p10, 1, np.where(u < p10 + p01, -1, 0))
        stopped = monitor(d, margin=margin, alpha=alpha, alpha_fail=alpha_fail)
        state[run], used[run] = code[stopped.state], stopped.pairs
    return _summary(state, used)


def _summary(state: IntArray, used: IntArray) -> StoppingSummary:
    return StoppingSummary(
        float((state == 1).mean()),
        float((state == -1).mean()),
        float(used.mean()),
        float(np.median(used)),
        int(state.size),
    )
