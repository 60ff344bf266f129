"""The record of one arm against another, made once from its evidence."""

from __future__ import annotations

from draftproof.records import (
    ByteIdentity,
    Cause,
    Comparison,
    Counts,
    NoiseFloor,
    PromiseEvidence,
    Role,
    Sensitivity,
    State,
    TaskEvidence,
)
from draftproof.screen.activation import activation
from draftproof.screen.arms import Conditions
from draftproof.screen.channels import ComparedChannels, compared_channels
from draftproof.screen.decision import by_profile, decide
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.noise import broken
from draftproof.screen.sensitivity import STATISTICS_MOST, sensitivity
from draftproof.screen.sentences import comparison_sentence, stopping
from draftproof.screen.stack_noise.record import stack_noise
from draftproof.stats import clopper_pearson, flip_upper

_LISTED = 50
"""Divergences that a control or noise arm lists; a candidate lists all."""


def judge(evidence: ArmEvidence, conditions: Conditions) -> Comparison:
    """Judge one arm against another.

    Args:
        evidence: Counts and findings, however the pairs were read.
        conditions: Margin and levels, and what is known from other arms.
    """
    arm, findings, counts = evidence.arm, evidence.findings, evidence.counts
    channels = compared_channels(evidence)
    proof = activation(evidence.tally.arms[1], arm.counters)
    decided = decide(evidence, proof, conditions)
    candidate = arm.role is Role.CANDIDATE
    noticed = _sensitivity(evidence, decided.tasks, conditions)
    by_forensics = noticed is not None and noticed.token_rate is not None
    return Comparison(
        name=arm.name,
        role=arm.role,
        baseline=evidence.against.name,
        state=decided.state,
        expected=_expected(evidence, decided.state),
        sentence=comparison_sentence(evidence, counts, decided, channels),
        counts=counts,
        identity=_identity(counts, conditions.floor),
        activation=proof,
        tasks=decided.tasks,
        reasons=decided.reasons,
        divergences=findings.divergences if candidate else findings.divergences[:_LISTED],
        smallest_leak=noticed.text if noticed is not None and by_forensics else None,
        floor=_measured(conditions.floor),
        sensitivity=noticed,
        promise=_level(evidence, counts, decided.state, channels) if candidate else None,
        known_cause=findings.known_cause,
        untried=findings.untried,
        distribution=findings.distribution,
        stack_noise=(
            None
            if conditions.temperature > 0
            else stack_noise(findings.noise, exact=arm.exact and evidence.against.exact)
        ),
        stopping=(
            stopping(counts, decided.own_state, conditions.prompts)
            if candidate and conditions.sequential
            else None
        ),
        compared=channels.compared,
        not_compared=tuple(channels.gaps),
        channel_notes={c.value: why for c, why in channels.gaps.items()},
        profiles=by_profile(evidence, proof, conditions, decided),
    )


def _expected(evidence: ArmEvidence, state: State) -> bool:
    if evidence.arm.role is Role.CONTROL:
        return state is State.FAIL
    if evidence.arm.role is Role.VARIANT:
        # a variant is no claim about rates: it is as it should be if nothing broke
        return not broken(evidence)
    if evidence.arm.role is Role.SHAPE:
        return state not in {State.FAIL, State.INVALID}
    return state is State.PASS


def _measured(floor: NoiseFloor | None) -> NoiseFloor | None:
    """Return a floor under which anything was compared."""
    return floor if floor is not None and any(r.n for r in floor.repeats) else None


def _identity(counts: Counts, floor: NoiseFloor | None) -> ByteIdentity:
    """Return the byte identity of a comparison with its exact bound, beside the noise floor."""
    repeats = [r for r in floor.repeats if r.n] if floor is not None else []
    noise_n, noise_divergent = sum(r.n for r in repeats), sum(r.divergent for r in repeats)
    divergent = counts.n - counts.identical
    return ByteIdentity(
        n=counts.n,
        identical=counts.identical,
        divergence_rate=divergent / counts.n if counts.n else None,
        divergence_upper=_upper(divergent, counts.n),
        noise_n=noise_n if repeats else None,
        noise_divergent=noise_divergent if repeats else None,
        noise_upper=_upper(noise_divergent, noise_n),
    )


def _upper(divergent: int, n: int) -> float | None:
    return clopper_pearson(divergent, n, 0.95, side="upper").high if n else None


def _sensitivity(
    evidence: ArmEvidence, tasks: tuple[TaskEvidence, ...], conditions: Conditions
) -> Sensitivity | None:
    """Return what would have been caught; answers that nobody explains count for nothing."""
    if evidence.arm.role is not Role.CANDIDATE or evidence.arm.lossy:
        return None
    tally, findings = evidence.tally, evidence.findings
    return sensitivity(
        tasks if evidence.all_scored and tally.pairs < STATISTICS_MOST else (),
        conditions.rule,
        tokens=tally.tokens if findings.explained else 0,
        answers=tally.pairs if findings.explained else 0,
        injected=findings.injected,
    )


def _level(
    evidence: ArmEvidence, counts: Counts, state: State, channels: ComparedChannels
) -> PromiseEvidence:
    """Return how close the arm keeps to plain decoding, by the evidence of this run.

    L0 changes answers; L1 keeps the target's distribution while the random numbers differ; L2 is
    equal at temperature 0 up to rounding; L3 is equal bit for bit. LS is less than all but L0: the
    labels are equal and the causes of differences are unknown.
    """
    arm = evidence.arm
    if state is State.INVALID or not counts.n:
        level, text = None, "nothing was measured"
    elif arm.lossy:
        level, text = "L0", "changes answers on purpose; judged by its improvements and regressions"
    elif evidence.findings.distribution is not None:
        level, text = _in_law(state)
    else:
        level, text = _greedy(counts, state, channels)
    return PromiseEvidence(
        declared=arm.promise, shown=level, text=text, untested=tuple(arm.untested)
    )


def _in_law(state: State) -> tuple[str | None, str]:
    if state is State.FAIL:
        return "L0", "the answers do not follow the baseline's distribution"
    if state is State.PASS:
        return "L1", "no difference from the baseline's distribution was found"
    return None, "too few samples to decide"


def _greedy(counts: Counts, state: State, channels: ComparedChannels) -> tuple[str | None, str]:
    causes = counts.divergences
    wrong = causes.get(Cause.LEAK.value, 0) + causes.get(Cause.FAULT.value, 0)
    if wrong:
        return "L0", f"{wrong:,} answers contain a token that the target would not choose"
    moved = counts.n - counts.identical
    most = f"(at most {100 * flip_upper(moved, counts.n):.2g} % of answers differ, 95 %)"
    ties = causes.get(Cause.TIE.value, 0)
    where = f"in {channels.phrase}"
    if not moved:
        level, text = "L3", f"equal bit for bit {where} on all {counts.n:,} answers {most}"
    elif ties == moved:
        level = "L2"
        text = f"equal up to rounding {where}: all {moved:,} divergences are ties {most}"
    else:
        level, text = "LS", _labels_alone(counts, ties, most)
    if channels.withheld is not None and level != "LS":
        level, text = "LS", f"{text}, but {channels.withheld}"
    if level == "LS" and state is not State.PASS:
        return None, text
    return level, f"labels are equal within the margin; {text}" if level == "LS" else text


def _labels_alone(counts: Counts, ties: int, most: str) -> str:
    spelled = counts.divergences.get(Cause.SPELLING.value, 0)
    blind = counts.n - counts.identical - ties - spelled
    said = []
    if blind:
        said.append(f"the causes of {blind:,} differences are unknown {most}")
    if spelled:
        said.append(f"{spelled:,} answers differ in the spelling of tool calls alone")
    return "; ".join(said)
