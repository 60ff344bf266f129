"""From the evidence of one arm to its state, the reasons for it, and the records of its tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from draftproof.records import (
    Activation,
    Cause,
    Distribution,
    ProfileRuling,
    Reason,
    Role,
    State,
    TaskEvidence,
)
from draftproof.runs.plan import Decision
from draftproof.screen.arms import Arm, Conditions
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.labels_only import nobody_looked, task_truth, unexplained
from draftproof.screen.sequential import Standing, standing
from draftproof.screen.stack_noise.ruling import NoiseRuling
from draftproof.screen.tasks import beside_noise, task_evidence
from draftproof.screen.validity import (
    caveats,
    invalid_reasons,
    noise_ruling,
    open_reasons,
    shortfalls,
)
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


def by_profile(
    evidence: ArmEvidence, proof: Activation, conditions: Conditions, own: Decided
) -> tuple[ProfileRuling, ...]:
    """Return what every profile says of a candidate whose answers must not change.

    Args:
        evidence: Counts and findings.
        proof: Of speculation in the arm.
        conditions: Margin and levels, and what is known from other arms.
        own: What the profile of the rule decides.
    """
    arm = evidence.arm
    one_size = conditions.temperature == 0 and not conditions.sequential
    if arm.role is not Role.CANDIDATE or arm.lossy or not one_size:
        return ()
    rulings = []
    for name in PROFILES:
        decided = own
        if name != conditions.rule.profile:
            rule = conditions.rule.model_copy(update={"profile": name})
            decided = decide(evidence, proof, replace(conditions, rule=rule))
        reasons = [*decided.reasons, *(r for task in decided.tasks for r in task.reasons)]
        # that a task is open is no reason: the task's own says why
        why = [r.text for r in reasons if r.state is decided.state and r.code != Code.STRATUM_OPEN]
        rulings.append(ProfileRuling(name, decided.state, why[0] if why else ""))
    return tuple(rulings)


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
    strata = {
        name: task.stratum(name, as_printed=profile.as_printed) for name, task in tasks.items()
    }
    gated = {name: s for name, s in strata.items() if name not in conditions.ungated}
    ruling = noise_ruling(evidence, profile)
    invalid = invalid_reasons(evidence, proof, conditions, ruling)
    result = screen_verdict(
        [
            beside_noise(
                stratum,
                None if sampling else conditions.noise.get(name),
                calibrated=profile.effect_cutoff is not None and not profile.as_printed,
            )
            for name, stratum in gated.items()
        ],
        problems=[reason.text for reason in invalid],
        forensics=_forensics(evidence, ruling),
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
        tasks,
        strata,
        result,
        rule,
        profile,
        conditions.noise,
        {name: task_truth(task, conditions) for name, task in tasks.items()},
        unexplained=blind and not sampling,
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
    if ruling.fails:
        state, reasons = State.FAIL, (*ruling.fails, *reasons)
    short = (*open_reasons(ruling), *shortfalls(evidence, proof, conditions, gated))
    if state is not State.FAIL and not profile.as_printed and short:
        # each of them alone stands between the evidence and a PASS
        kept = tuple(r for r in reasons if r.state is not State.PASS)
        state, reasons = State.INCONCLUSIVE, (*short, *kept)
    open_ = state is State.INCONCLUSIVE and arm.role is Role.CANDIDATE
    if open_ and not arm.lossy and not sampling and (way := nobody_looked(findings.causes)):
        reasons = (*reasons, way)
    reasons = (*noted, *_shape_noise(evidence, conditions), *reasons)
    if conditions.broken and not arm.lossy:
        return Decided(State.FAIL, state, (_relation_broken(conditions.broken), *reasons), shown)
    return Decided(state, state, reasons, shown)


def _shape_noise(evidence: ArmEvidence, conditions: Conditions) -> tuple[Reason, ...]:
    """Say where ties come from that no repeat of the baseline shows."""
    noise, counts = evidence.findings.noise, evidence.counts
    if noise is None or noise.measured is None or evidence.arm.role is not Role.CANDIDATE:
        return ()
    differing, ties = counts.n - counts.identical, evidence.findings.causes[Cause.TIE]
    repeated = sum(task.divergent for task in conditions.noise.values())
    if not ties or ties < differing or differing <= repeated:
        return ()
    text = (
        "speculation changes the shape of the computation, which no repeat of the baseline does; "
        f"{differing:,} answers differ by rounding of this stack (σ {noise.measured.fit.sigma:.2g} "
        "nats)"
    )
    return (Reason(code="rounding-of-shapes", state=State.PASS, text=text),)


def _forensics(evidence: ArmEvidence, ruling: NoiseRuling) -> ForensicEvidence:
    """Return the tokens that FAIL an arm: those named beyond its stack's rounding, where known."""
    causes = evidence.findings.causes
    if evidence.findings.noise is None:
        leaks, faults = causes[Cause.LEAK], causes[Cause.FAULT]
    else:
        leaks, faults = ruling.leaks, ruling.faults
    return ForensicEvidence(ties=causes[Cause.TIE], leaks=leaks, faults=faults)


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
