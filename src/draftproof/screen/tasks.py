"""From the counts of a task and its decision to the record that a verdict shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from draftproof.records import LabelTruth, Reason, State, TaskEvidence
from draftproof.runs.plan import Decision
from draftproof.screen.tally import TaskTally
from draftproof.stats import GateResult, ScreenResult, Stratum, gate
from draftproof.stats.evidence import Profile


@dataclass(frozen=True, slots=True)
class TaskNoise:
    """What repeats did to one task.

    Attributes:
        divergent: Prompts of the noisiest repeat whose bytes differ.
        n: Prompts compared there.
        h_cutoff: |h| that flips at the repeats' own rate explain, where that is known.
        flips: Labels that differ there, either way.
    """

    divergent: int
    n: int
    h_cutoff: float | None = None
    flips: int = 0


def beside_noise(stratum: Stratum, noise: TaskNoise | None, *, calibrated: bool) -> Stratum:
    """Return a stratum with the task's noise floor, where arms were repeated.

    Args:
        stratum: The task's counts.
        noise: The floor.
        calibrated: Judge |h| by the floor's cutoff, for a profile that judges |h|.
    """
    if noise is None or stratum.bytes is None:
        return stratum
    identity = replace(stratum.bytes, noise_divergent=noise.divergent, noise_total=noise.n)
    return replace(stratum, bytes=identity, cutoff=noise.h_cutoff if calibrated else None)


def task_evidence(
    tasks: Mapping[str, TaskTally],
    strata: Mapping[str, Stratum],
    result: ScreenResult,
    rule: Decision,
    profile: Profile,
    noise: Mapping[str, TaskNoise],
    truths: Mapping[str, LabelTruth | None],
    *,
    unexplained: bool = False,
) -> tuple[TaskEvidence, ...]:
    """Return the records of all tasks; one that does not decide gets a decision for show.

    Args:
        tasks: The tasks, counted.
        strata: The counts that decide.
        result: The decisions of the gated tasks; of none for an INVALID comparison.
        rule: Margin and levels.
        profile: Which evidence is demanded.
        noise: Every task's noise floor, where arms were repeated.
        truths: What is known of the errors of every task's scorer.
        unexplained: Answers differ and nobody looked why, so that all flips are bounded.
    """
    gates = {gate_.name: gate_ for gate_ in result.strata}
    records = []
    for name, task in tasks.items():
        decision = gates.get(name) or _shown(strata[name], rule, profile)
        cutoff = noise[name].h_cutoff if name in noise else None
        record = _record(task, strata[name], decision, gated=name in gates, h_cutoff=cutoff)
        record = replace(record, truth=truths.get(name))
        records.append(_sized(record, decision, unexplained=unexplained))
    return tuple(records)


def _shown(stratum: Stratum, rule: Decision, profile: Profile) -> GateResult:
    return gate(
        stratum.loss,
        stratum.gain,
        stratum.n,
        missing=stratum.missing,
        torn=stratum.torn,
        margin=rule.margin,
        alpha=rule.alpha,
        alpha_fail=rule.alpha_fail,
        mode=rule.mode,
        profile=profile,
        cohen_h=stratum.cohen_h,
        name=stratum.name,
    )


def _record(
    task: TaskTally, stratum: Stratum, result: GateResult, *, gated: bool, h_cutoff: float | None
) -> TaskEvidence:
    table, interval, effect = task.table, result.interval, task.table.cohen_h()
    return TaskEvidence(
        task=stratum.name,
        construct=task.label.construct.value if task.label else "none",
        scorer=task.label.scorer if task.label else "none",
        gated=gated,
        n=task.n,
        missing=task.missing,
        unscored=task.unread + task.same_unread,
        both=task.both,
        loss=task.loss,
        gain=task.gain,
        neither=task.neither,
        identical=task.identical,
        divergent=task.divergent,
        clusters=stratum.clusters,
        effective_n=float(stratum.n) if stratum.clusters else None,
        baseline_rate=_number(table.baseline_rate),
        candidate_rate=_number(table.candidate_rate),
        difference=(task.loss - task.gain) / task.n if task.n else None,
        interval=(interval.low, interval.high) if interval.defined else None,
        p_equivalence=_number(result.p_equivalence),
        p_worst_case=_number(result.p_worst_case),
        p_loss=_number(result.p_loss),
        p_mcnemar=_number(table.mcnemar().p_value),
        h=_number(effect.h),
        h_se=_number(effect.se),
        flip_upper=_number(result.flip_upper),
        n_needed=None,
        state=result.state,
        reasons=result.reasons,
        h_cutoff=h_cutoff,
    )


def _sized(record: TaskEvidence, result: GateResult, *, unexplained: bool) -> TaskEvidence:
    """Return a record with the number of pairs that an undecided task needs, or why none does."""
    if result.state is not State.INCONCLUSIVE:
        return record
    needed = result.size_needed(unexplained=unexplained)
    unread = f", {result.missing} are missing or unread" if result.missing else ""
    have = f"{result.pairs.n} independent pairs{unread}"
    code, text = (
        "more-pairs-needed",
        (
            f"{have}; from {needed.n} on ±{result.margin:.0%} would resolve with 80 % power, if "
            "nothing is lost"
        ),
    )
    if needed.n is None:
        code, text = "no-size-known", f"{have}; how many would be enough is not known: {needed.why}"
    reason = Reason(code=code, state=result.state, text=text, task=result.name)
    return replace(record, n_needed=needed.n, reasons=(*record.reasons, reason))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
