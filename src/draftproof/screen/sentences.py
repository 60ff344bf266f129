"""The verdict in words."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.records import (
    ArmSummary,
    Cause,
    Channel,
    Comparison,
    Counts,
    KnownCause,
    Role,
    State,
    Stopping,
    channel_words,
)
from draftproof.runs.dates import when
from draftproof.runs.plan import Decision
from draftproof.screen.channels import ComparedChannels
from draftproof.screen.decision import Decided
from draftproof.screen.evidence import ArmEvidence

_COUNTABLE = frozenset({Cause.TIE, Cause.LEAK, Cause.FAULT, Cause.TRUNCATION})
_ENDS = {
    State.PASS: "passes",
    State.FAIL: "fails",
    State.INCONCLUSIVE: "is inconclusive",
    State.INVALID: "is invalid",
}


def comparison_sentence(
    evidence: ArmEvidence, counts: Counts, decided: Decided, channels: ComparedChannels
) -> str:
    """Return one sentence that a lead can read aloud.

    Args:
        evidence: What is known of the arm.
        counts: Its numbers.
        decided: Its state and the reasons for it.
        channels: What was compared of its answers.
    """
    arm, findings, state = evidence.arm, evidence.findings, decided.state
    who = f"{arm.role.value.capitalize()} {arm.name!r} {_ENDS[state]}"
    why = "; ".join(r.text for r in decided.reasons if r.state is state and r.task is None)
    if state is State.INVALID:
        return f"{who}: {why}."
    if arm.lossy:
        changed = counts.n - counts.identical
        what = f"it changes answers on purpose, {changed:,} of {counts.n:,} here: {_flips(counts)}"
        return f"{who}: {what}; {why}."
    fault = _fault(findings.known_cause)
    if findings.distribution is not None:
        passed = state is State.PASS
        why = "rates of good answers are equivalent in every gated task" if passed else why
        return f"{who}: {findings.distribution.text}; {why}{fault}."
    if state is State.PASS:
        gated = sum(1 for t in decided.tasks if t.gated)
        why = "the one gated task passes" if gated == 1 else f"all {gated} gated tasks pass"
    apart = arm.role in {Role.NOISE, Role.VARIANT}
    whose = f"those of {evidence.against.name!r}" if apart else "the baseline's"
    if counts.identical == counts.n:
        what = f"all {counts.n:,} answers are identical to {whose} in {channels.phrase}"
    else:
        what = (
            f"{counts.identical:,} of {counts.n:,} answers are identical to {whose} in "
            f"{channels.phrase}; {_causes(counts)}; {_flips(counts)}"
        )
    what += _changed(evidence)
    if channels.withheld is not None:
        what += f"; {channels.withheld}"
    if state is State.INCONCLUSIVE and arm.role is Role.CANDIDATE:
        why += _enough(decided)
    return f"{who}: {what}; {why}{fault}."


def _enough(decided: Decided) -> str:
    """Return how many prompts would decide every open task, or why that is not known."""
    undecided = [t for t in decided.tasks if t.gated and t.state is State.INCONCLUSIVE]
    sizes = [t.n_needed for t in undecided]
    needed = [size for size in sizes if size is not None]
    if needed and len(needed) == len(sizes):
        return f"; {max(needed):,} independent prompts a task would decide, if nothing is lost"
    unknown = (r.text for t in undecided for r in t.reasons if r.code == "no-size-known")
    return "".join(f"; {text}" for text in list(unknown)[:1])


_NAMES = frozenset({"name", "role", "of", "order", "speculates"})


def _changed(evidence: ArmEvidence) -> str:
    """Return what differs between two declared arms of which none speculates.

    Such a verdict is on a version, a cache or a machine, not on speculation.
    """
    before, after = evidence.against.declared, evidence.arm.declared
    drafted = any(arm.drafted for arm in evidence.tally.arms)
    if evidence.arm.role is not Role.CANDIDATE or evidence.arm.speculative is not False or drafted:
        return ""
    keys = [k for k in after if k not in _NAMES and before.get(k) != after[k]]
    parts = [f"{k.replace('_', ' ')} {after[k]!s:.60} against {before.get(k)!s:.60}" for k in keys]
    return f"; neither arm speculates, they differ in {', '.join(parts)}" if parts else ""


def dates_sentence(arms: Sequence[ArmSummary]) -> str | None:
    """Return when the answers were given, None where the arms do not all know it."""
    spans = [arm.answered for arm in arms if arm.answered is not None]
    if not spans or len(spans) < len(arms):
        return None
    return f"Answers given {when((min(s[0] for s in spans), max(s[1] for s in spans)))}."


def _fault(fault: KnownCause | None) -> str:
    if fault is None:
        return ""
    share = f"{fault.explained} of {fault.of} divergences"
    return f"; this matches the known fault {fault.name}: {fault.text} ({share})"


def _causes(counts: Counts) -> str:
    parts = [
        f"{count:,} {cause}{'s' if count > 1 and cause in _COUNTABLE else ''}"
        for cause, count in counts.divergences.items()
    ]
    return f"the others: {', '.join(parts)}{_where(counts)}"


def _where(counts: Counts) -> str:
    """Return in which channels answers part first; that they do in their texts needs no mention."""
    if not counts.channels.keys() - {Channel.TEXT.value}:
        return ""
    parts = [f"{n:,} in {Channel(name).words}" for name, n in counts.channels.items()]
    return f" (first differ: {', '.join(parts)})"


def _flips(counts: Counts) -> str:
    lost, gained = counts.flips["loss"], counts.flips["gain"]
    regressions = f"{lost:,} regression{'' if lost == 1 else 's'}"
    return f"{regressions}, {gained:,} improvement{'' if gained == 1 else 's'}"


def stopping(counts: Counts, state: State, available: int) -> Stopping:
    """Return how far a sequential screen went with an arm.

    Args:
        counts: The arm's numbers.
        state: What its own answers amount to.
        available: Prompts of the battery.
    """
    asked = counts.n + counts.missing
    saved = 1 - asked / available
    certain = state in {State.PASS, State.FAIL}
    why = "the decision is certain" if certain else "the battery ended before it was certain"
    return Stopping(
        asked=asked,
        available=available,
        state=state.value,
        text=f"asked {asked:,} of {available:,} prompts ({saved:.0%} fewer): {why}",
    )


def verdict_sentence(state: State, candidates: Sequence[Comparison], rule: Decision) -> str:
    """Return the sentence over the whole screen.

    Args:
        state: The worst of the candidates' states.
        candidates: All candidates.
        rule: Margin and levels.
    """
    those = [c for c in candidates if c.state is state]
    names = ", ".join(repr(c.name) for c in those)
    if state is State.FAIL:
        return f"A difference was shown: {names} failed."
    if state is State.INVALID:
        return f"No valid evidence: {names} could not be judged."
    if state is State.INCONCLUSIVE:
        return f"Not decided: the evidence on {names} is too weak."
    n, identical = sum(c.counts.n for c in those), sum(c.counts.identical for c in those)
    if identical == n:
        where = channel_words(c for c in Channel if all(c in one.compared for one in those))
        return (
            f"No difference found: {identical:,} of {n:,} answers identical to the baseline's in "
            f"{where} ({names})."
        )
    points = f"{100 * rule.margin:g} points"
    one_sided = rule.mode == "noninferiority" or any(
        c.promise is not None and c.promise.shown == "L0" for c in those
    )
    claim = f"Not worse by {points} or more" if one_sided else f"Equivalent within ±{points}"
    return f"{claim}: {'; '.join(f'{c.name!r}, {_flips(c.counts)}' for c in those)}."


_LEVELS = {
    "L3": "equal bit for bit",
    "L2": "equal up to rounding",
    "L1": "no difference of distribution found",
    "LS": "labels equal within the margin, causes of differences unknown",
    "L0": "answers change on purpose",
}


def level_sentence(reached: str | None, required: str, *, enough: bool) -> str | None:
    """Return which level a PASS reached, None where nothing passed.

    Args:
        reached: The lowest level of the candidates.
        required: The level that was asked for.
        enough: Whether it was reached.
    """
    if reached is None:
        return None
    said = f"Level reached: {reached} ({_LEVELS[reached]})"
    return f"{said}." if enough else f"{said}; {required} was required."


def control_sentence(controls: Sequence[Comparison]) -> str | None:
    """Return whether the controls did what a control should, None without any."""
    missed = [c.name for c in controls if c.state is not State.FAIL]
    if not controls:
        return None
    if missed:
        names = ", ".join(repr(name) for name in missed)
        return f"The positive control {names} did not fail, so this run has no assay sensitivity."
    return "Every control failed, as a control should: a leak of its kind would be detected."
