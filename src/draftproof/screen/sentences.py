"""The verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from draftproof.records import Comparison, Counts, KnownCause, Role, State, Stopping
from draftproof.screen.decision import Decided
from draftproof.screen.evidence import ArmEvidence

_ENDS = {
    State.PASS: "passes",
    State.FAIL: "FAILS",
    State.INCONCLUSIVE: "is inconclusive",
    State.INVALID: "is invalid",
}


def comparison_sentence(evidence: ArmEvidence, counts: Counts, decided: Decided) -> str:
    """Return one sentence that a lead can read aloud.

    Args:
        evidence: What is known of the arm.
        counts: Its numbers.
        decided: Its state and the reasons for it.
    """
    arm, findings, state = evidence.arm, evidence.findings, decided.state
    who = f"{arm.role.value.capitalize()} {arm.name!r} {_ENDS[state]}"
    why = "; ".join(r.text for r in decided.reasons if r.state is state and r.task is None)
    if state is State.INVALID:
        return f"{who}: {why}."
    if arm.lossy:
        changed = counts.n - counts.identical
        what = (
            f"it changes answers on purpose, {changed:,} of {counts.n:,} here: "
            f"{counts.flips['loss']:,} turned bad, {counts.flips['gain']:,} turned good"
        )
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
        what = f"all {counts.n:,} answers are {whose}, byte for byte"
    else:
        what = (
            f"{counts.identical:,} of {counts.n:,} answers are {whose}, byte for byte; "
            f"{_causes(counts.divergences)}; {counts.flips['loss']:,} answers turned bad, "
            f"{counts.flips['gain']:,} turned good"
        )
    return f"{who}: {what}; {why}{fault}."


def _fault(fault: KnownCause | None) -> str:
    if fault is None:
        return ""
    return f"; it looks like {fault.name}: {fault.text} ({fault.explained} of {fault.of})"


def _causes(divergences: Mapping[str, int]) -> str:
    parts = [f"{count:,} {cause}" for cause, count in divergences.items()]
    return f"the others are {' and '.join(parts)}"


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
    why = "certain" if certain else "the battery ended before it was certain"
    return Stopping(
        asked=asked,
        available=available,
        state=state.value,
        text=f"asked {asked:,} of {available:,} prompts ({saved:.0%} saved): {why}",
    )


def verdict_sentence(state: State, candidates: Sequence[Comparison]) -> str:
    """Return the sentence over the whole screen."""
    names = ", ".join(repr(c.name) for c in candidates if c.state is state)
    lost = sum(c.counts.flips["loss"] for c in candidates if c.state is state)
    if state is State.PASS:
        same = all(c.counts.identical == c.counts.n for c in candidates)
        how = "word for word" if same else f"within the margin, {lost} answers turned bad"
        return f"Speculation changed nothing that matters: {names} answered as the baseline, {how}."
    if state is State.FAIL:
        return f"Speculation changed what the model says: {names} failed."
    if state is State.INVALID:
        return f"Nothing was measured: {names} gave no valid evidence."
    return f"Not decided: {names} could not be resolved."


def control_sentence(controls: Sequence[Comparison]) -> str | None:
    """Return whether the controls did what controls must, None without any."""
    missed = [c.name for c in controls if c.role is Role.CONTROL and c.state is not State.FAIL]
    if not controls:
        return None
    if missed:
        return f"The control {missed[0]!r} should have failed and did not: this screen is blind."
    return "Every control failed as it must, so a leak of its kind would have been seen."
