"""Where a sequential screen stands after each look: certain of PASS, certain of FAIL, or open.

Every statement rests on e-values (`stats.sequential`), so it holds however often one looked. A
cluster of variants is one unit of evidence, counted against each claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from draftproof.battery import Battery
from draftproof.records import Cause, Completion, Pair, Reason, Role, State
from draftproof.runs.blocks import Open
from draftproof.runs.plan import Decision, Plan
from draftproof.scoring import score
from draftproof.screen.arms import Arm
from draftproof.screen.counts.units import GAIN, LOSS, NO_PAIR, TORN, UNREAD
from draftproof.screen.deployment import lossy
from draftproof.screen.forensics import Explanation, explain
from draftproof.screen.pairing import Pairing, asked_of, pair, remember
from draftproof.screen.stack_noise.findings import noise_findings
from draftproof.screen.stack_noise.measure import measure
from draftproof.screen.stack_noise.ruling import rule_on
from draftproof.screen.tally import TaskTally, tally_pairs
from draftproof.stacks.spec import ArmSpec
from draftproof.stats.evidence import PROFILES, Profile
from draftproof.stats.sequential import log_e_loss, log_e_margin

Answers = Mapping[str, Mapping[str, Completion]]
_DECIDING = frozenset({Cause.LEAK, Cause.FAULT})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the gated tasks stand.

    Attributes:
        state: PASS, FAIL or INCONCLUSIVE (go on).
        passed: Tasks whose claim is certain.
        log_e_loss: Log e-value against "no task loses", averaged over the tasks.
    """

    state: State
    passed: frozenset[str]
    log_e_loss: float

    def reason(self, rule: Decision) -> Reason:
        """Return the standing as a reason."""
        if self.state is State.PASS:
            text = "equivalence was certain in every gated task when asking ended"
            return Reason(code="certain-pass", state=State.PASS, text=text)
        if self.state is State.FAIL:
            text = (
                f"a loss is certain: e-value {math.exp(min(self.log_e_loss, 60)):.3g}, "
                f"{1 / rule.alpha_fail:g} is required"
            )
            return Reason(code="certain-loss", state=State.FAIL, text=text)
        text = "the battery ended before a decision was certain in every gated task"
        return Reason(code="not-certain", state=State.INCONCLUSIVE, text=text)


def standing(tasks: Mapping[str, TaskTally], rule: Decision, profile: Profile) -> Standing:
    """Return where the gated tasks stand.

    PASS is an intersection-union claim: every task has to be certain at the full level. FAIL is
    held to its level over all tasks, because the mean of e-values is one.

    Args:
        tasks: The gated tasks, with every prompt that was asked so far.
        rule: Margin and levels.
        profile: Whether losses alone are bounded as well.
    """
    units = {name: _units(task) for name, task in tasks.items()}
    passed = frozenset(name for name, unit in units.items() if _certain(unit, rule, profile))
    losing = [
        float(log_e_loss(unit.lost_more, unit.gained_more)) if name not in passed else -math.inf
        for name, unit in units.items()
    ]
    mean = _log_mean(losing)
    if tasks and len(passed) == len(tasks):
        return Standing(State.PASS, passed, mean)
    state = State.FAIL if mean >= -math.log(rule.alpha_fail) else State.INCONCLUSIVE
    return Standing(state, passed, mean)


def _certain(units: _Units, rule: Decision, profile: Profile) -> bool:
    bar = -math.log(rule.alpha)
    # gains are no credit where losses alone are bounded
    credit = 0 if profile.flip_bound else units.all_gained
    if float(log_e_margin(units.any_lost, credit, units.n, rule.margin)) < bar:
        return False
    if rule.mode == "noninferiority":
        return True
    gains = log_e_margin(units.any_gained, 0, units.n, rule.margin)
    return float(gains) >= bar


@dataclass(frozen=True, slots=True)
class _Units:
    """Clusters, or single prompts, counted against each claim.

    What is missing or unread counts as lost and as gained.

    Attributes:
        n: Units.
        any_lost: Units of which a pair is lost, or may be.
        any_gained: Likewise gained.
        all_gained: Units of which every pair is gained.
        lost_more: Units that lost more than they gained.
        gained_more: The reverse.
    """

    n: int
    any_lost: int
    any_gained: int
    all_gained: int
    lost_more: int
    gained_more: int


def _units(task: TaskTally) -> _Units:
    keys, signs = task.units()
    paired = signs != NO_PAIR
    signs = signs[paired]
    distinct, unit = np.unique(keys[paired], return_inverse=True)

    def pairs(which: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(unit[which], minlength=distinct.size)

    size, unread = pairs(signs != NO_PAIR), pairs(signs == UNREAD) > 0
    lost = pairs((signs == LOSS) | (signs == TORN))
    gained = pairs(signs == GAIN)
    torn = pairs(signs == TORN)
    return _Units(
        n=distinct.size + task.missing,
        any_lost=int(np.sum((lost > 0) | unread)) + task.missing,
        any_gained=int(np.sum((gained + torn > 0) | unread)) + task.missing,
        all_gained=int(np.sum(gained == size)),
        lost_more=int(np.sum(lost > gained)),
        gained_more=int(np.sum(gained > lost)),
    )


def _log_mean(values: Sequence[float]) -> float:
    largest = max(values, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log(sum(math.exp(v - largest) for v in values) / len(values))


class Watch:
    """Keeps what was seen at earlier looks, so that a look costs what is new.

    Args:
        plan: The arms and the decision rule.
        battery: The prompts.
        arm_of: Makes an arm as it is judged of the answers there are.
    """

    def __init__(
        self,
        plan: Plan,
        battery: Battery,
        arm_of: Callable[[ArmSpec, Answers], Arm],
    ) -> None:
        self._plan, self._battery, self._arm_of = plan, battery, arm_of
        self._seen: dict[str, list[Explanation]] = {}
        self._label = remember(score)
        self._explained: dict[str, set[str]] = {}
        self._settled: set[str] = set()
        self._passed: dict[str, frozenset[str]] = {}
        self.looks = 0

    def look(self, answers: Answers) -> Open:
        """Return which arms go on, over which tasks."""
        self.looks += 1
        judged = [a for a in self._plan.arms if a.role in {Role.CANDIDATE, Role.CONTROL}]
        for spec in judged:
            if spec.name not in self._settled and self._certain(spec, answers):
                self._settled.add(spec.name)
        candidates = {a.name for a in judged if a.role is Role.CANDIDATE}
        going = candidates - self._settled
        if not going:
            return Open(frozenset(), frozenset())
        done = frozenset.intersection(*(self._passed.get(n, frozenset()) for n in going))
        arms = {
            a.name
            for a in self._plan.arms
            if a.name not in self._settled and (a.of is None or a.of not in self._settled)
        }
        return Open(frozenset(arms), frozenset(self._battery.tasks) - done)

    def _certain(self, spec: ArmSpec, answers: Answers) -> bool:
        """Whether nothing that is still unasked could change an arm's state."""
        baseline, candidate = answers[self._plan.baseline.name], answers[spec.name]
        battery = asked_of(self._battery, baseline, candidate)
        if battery is None:
            return False
        joined = pair(battery.prompts, baseline, candidate, self._label)
        if not lossy(self._plan, spec, None) and self._leaks(spec, joined, answers):
            return True
        stands = self._standing(spec, battery, joined)
        self._passed[spec.name] = stands.passed
        return stands.state is not State.INCONCLUSIVE

    def _standing(self, spec: ArmSpec, battery: Battery, joined: Pairing) -> Standing:
        rule = self._plan.decision
        if lossy(self._plan, spec, None):
            rule = rule.model_copy(update={"mode": "noninferiority"})
        tasks = tally_pairs(battery.prompts, joined).tasks
        gated = {name: task for name, task in tasks.items() if name not in battery.ungated}
        everywhere = set(self._battery.tasks) - self._battery.ungated
        stands = standing(gated, rule, PROFILES[rule.profile])
        if stands.state is State.PASS and len(gated) < len(everywhere):
            return replace(stands, state=State.INCONCLUSIVE)
        return stands

    def _leaks(self, spec: ArmSpec, joined: Pairing, answers: Answers) -> bool:
        """Whether a divergence that was not seen before FAILs the arm."""
        known = self._explained.setdefault(spec.name, set())
        new: list[Pair] = [p for p in joined.pairs if not p.identical and p.prompt.id not in known]
        if not new or not PROFILES[self._plan.decision.profile].forensics_decide:
            return False
        known.update(p.prompt.id for p in new)
        arm = self._arm_of(spec, answers)
        exact = arm.exact and self._arm_of(self._plan.baseline, answers).exact
        if exact:
            explanations = explain(new, arm.rescorer(), 0.0)
            return any(e.divergence.cause in _DECIDING for e in explanations)
        if arm.stack is None or arm.stack.problem is not None:
            return False
        clean = [a.name for a in self._plan.arms if a.plain_decoding]
        measured = measure(arm.stack, arm.name, clean, tests=False)
        explanations = explain(new, arm.rescorer(), None if measured is None else measured.margin)
        self._seen.setdefault(spec.name, []).extend(explanations)
        noise = noise_findings(arm.stack, measured, self._seen[spec.name])
        return rule_on(noise, identical=False).failed
