"""What a plan costs before it runs, and what it can resolve for that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as t_distribution

from draftproof.battery import Battery
from draftproof.records import Role
from draftproof.runs.plan import Decision, Plan
from draftproof.runs.speed import Speed
from draftproof.screen.counts.observed import ObservedFlips
from draftproof.screen.sensitivity import leak_detection
from draftproof.stats.chances import TaskDesign, screen_chances, sequential_chances
from draftproof.stats.sizes import POWER, detectable_loss, observed_rates, pass_power

_LEVEL = 0.95
_SEED = 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is taken for true before anything runs.

    Attributes:
        discordance: Share of prompts whose label differs by chance.
        observed: What answers that there are say of it, by task.
        scorer_error: Share of texts that the scorer mislabels, independently in each arm.
        power: Power that a detectable loss is shown with.
    """

    discordance: float = 0.01
    observed: Mapping[str, ObservedFlips] = field(default_factory=dict)
    scorer_error: float = 0.0
    power: float = POWER


@dataclass(frozen=True, slots=True)
class ArmPrice:
    """What one arm costs.

    Attributes:
        arm: Its name.
        answers: Answers that it is asked for, at most.
        most_tokens: Tokens if every answer is as long as it may be.
        tokens: Tokens that are expected; None without a measured speed.
        tokens_range: 95 % range of that expectation, from how much answers differ in length.
        seconds: Wall time that is expected, opening the models included.
        source: Where the speed was seen.
    """

    arm: str
    answers: int
    most_tokens: int
    tokens: float | None = None
    tokens_range: tuple[float, float] | None = None
    seconds: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class TaskPrice:
    """What one task asks and resolves.

    Attributes:
        task: Its name.
        gated: Whether it decides.
        prompts: Questions.
        independent: Clusters, or questions where none are variants of another.
        answers: Questions times arms.
        discordance: Share of labels that is taken to flip by chance.
        power: Chance of PASS if nothing was lost.
        error: Monte Carlo error of `power`, half a 95 % interval; 0 where it was enumerated.
        detectable_loss: Smallest loss that FAILs with the wanted power; None if none does.
    """

    task: str
    gated: bool
    prompts: int
    independent: int
    answers: int
    discordance: float
    power: float
    error: float
    detectable_loss: float | None


@dataclass(frozen=True, slots=True)
class Price:
    """A plan's price.

    Attributes:
        arms: Arm by arm.
        tasks: Task by task.
        sequential: Whether the plan may end earlier than this.
        blocked: Why no candidate can PASS by statistics, whatever they say; empty if one can.
        positions: Tokens of the candidate, and of the baseline and its repeats, at most.
    """

    arms: tuple[ArmPrice, ...]
    tasks: tuple[TaskPrice, ...]
    sequential: bool
    blocked: str
    positions: tuple[int, int]

    @property
    def answers(self) -> int:
        """Answers of all arms."""
        return sum(a.answers for a in self.arms)

    @property
    def pass_chance(self) -> float | None:
        """Chance that every gated task passes, if they differ by chance independently.

        None where no task is gated. Equal bytes pass whatever this chance is.
        """
        gated = [t.power for t in self.tasks if t.gated]
        if not gated:
            return None
        return 0.0 if self.blocked else math.prod(gated)

    @property
    def most_tokens(self) -> int:
        """Tokens of all arms if every answer is as long as it may be."""
        return sum(a.most_tokens for a in self.arms)

    @property
    def tokens(self) -> float | None:
        """Tokens expected of all arms; None unless all are known."""
        known = [a.tokens for a in self.arms if a.tokens is not None]
        return sum(known) if len(known) == len(self.arms) else None

    @property
    def seconds(self) -> float | None:
        """Wall time of all arms one after the other; None unless all are known."""
        known = [a.seconds for a in self.arms if a.seconds is not None]
        return sum(known) if len(known) == len(self.arms) else None


def price(
    plan: Plan,
    battery: Battery,
    speeds: Mapping[str, Speed] | None = None,
    *,
    assumed: Assumptions | None = None,
    margin: float | None = None,
) -> Price:
    """Price a plan.

    Args:
        plan: The plan.
        battery: Its prompts, as `Plan.load_battery` returns them.
        speeds: What is known of the arms' speed.
        assumed: What is taken for true of labels.
        margin: Another margin than the plan's.
    """
    known, assumed = speeds or {}, assumed or Assumptions()
    answers = len(battery.prompts)
    arms = tuple(
        _arm(arm.name, answers, answers * arm.max_new_tokens, known.get(arm.name))
        for arm in plan.arms
    )
    rule = plan.decision
    rule = rule if margin is None else rule.model_copy(update={"margin": margin})
    tasks = tuple(_task(battery, task, plan, rule, assumed) for task in battery.tasks)
    plain = {Role.BASELINE, Role.NOISE}
    return Price(
        arms,
        tasks,
        sequential=plan.stop is not None,
        blocked=_blocked(plan, [t.independent for t in tasks if t.gated], rule),
        positions=(
            max(answers * a.max_new_tokens for a in plan.arms),
            sum(answers * a.max_new_tokens for a in plan.arms if a.role in plain),
        ),
    )


def _blocked(plan: Plan, sizes: list[int], rule: Decision) -> str:
    """Return what stands between every candidate and a PASS by statistics."""
    if any(a.role is Role.CONTROL for a in plan.arms):
        return ""
    seen = leak_detection(sizes, rule)
    if seen is None or seen.detection >= seen.required:
        return ""
    return (
        f"no control arm, and a leak of 5 points would FAIL with power {seen.detection:.2f} only "
        f"({seen.required:g} is required): only equal bytes can PASS"
    )


def _arm(name: str, answers: int, most: int, speed: Speed | None) -> ArmPrice:
    if speed is None:
        return ArmPrice(name, answers, most)
    seconds = speed.opening + speed.seconds / speed.answers * answers
    if not speed.tokens:
        return ArmPrice(name, answers, most, seconds=seconds, source=speed.source)
    mean, half = _mean(speed.tokens)
    low, high = max(0.0, mean - half) * answers, min(float(most), (mean + half) * answers)
    return ArmPrice(name, answers, most, mean * answers, (low, high), seconds, speed.source)


def _mean(values: tuple[int, ...]) -> tuple[float, float]:
    """Return the mean and half the width of its t interval; infinite for one value."""
    n = len(values)
    if n < 2:
        return float(values[0]), math.inf
    se = float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(np.mean(values)), float(t_distribution.ppf((1 + _LEVEL) / 2, n - 1)) * se


def _task(
    battery: Battery, task: str, plan: Plan, rule: Decision, assumed: Assumptions
) -> TaskPrice:
    prompts = [p for p in battery.prompts if p.task == task]
    # variants of one behaviour count once, and so do ids of one prompt
    independent = len({p.cluster or (p.messages, p.prefill) for p in prompts})
    seen = assumed.observed.get(task)
    psi = sum(
        observed_rates(0.0, seen.discordance if seen else assumed.discordance, assumed.scorer_error)
    )
    design = TaskDesign(
        units=independent,
        members=len(prompts) / independent,
        icc=seen.icc if seen else 0.0,
        lost=psi / 2,
        gained=psi / 2,
    )
    gated = [t for t in battery.tasks if t not in battery.ungated]
    loss = detectable_loss(
        independent, psi,
        power=assumed.power, margin=rule.margin, alpha=rule.alpha, mode=rule.mode,
        # the first step of Holm's correction: the task alone loses
        alpha_fail=rule.alpha_fail / max(len(gated), 1),
    )  # fmt: skip
    power, error = _power(design, plan, rule)
    return TaskPrice(
        task=task,
        gated=task not in battery.ungated,
        prompts=len(prompts),
        independent=independent,
        answers=len(prompts) * len(plan.arms),
        discordance=psi,
        power=power,
        error=error,
        detectable_loss=None if math.isnan(loss) else loss,
    )


def _power(design: TaskDesign, plan: Plan, rule: Decision) -> tuple[float, float]:
    """Return the chance that a task passes, and its Monte Carlo error."""
    candidates = [a for a in plan.arms if a.role is Role.CANDIDATE]
    unexplained = plan.rescore is None and any(not a.target for a in candidates)
    if plan.stop is not None:
        looked = sequential_chances(
            design, np.random.default_rng(_SEED), block=plan.stop.block,
            margin=rule.margin, alpha=rule.alpha, alpha_fail=rule.alpha_fail,
        )  # fmt: skip
        return looked.pass_, looked.error
    if design.enumerable:
        chance = pass_power(
            design.units, design.lost + design.gained,
            margin=rule.margin, alpha=rule.alpha, mode=rule.mode, unexplained=unexplained,
        )  # fmt: skip
        return chance, 0.0
    drawn = screen_chances(
        [design], np.random.default_rng(_SEED),
        margin=rule.margin, alpha=rule.alpha, alpha_fail=rule.alpha_fail, mode=rule.mode,
        unexplained=unexplained,
    )  # fmt: skip
    return drawn.pass_, drawn.error
