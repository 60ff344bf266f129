"""From the evidence of one arm to its state, the reasons for it, and the records of its tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from draftproof.records import Activation, Cause, Distribution, Reason, Role, State, TaskEvidence
from draftproof.runs.plan import Decision
from draftproof.screen.arms import Arm, Conditions
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.labels_only import nobody_looked, unexplained
from draftproof.screen.sequential import Standing, standing
from draftproof.screen.tasks import beside_noise, task_evidence
from draftproof.screen.validity import caveats, invalid_reasons, shortfalls
from draftproof.stats import Code, ForensicEvidence, Stratum, holm, mcnemar_test, screen_verdict
from draftproof.stats.evidence import PROFILES, Profile
from draftproof.stats.sequential import log_e_loss

_FORENSIC = frozenset({Code.FORENSIC_LEAK, Code.FORENSIC_FAULT})
_Ruling = tuple[State, tuple[Reason, ...]]


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision.

    Attributes:
        state: The arm's state.
        own_state: The same by the arm's own answers, before its variants are looked at.
        reasons: Why, most decisive first.
        tasks: The tasks with their decisions.
    """

    state: State
    own_state: State
    reasons: tuple[Reason, ...]
    tasks: tuple[TaskEvidence, ...]


def decide(evidence: ArmEvidence, proof: Activation, conditions: Conditions) -> Decided:
    """Return what the evidence of an arm amounts to.

    Args:
        evidence: Counts and findings.
        proof: Of speculation in the arm.
        conditions: Margin and levels, and what is known from other arms.
    """
    arm, findings, rule = evidence.arm, evidence.findings, conditions.rule
    sampling = conditions.temperature > 0
    profile = _profile(rule, arm, sampling)
    own_rule = rule.model_copy(update={"mode": "noninferiority"}) if arm.lossy else rule
    tasks = evidence.tally.in_order()
    strata = {name: task.stratum(name) for name, task in tasks.items()}
    gated = {name: s for name, s in strata.items() if name not in conditions.ungated}
    invalid = invalid_reasons(evidence, proof, conditions)
    result = screen_verdict(
        [
            beside_noise(
                stratum,
                None if sampling else conditions.noise.get(name),
                calibrated=profile.effect_cutoff is not None,
            )
            for name, stratum in gated.items()
        ],
        problems=[reason.text for reason in invalid],
        forensics=ForensicEvidence(
            ties=findings.causes[Cause.TIE],
            leaks=findings.causes[Cause.LEAK],
            faults=findings.causes[Cause.FAULT],
        ),
        assay=conditions.assay,
        lossless_claimed=not arm.lossy and not sampling,
        margin=rule.margin,
        alpha=rule.alpha,
        alpha_fail=rule.alpha_fail,
        mode=own_rule.mode,
        profile=profile,
    )
    blind = arm.role is Role.CANDIDATE and not arm.lossy and unexplained(findings.causes) > 0
    shown = task_evidence(
        tasks, strata, result, rule, profile, conditions.noise, unexplained=blind and not sampling
    )
    noted = (*invalid, *caveats(evidence, proof))
    state: State = result.state
    if state is State.INVALID:
        return Decided(State.INVALID, State.INVALID, noted, shown)
    reasons = tuple(
        r for r in result.reasons if r.task is None or r.code == Code.BYTES_BEYOND_NOISE
    )
    forensic = not arm.lossy and any(r.code in _FORENSIC for r in reasons)
    looked = None
    if conditions.sequential:
        looked = standing({name: tasks[name] for name in gated}, own_rule, profile)
    if looked is not None and not (forensic and state is State.FAIL):
        state, reasons = _sequential(looked, state, reasons, rule)
    if findings.distribution is not None and not arm.lossy:
        state, reasons = _in_law(findings.distribution, state, reasons, conditions.level)
    if arm.lossy and state is State.PASS:
        state, reasons = _superior(evidence, gated, rule, sequential=conditions.sequential)
    if state is not State.FAIL and (short := shortfalls(evidence, proof, conditions, gated)):
        # each of them alone stands between the evidence and a PASS
        kept = tuple(r for r in reasons if r.state is not State.PASS)
        state, reasons = State.INCONCLUSIVE, (*short, *kept)
    open_ = state is State.INCONCLUSIVE and arm.role is Role.CANDIDATE
    if open_ and not arm.lossy and not sampling and (way := nobody_looked(findings.causes)):
        reasons = (*reasons, way)
    reasons = (*noted, *reasons)
    if conditions.broken and not arm.lossy:
        return Decided(State.FAIL, state, (_relation_broken(conditions.broken), *reasons), shown)
    return Decided(state, state, reasons, shown)


def _profile(rule: Decision, arm: Arm, sampling: bool) -> Profile:
    profile = PROFILES[rule.profile]
    if arm.role is not Role.CANDIDATE:
        # noise and controls are the assay
        profile = replace(profile, needs_assay=False)
    if arm.lossy or sampling:
        # single answers may move: what is judged are rates, and bytes prove nothing
        profile = replace(
            profile, flip_bound=False, byte_channel=False, needs_byte_evidence=False,
            needs_assay=profile.needs_assay and not arm.lossy,
        )  # fmt: skip
    return profile


def _relation_broken(answers: int) -> Reason:
    text = f"{answers} answers change beyond rounding in a variant that should change none"
    return Reason(code="relation-broken", state=State.FAIL, text=text)


def _sequential(
    looked: Standing, state: State, reasons: tuple[Reason, ...], rule: Decision
) -> _Ruling:
    """Let certainty decide: a test of a fixed size means nothing at a size chosen by looking."""
    own = looked.reason(rule)
    if looked.state is State.FAIL:
        return State.FAIL, (own,)
    if looked.state is State.PASS and state is State.PASS:
        return State.PASS, (*reasons, own)
    if looked.state is State.PASS:
        # something else stands in the way of a PASS: no control, bytes beyond the floor
        blocked = state if state is not State.FAIL else State.INCONCLUSIVE
        return blocked, reasons
    return State.INCONCLUSIVE, (own,)


def _in_law(
    drawn: Distribution, state: State, reasons: tuple[Reason, ...], level: float
) -> _Ruling:
    broken = [
        Reason(code=code, state=State.FAIL, text=f"{what} (p = {p:.3g}, {level:.3g} decides)")
        for code, what, p in (
            ("law-broken", "sampled tokens do not follow the target's distribution", drawn.law_p),
            (
                "distribution-shifted",
                "answers do not follow the baseline's distribution",
                drawn.mmd_p,
            ),
        )
        if p is not None and p <= level
    ]
    if broken:
        return State.FAIL, (*broken, *reasons)
    if state is State.PASS and drawn.mmd_p is None:
        text = "no prompt was answered often enough to compare distributions"
        return State.INCONCLUSIVE, (
            Reason(code="law-untested", state=State.INCONCLUSIVE, text=text),
        )
    return state, reasons


def _superior(
    evidence: ArmEvidence, gated: Mapping[str, Stratum], rule: Decision, *, sequential: bool
) -> _Ruling:
    """Return PASS for an arm that gains in some task; it was shown to lose in none."""
    held = Reason(
        code="not-inferior",
        state=State.PASS,
        text=f"no gated task loses {rule.margin:.0%} or more",
    )
    p_values = []
    for stratum in gated.values():
        if not sequential:
            test = mcnemar_test(stratum.gain, stratum.loss, alternative="loss")
            p_values.append(test.p_value)
        else:
            # at a size chosen by looking only the reciprocal of an e-value is a p-value
            evidence_of_gain = float(log_e_loss(stratum.gain, stratum.loss))
            p_values.append(min(1.0, math.exp(-evidence_of_gain)))
    family: list[float] = holm(p_values).tolist() if p_values else []
    tasks = evidence.tally.tasks
    gained = [
        Reason(
            code="superior",
            state=State.PASS,
            text=(
                f"{tasks[name].gain:,} improvements against {tasks[name].loss:,} regressions "
                f"(p = {p:.3g})"
            ),
            task=name,
        )
        for name, p in zip(gated, family, strict=True)
        if p <= rule.alpha_fail
    ]
    if gained:
        return State.PASS, (held, *gained)
    text = "an arm that changes answers must improve a gated task, and no improvement was shown"
    missing = Reason(code="superiority-not-shown", state=State.INCONCLUSIVE, text=text)
    return State.INCONCLUSIVE, (missing, held)
