"""The verdict document of a whole screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from draftproof import __version__
from draftproof.battery import Battery
from draftproof.records import (
    SCHEMA_VERSION,
    ArmSummary,
    Comparison,
    Relation,
    Role,
    State,
    Verdict,
)
from draftproof.runs.plan import Decision
from draftproof.screen.arms import Arm, Conditions
from draftproof.screen.comparison import judge
from draftproof.screen.evidence import ArmEvidence, gather
from draftproof.screen.noise import broken, changed_between, noise_floor, relation, task_noise
from draftproof.screen.pairing import Labeller, asked_of, remember
from draftproof.screen.sampled import law_level
from draftproof.screen.sentences import (
    control_sentence,
    dates_sentence,
    level_sentence,
    verdict_sentence,
)
from draftproof.stats import AssayEvidence

EXIT_CODES = {
    State.PASS: 0,
    State.FAIL: 3,
    State.INVALID: 4,
    State.INCONCLUSIVE: 5,
}
_RANKS = {"L3": 3, "L2": 2, "L1": 1, "LS": 0, "L0": 0}
"""A PASS of an arm that changes answers on purpose says of labels what LS says."""
_BELOW = 5
"""Exit code of a PASS below the level that was required."""
_WORST_FIRST = (State.FAIL, State.INVALID, State.INCONCLUSIVE, State.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenContext:
    """What surrounds the arms: the record that a verdict carries along.

    Attributes:
        name: Name of the screen.
        summaries: The arms as they were run.
        environment: Machine and versions.
        plan: The plan as it was resolved.
        warnings: What the reader should know before believing the numbers.
        calibration: The scorers' errors as people's labels of a sample of this run showed them.
        labels: Who labels in place of the scorers that the prompts name.
        assay: Sensitivity of the plan where no control arm shows it, by the number of independent
            prompts of each deciding task.
        sequential: Asking ended by looking at the answers.
        temperature: Of every arm.
    """

    name: str
    summaries: Sequence[ArmSummary] = ()
    environment: Mapping[str, object] = field(default_factory=dict)
    plan: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[Mapping[str, object]] = ()
    assay: Callable[[Sequence[int]], AssayEvidence | None] = lambda _: None
    sequential: bool = False
    temperature: float = 0.0


def judge_arms(
    battery: Battery,
    baseline: Arm,
    others: Sequence[Arm],
    *,
    label: Labeller,
    rule: Decision,
    context: ScreenContext,
) -> Verdict:
    """Return the verdict on every arm, whose answers are held in memory.

    Controls, noise and variants come first: a control that does not fail, or an arm that fails
    against its own repeat, shows that the screen cannot see, and no candidate passes it then.
    """
    arms = {a.name: a for a in (baseline, *others)}
    conditions = Conditions(
        label=remember(label),
        rule=rule,
        ungated=battery.ungated,
        prompts=len(battery.prompts),
        sequential=context.sequential,
        temperature=context.temperature,
        level=law_level(rule.alpha_fail, sum(_keeps_the_law(a) for a in others)),
        calibration=context.calibration,
        clean=(baseline.name, *(a.name for a in others if _repeats_plainly(a, baseline.name))),
    )

    def evidence_of(arm: Arm) -> ArmEvidence:
        of = None if arm.role is Role.SHAPE else arm.of
        against = arms[of or baseline.name]
        shaped = tuple(
            a.name for a in others if a.role is Role.SHAPE and a.of in {None, arm.name, arm.of}
        )
        part = None
        if context.sequential:
            part = asked_of(battery, against.answers, arm.answers)
        return gather(part or battery, against, arm, replace(conditions, shaped=shaped))

    def of_role(role: Role) -> Iterator[ArmEvidence]:
        return (evidence_of(a) for a in others if a.role is role)

    repeats = list(of_role(Role.NOISE))
    noise = [judge(r, conditions) for r in (*repeats, *of_role(Role.SHAPE))]
    controls = [judge(c, conditions) for c in of_role(Role.CONTROL)]
    assay = _assay(controls, noise) if controls else None
    failed = [c for c in controls if c.state is State.FAIL]
    variants = list(of_role(Role.VARIANT))
    candidates = []
    for evidence in of_role(Role.CANDIDATE):
        name = evidence.arm.name
        own_repeats = [r for r in repeats if r.arm.of in {None, baseline.name, name}]
        beside_others = replace(
            conditions,
            # without a control only what was asked can show that a leak would have been seen
            assay=assay or context.assay(evidence.tally.independent(battery.ungated)),
            noise=task_noise(own_repeats),
            floor=noise_floor(evidence, own_repeats),
            broken=sum(broken(v) for v in variants if v.against.name == name),
            vouched_bytes=any(c.counts.identical < c.counts.n for c in failed),
            vouched_labels=frozenset(
                t.task for c in failed for t in c.tasks if t.state is State.FAIL
            ),
        )
        candidates.append(judge(evidence, beside_others))
    relations = [relation(v) for v in variants]
    if context.temperature == 0:
        relations += _between(others, candidates, evidence_of)
    return document(
        rule,
        context,
        baseline.name,
        _describe(battery),
        candidates=candidates,
        controls=controls,
        noise=noise,
        variants=[judge(v, conditions) for v in variants],
        relations=relations,
    )


def _between(
    others: Sequence[Arm],
    candidates: Sequence[Comparison],
    evidence_of: Callable[[Arm], ArmEvidence],
) -> list[Relation]:
    """Return the relations between candidates that differ in their draft or γ alone."""
    valid = {c.name for c in candidates if c.state is not State.INVALID}
    arms = [a for a in others if a.name in valid and not a.lossy]
    relations = []
    for first, second in combinations(arms, 2):
        changed = changed_between(first.declared, second.declared)
        if changed is not None:
            varied = replace(second, role=Role.VARIANT, of=first.name)
            relations.append(relation(evidence_of(varied), changed))
    return relations


def document(
    rule: Decision,
    context: ScreenContext,
    baseline: str,
    battery: Mapping[str, object],
    *,
    candidates: Sequence[Comparison],
    controls: Sequence[Comparison] = (),
    noise: Sequence[Comparison] = (),
    variants: Sequence[Comparison] = (),
    relations: Sequence[Relation] = (),
) -> Verdict:
    """Return the verdict document of comparisons that were made."""
    state = next(s for s in _WORST_FIRST if any(c.state is s for c in candidates))
    reached = _level(candidates) if state is State.PASS else None
    enough = reached is not None and _RANKS[reached] >= _RANKS[rule.require]
    sentences = [
        verdict_sentence(state, candidates, rule),
        level_sentence(reached, rule.require, enough=enough),
        dates_sentence(context.summaries),
        control_sentence(controls),
    ]
    return Verdict(
        schema_version=SCHEMA_VERSION,
        draftproof_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        name=context.name,
        state=state,
        expected=all(c.expected for c in (*candidates, *controls, *noise, *variants)),
        sentence=" ".join(s for s in sentences if s),
        exit_code=EXIT_CODES[state] if enough or state is not State.PASS else _BELOW,
        baseline=baseline,
        candidates=tuple(candidates),
        controls=tuple(controls),
        noise=tuple(noise),
        arms=tuple(context.summaries),
        battery=dict(battery),
        method={
            "profile": rule.profile,
            "margin": rule.margin,
            "alpha": rule.alpha,
            "alpha_fail": rule.alpha_fail,
            "mode": rule.mode,
            "require": rule.require,
            "family": "every gated task must pass (intersection-union); FAIL by Holm",
            **({"temperature": context.temperature} if context.temperature else {}),
            **({"stopping": "anytime-valid, looked at after every block"} if context.sequential
               else {}),
            **({"calibration": dict(context.calibration)} if context.calibration else {}),
            **({"labels": [dict(one) for one in context.labels]} if context.labels else {}),
        },
        environment=dict(context.environment),
        plan=dict(context.plan),
        warnings=(*context.warnings, *implied_margins(context.calibration, rule.margin)),
        variants=tuple(variants),
        relations=tuple(relations),
    )  # fmt: skip


def _level(candidates: Sequence[Comparison]) -> str | None:
    """Return the lowest level that a candidate reached, None where one has shown none."""
    shown = [c.promise.shown if c.promise is not None else None for c in candidates]
    levels = [level for level in shown if level is not None]
    return min(levels, key=lambda level: _RANKS[level]) if len(levels) == len(shown) else None


def implied_margins(calibration: Mapping[str, Any], margin: float) -> list[str]:
    """Return what the margin on labels means in truth, a sentence a calibrated scorer.

    A scorer that errs in both arms alike shrinks every true difference by the same factor, so a
    margin on labels is a wider one in truth; the factor was measured at the margin in the file.
    """
    out = []
    for scorer in calibration.get("scorers", ()):
        implied = scorer.get("implied_true_margin")
        if implied is None:
            out.append(f"{scorer['scorer']}: too few human labels to estimate its errors")
            continue
        truth = margin * implied / calibration["margin"]
        out.append(
            f"{scorer['scorer']} makes errors ({scorer['n']} answers labelled by people): ±"
            f"{100 * margin:.1f} points of its labels are ±{100 * truth:.1f} points in truth"
        )
    return out


def _repeats_plainly(arm: Arm, baseline: str) -> bool:
    return arm.role is Role.NOISE and arm.of in {None, baseline}


def _keeps_the_law(arm: Arm) -> bool:
    return arm.role in {Role.CANDIDATE, Role.NOISE} and not arm.lossy


def _assay(controls: Sequence[Comparison], noise: Sequence[Comparison]) -> AssayEvidence:
    caught = sum(1 for c in controls if c.state is State.FAIL)
    return AssayEvidence(
        detection=caught / len(controls),
        noise_failed=any(c.state is State.FAIL for c in noise),
        required=1.0,
    )


def _describe(battery: Battery) -> dict[str, object]:
    return {
        "name": battery.name,
        "source": battery.source,
        "version": battery.version,
        "licence": battery.licence,
        "digest": battery.digest,
        "prompts": len(battery.prompts),
        "withheld": battery.withheld,
        "skipped": battery.skipped,
        "tasks": {
            task: {
                "n": sum(1 for p in battery.prompts if p.task == task),
                "gated": task not in battery.ungated,
            }
            for task in battery.tasks
        },
    }
