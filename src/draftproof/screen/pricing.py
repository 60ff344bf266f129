"""What a plan costs before it runs, and what it can resolve for that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as t_distribution

from draftproof.battery import Battery
from draftproof.runs.plan import Plan
from draftproof.runs.speed import Speed
from draftproof.stats.planning import (
    equivalence_power,
    minimum_detectable_loss,
    observed_rates,
)

_LEVEL = 0.95


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
        power: Chance of PASS if nothing was lost.
        detectable_loss: Smallest loss that is shown with the wanted power; None if none is.
    """

    task: str
    gated: bool
    prompts: int
    independent: int
    answers: int
    power: float
    detectable_loss: float | None


@dataclass(frozen=True, slots=True)
class Price:
    """A plan's price.

    Attributes:
        arms: Arm by arm.
        tasks: Task by task.
        sequential: Whether the plan may end earlier than this.
    """

    arms: tuple[ArmPrice, ...]
    tasks: tuple[TaskPrice, ...]
    sequential: bool

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
        return math.prod(gated) if gated else None

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
    discordance: float = 0.01,
    scorer_error: float = 0.0,
    power: float = 0.80,
    margin: float | None = None,
) -> Price:
    """Price a plan.

    Args:
        plan: The plan.
        battery: Its prompts, as `Plan.load_battery` returns them.
        speeds: What is known of the arms' speed.
        discordance: Share of prompts whose label differs by chance.
        scorer_error: Share of texts that the scorer mislabels.
        power: Power that a detectable loss is shown with.
        margin: Another margin than the plan's.
    """
    known = speeds or {}
    answers = len(battery.prompts)
    arms = tuple(
        _arm(arm.name, answers, answers * arm.max_new_tokens, known.get(arm.name))
        for arm in plan.arms
    )
    limit = plan.decision.margin if margin is None else margin
    tasks = tuple(
        _task(
            battery,
            task,
            len(plan.arms),
            limit,
            plan.decision.alpha,
            discordance,
            scorer_error,
            power,
        )
        for task in battery.tasks
    )
    return Price(arms, tasks, sequential=plan.stop is not None)


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
    battery: Battery,
    task: str,
    arms: int,
    margin: float,
    alpha: float,
    discordance: float,
    scorer_error: float,
    power: float,
) -> TaskPrice:
    prompts = [p for p in battery.prompts if p.task == task]
    # variants of one behaviour count once, and so do ids of one prompt
    independent = len({p.cluster or (p.messages, p.prefill) for p in prompts})
    chance = equivalence_power(
        independent, discordance, scorer_error=scorer_error, margin=margin, alpha=alpha
    )
    loss = minimum_detectable_loss(
        independent, sum(observed_rates(0.0, discordance, scorer_error)), power=power
    )
    return TaskPrice(
        task=task,
        gated=task not in battery.ungated,
        prompts=len(prompts),
        independent=independent,
        answers=len(prompts) * arms,
        power=float(chance),
        detectable_loss=None if math.isnan(loss) else loss,
    )
