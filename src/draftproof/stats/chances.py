"""Chances of the whole rule over several tasks, clusters or looks, by simulation.

One task of independent pairs is enumerated (`operating`). A family of tasks FAILs by Holm,
clusters count by the shares of their pairs, and a sequential screen stops where it looks: these
are drawn, with the Monte Carlo error beside the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from draftproof.stats.checks import BoolArray, FloatArray, IntArray
from draftproof.stats.decisions import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    change_p_values,
    pass_decisions,
)
from draftproof.stats.mcnemar import loss_p_values
from draftproof.stats.sequential import log_e_loss, log_e_margin

RUNS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDesign:
    """One task as it will be asked, and what is assumed of it.

    Attributes:
        units: Independent prompts: clusters, or prompts without them.
        members: Prompts of a cluster, on average.
        icc: Correlation of the outcomes within a cluster, in [0, 1).
        lost: Probability that a pair is lost.
        gained: Probability that a pair is gained.
    """

    units: int
    members: float = 1.0
    icc: float = 0.0
    lost: float = 0.0
    gained: float = 0.0

    @property
    def enumerable(self) -> bool:
        """Whether the task is one stratum of independent pairs, so that nothing is simulated."""
        return self.members <= 1

    def draw(self, runs: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw the losses and gains that the rule counts, int64 ``[runs]`` each."""
        rest = 1 - self.lost - self.gained
        if self.members <= 1:
            counts = rng.multinomial(self.units, [self.lost, self.gained, rest], size=runs)
            return counts[:, 0], counts[:, 1]
        total = round(self.units * self.members)
        sizes = np.full(self.units, total // self.units)
        sizes[: total % self.units] += 1
        flips = rng.multinomial(sizes, self._shares(runs, rest, rng))
        # as `whole_clusters` counts them: shares of each cluster, rounded up, losses first
        shares = (flips[..., :2] / sizes[:, None]).sum(axis=1)
        rounded = np.ceil(shares - 1e-9).astype(np.int64)
        loss = np.minimum(rounded[:, 0], self.units)
        return loss, np.minimum(rounded[:, 1], self.units - loss)

    def _shares(self, runs: int, rest: float, rng: np.random.Generator) -> FloatArray:
        """Draw each cluster's own probabilities, Dirichlet, ``[runs, units, 3]``."""
        means = np.array([self.lost, self.gained, rest])
        if self.icc == 0:
            return np.broadcast_to(means, (runs, self.units, 3))
        drawn = rng.standard_gamma(means * (1 - self.icc) / self.icc, (runs, self.units, 3))
        total = drawn.sum(axis=-1, keepdims=True)
        # where all three are too small for a float one of them is all but certain
        certain = np.eye(3)[rng.choice(3, size=(runs, self.units), p=means)]
        return np.where(total > 0, drawn / np.where(total > 0, total, 1.0), certain)


@dataclass(frozen=True, slots=True)
class Chances:
    """Chances of the states of a whole screen.

    Attributes:
        pass_: Share of the runs that PASS.
        fail: Share that FAIL.
        runs: Runs that were simulated.
    """

    pass_: float
    fail: float
    runs: int

    @property
    def error(self) -> float:
        """Half the width of the 95 % interval of `pass_`, at its widest for so many runs."""
        return 1.96 * math.sqrt(0.25 / self.runs)


def screen_chances(
    tasks: Sequence[TaskDesign],
    rng: np.random.Generator,
    *,
    runs: int = RUNS,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    mode: str = "equivalence",
    unexplained: bool = False,
) -> Chances:
    """Simulate the rule over a family of tasks: all must PASS, FAIL is held to Holm's correction.

    Args:
        tasks: The gated tasks.
        rng: Generator of the draws.
        runs: Runs.
        margin: Equivalence margin.
        alpha: Level of the equivalence tests.
        alpha_fail: Family level of the tests that FAIL.
        mode: "equivalence" or "noninferiority".
        unexplained: PASS also bounds all flips of every task.
    """
    counts = [task.draw(runs, rng) for task in tasks]
    states = family_decisions(
        counts, [task.units for task in tasks],
        margin=margin, alpha=alpha, alpha_fail=alpha_fail, mode=mode, unexplained=unexplained,
    )  # fmt: skip
    return Chances(float(np.mean(states == PASS)), float(np.mean(states == FAIL)), runs)


def family_decisions(
    counts: Sequence[tuple[IntArray, IntArray]],
    units: Sequence[int],
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    mode: str = "equivalence",
    unexplained: bool = False,
) -> IntArray:
    """States of many screens: 1 PASS, -1 FAIL, 0 neither, as `screen_verdict` decides each.

    Args:
        counts: Losses and gains of every task, int64 ``[runs]`` each.
        units: Pairs of every task.
        margin: Equivalence margin.
        alpha: Level of the equivalence tests.
        alpha_fail: Family level of the tests that FAIL.
        mode: "equivalence" or "noninferiority".
        unexplained: PASS also bounds all flips of every task.
    """
    rule: dict[str, Any] = {"margin": margin, "alpha": alpha, "mode": mode}
    tables = list(zip(counts, units, strict=True))
    passed = np.stack([pass_decisions(b, c, n, **rule) for (b, c), n in tables], axis=1)
    sound = [pass_decisions(b, c, n, **rule, unexplained=unexplained) for (b, c), n in tables]
    ways = (
        [loss_p_values(b.astype(float), c.astype(float)) for (b, c), _ in tables],
        [change_p_values(b, c, n, margin, mode) for (b, c), n in tables],
    )
    failed = np.zeros(passed.shape[0], dtype=bool)
    for family in ways:
        shown = _holm(np.stack(family, axis=1)) <= alpha_fail
        failed |= (shown & ~passed).any(axis=1)
    return np.where(failed, FAIL, np.where(np.all(sound, axis=0), PASS, INCONCLUSIVE))


def _holm(p: FloatArray) -> FloatArray:
    """Return Holm's adjusted p-values row by row, ``[runs, tasks]``."""
    order = np.argsort(p, axis=1)
    weights = np.arange(p.shape[1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=1) * weights, axis=1)
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.minimum(stepped, 1.0), axis=1)
    return out


@dataclass(frozen=True, slots=True)
class SequentialChances(Chances):
    """Chances of a task that is looked at while it is asked.

    Attributes:
        pairs: Pairs asked on average.
    """

    pairs: float


def sequential_chances(
    task: TaskDesign,
    rng: np.random.Generator,
    *,
    block: int = 16,
    runs: int = RUNS,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
) -> SequentialChances:
    """Simulate a task of a sequential screen: it ends at certainty, or with the prompts.

    Losses get no credit from gains, as the screen counts them, and a PASS also needs the rule for
    a fixed size at the size where asking ended.

    Args:
        task: The task; clusters are single units here.
        rng: Generator of the draws.
        block: Pairs between two looks.
        runs: Runs.
        margin: Equivalence margin.
        alpha: Level of PASS.
        alpha_fail: Level of FAIL.
    """
    p = [task.lost, task.gained, 1 - task.lost - task.gained]
    states, ends = np.zeros(runs, dtype=np.int64), np.full(runs, task.units)
    b, c = np.zeros(runs, dtype=np.int64), np.zeros(runs, dtype=np.int64)
    for n in (*range(block, task.units, block), task.units):
        drawn = rng.multinomial(n - (n - 1) // block * block, p, size=runs)
        b, c = b + drawn[:, 0], c + drawn[:, 1]
        passed, failed = _looked(b, c, n, margin, alpha, alpha_fail)
        fixed = pass_decisions(b, c, n, margin=margin, alpha=alpha)
        open_ = states == 0
        ends[open_ & (passed | failed)] = n
        # certain, but not by the rule for a fixed size: nothing is asked any more
        states[open_ & passed] = np.where(fixed[open_ & passed], 1, 2)
        states[open_ & ~passed & failed] = -1
    return SequentialChances(
        float(np.mean(states == 1)), float(np.mean(states == -1)), runs, float(ends.mean())
    )


def _looked(
    b: IntArray, c: IntArray, n: int, margin: float, alpha: float, alpha_fail: float
) -> tuple[BoolArray, BoolArray]:
    """Return where PASS and FAIL are certain after n pairs."""
    pairs, place = np.unique(np.stack([b, c], axis=1), axis=0, return_inverse=True)
    lost, gained = pairs[:, 0], pairs[:, 1]
    certain = np.minimum(
        log_e_margin(lost, 0, n, margin), log_e_margin(gained, 0, n, margin)
    ) >= -math.log(alpha)
    losing = log_e_loss(lost, gained) >= -math.log(alpha_fail)
    return certain[place.ravel()], losing[place.ravel()]
