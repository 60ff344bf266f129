"""One arm judged against another: the baseline, or the arm that it repeats or varies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from draftproof.battery import Battery
from draftproof.records import (
    Cause,
    Comparison,
    Counts,
    Distribution,
    Identity,
    Pair,
    Role,
    Sensitivity,
    State,
)
from draftproof.rescoring.rescorer import Rescorer
from draftproof.runs.plan import Decision
from draftproof.screen.activation import activation
from draftproof.screen.arms import Arm, Compared, Conditions
from draftproof.screen.claims import Claim, settle
from draftproof.screen.evidence import all_evidence, strata_of
from draftproof.screen.forensics import explain
from draftproof.screen.pairing import Pairing, pair
from draftproof.screen.sampled import distribution
from draftproof.screen.sensitivity import inject_leaks, sensitivity
from draftproof.screen.sentences import comparison_sentence
from draftproof.screen.sequential import standing
from draftproof.screen.traces import known_cause
from draftproof.screen.validity import caveats, problems
from draftproof.stats import ForensicEvidence, clopper_pearson, screen_verdict
from draftproof.stats.evidence import PROFILES, Profile

_LISTED = 50
"""Divergences that a control or noise arm lists; a candidate lists all."""


def compare_arms(battery: Battery, baseline: Arm, arm: Arm, conditions: Conditions) -> Compared:
    """Judge one arm against another.

    Args:
        battery: The prompts and which tasks decide.
        baseline: The arm that it is compared with.
        arm: The judged arm.
        conditions: What all comparisons share.
    """
    rule, sampling = conditions.rule, conditions.temperature > 0
    joined = pair(battery.prompts, baseline.answers, arm.answers, conditions.label)
    proof = activation(arm.answers.values(), arm.counters)
    differing = [p for p in joined.pairs if not p.identical]
    unlike = _unlike(battery, joined, baseline, arm)
    tool = arm.rescorer() if _asks(arm, differing, rule, sampling) else None
    findings = [] if sampling else explain([*unlike, *differing], tool)
    causes = Counter(f.divergence.cause for f in findings)
    found, fault = None, known_cause(findings, joined, arm.replayer)
    if sampling:
        # an arm that changes answers on purpose has a law of its own
        law = None if arm.lossy else arm.law
        found, fault = distribution(joined, conditions.temperature, law, conditions.level)
    profile = _profile(rule, arm, sampling)
    own = rule.model_copy(update={"mode": "noninferiority"}) if arm.lossy else rule
    strata = strata_of(battery, joined)
    gated = [s for s in strata if s.task not in battery.ungated]
    wrong = problems(joined, proof, baseline, arm, rule)
    verdict = screen_verdict(
        [
            s.evidence(
                None if sampling else conditions.noise.get(s.task),
                calibrated=profile.effect_cutoff is not None,
            )
            for s in gated
        ],
        problems=[p.text for p in wrong],
        forensics=forensic_evidence(causes),
        assay=conditions.assay,
        lossless_claimed=not arm.lossy and not sampling,
        margin=rule.margin,
        alpha=rule.alpha,
        alpha_fail=rule.alpha_fail,
        mode=own.mode,
        profile=profile,
    )
    tasks = all_evidence(strata, verdict, rule, profile, conditions.noise)
    claim = Claim(
        verdict=verdict,
        problems=wrong,
        lossy=arm.lossy,
        strata=tuple(gated),
        standing=standing(gated, own, profile) if conditions.sequential else None,
        distribution=found,
        level=conditions.level,
    )
    state, reasons = settle(claim, rule)
    counts = _counts(joined, differing, causes, tasks)
    divergences = tuple(f.divergence for f in findings)
    comparison = Comparison(
        name=arm.name,
        role=arm.role,
        baseline=baseline.name,
        state=state,
        expected=state is (State.FAIL if arm.role is Role.CONTROL else State.PASS),
        sentence="",
        counts=counts,
        identity=identity_of(counts),
        activation=proof,
        tasks=tasks,
        reasons=(*wrong, *caveats(proof, arm), *reasons),
        divergences=divergences if arm.role is Role.CANDIDATE else divergences[:_LISTED],
        sensitivity=_caught(arm, joined, tasks, tool, differing, rule, found),
        known_cause=fault,
        distribution=found,
    )
    shown = comparison.sensitivity
    leak = shown.text if shown is not None and shown.token_rate is not None else None
    comparison = replace(comparison, smallest_leak=leak)
    return Compared(
        replace(comparison, sentence=comparison_sentence(comparison, lossy=arm.lossy)),
        frozenset(p.prompt.id for p in joined.pairs),
        frozenset(p.prompt.id for p in differing),
        frozenset(p.prompt.id for p in joined.pairs if p.flip),
        joined.pairs,
    )


def _asks(arm: Arm, differing: Sequence[Pair], rule: Decision, sampling: bool) -> bool:
    """Whether there is something to ask a model again."""
    injecting = arm.role is Role.CANDIDATE and not arm.lossy and rule.inject > 0
    return not sampling and bool(differing or injecting)


def _unlike(battery: Battery, joined: Pairing, baseline: Arm, arm: Arm) -> list[Pair]:
    """Return the answers to prompts that reached the arms in different form, if they differ."""
    unlike = set(joined.mismatched)
    pairs = [
        Pair(prompt=p, baseline=baseline.answers[p.id], candidate=arm.answers[p.id])
        for p in battery.prompts
        if p.id in unlike
    ]
    return [p for p in pairs if not p.identical]


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


def forensic_evidence(causes: Counter[Cause]) -> ForensicEvidence:
    """Return divergences by cause as the decision rule is shown them."""
    return ForensicEvidence(
        ties=causes[Cause.TIE],
        leaks=causes[Cause.LEAK],
        faults=causes[Cause.FAULT],
        truncations=causes[Cause.TRUNCATION],
        templates=causes[Cause.TEMPLATE],
        unexplained=causes[Cause.UNEXPLAINED] + causes[Cause.TOKENISATION],
    )


def _counts(
    joined: Pairing, differing: Sequence[Pair], causes: Counter[Cause], tasks: Sequence[Any]
) -> Counts:
    return Counts(
        n=len(joined.pairs),
        identical=len(joined.pairs) - len(differing),
        divergences={c.value: causes[c] for c in Cause if causes[c]},
        flips={"loss": sum(t.loss for t in tasks), "gain": sum(t.gain for t in tasks)},
        missing=len(joined.missing) + len(joined.mismatched),
        unscored=sum(t.unscored for t in tasks),
    )


def _caught(
    arm: Arm,
    joined: Pairing,
    tasks: Sequence[Any],
    tool: Rescorer | None,
    differing: Sequence[Pair],
    rule: Decision,
    found: Distribution | None,
) -> Sensitivity | None:
    """Return what would have been caught; answers that nobody explains count for nothing."""
    if arm.role is not Role.CANDIDATE or arm.lossy:
        return None
    explained = found is None and (tool is not None or not differing)
    injected = (0, 0)
    if tool is not None and rule.inject:
        injected = inject_leaks(joined.pairs, tool, rule.inject)
    return sensitivity(
        tasks,
        rule,
        tokens=sum(len(p.candidate.token_ids or ()) for p in joined.pairs) if explained else 0,
        answers=len(joined.pairs) if explained else 0,
        injected=injected,
    )


def identity_of(counts: Counts) -> Identity:
    """Return the byte identity of a comparison, with its exact bound."""
    divergent = counts.n - counts.identical
    if not counts.n:
        return Identity(n=0, identical=0, divergence_rate=None, divergence_upper=None)
    return Identity(
        n=counts.n,
        identical=counts.identical,
        divergence_rate=divergent / counts.n,
        divergence_upper=clopper_pearson(divergent, counts.n, 0.95, side="upper").high,
    )
