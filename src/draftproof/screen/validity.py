"""What takes the ground from under a comparison, and what stands between it and a PASS."""

from __future__ import annotations

from collections.abc import Mapping

from draftproof.records import Activation, Reason, Role, State
from draftproof.screen.activation import COVERED, activation
from draftproof.screen.arms import Conditions
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.labels_only import labels_only, unexplained
from draftproof.screen.stack_noise.ruling import NoiseRuling, rule_on
from draftproof.stats import Stratum
from draftproof.stats.evidence import Profile

_FEW_UNREAD = 4
"""Unread answers of a task that never make a comparison invalid."""
MOST_UNREAD = 0.2
"""Share of answers without any text, or of labels that nobody could read, that may be judged."""
LEAST_COVERED = 0.5
"""Share of the answers that counters must come from to say anything of the arm."""
LEAST_VARIETY = 30
"""Answers of the baseline, those that are alike discounted, from which identity says something."""
EXERCISED = 100
"""Drafted tokens of which some must have been accepted, or accepting was never tried."""


def invalid_reasons(
    evidence: ArmEvidence, proof: Activation, conditions: Conditions, ruling: NoiseRuling
) -> tuple[Reason, ...]:
    """Return what makes a comparison INVALID: with any of these there is nothing to count."""
    texts = {
        **ruling.invalid,
        **_unpaired(evidence, conditions),
        **_unproven(evidence, proof),
        **_silent(evidence, conditions),
    }
    return tuple(Reason(code=c, state=State.INVALID, text=t) for c, t in texts.items())


def noise_ruling(evidence: ArmEvidence, profile: Profile) -> NoiseRuling:
    """Return what the rounding of the stack decides; nothing for an arm that claims no identity."""
    arm, counts = evidence.arm, evidence.counts
    if arm.role is Role.VARIANT or arm.lossy or not profile.forensics_decide:
        return NoiseRuling()
    return rule_on(evidence.findings.noise, identical=counts.identical == counts.n)


def open_reasons(ruling: NoiseRuling) -> tuple[Reason, ...]:
    """Return what a stack's rounding leaves open, as reasons."""
    return tuple(Reason(code=c, state=State.INCONCLUSIVE, text=t) for c, t in ruling.open.items())


def _unpaired(evidence: ArmEvidence, conditions: Conditions) -> dict[str, str]:
    tally, most = evidence.tally, conditions.rule.max_missing
    asked = tally.pairs + tally.missing + tally.mismatched
    texts = {}
    if tally.first_mismatched is not None:
        texts["prompts-differ"] = (
            f"{tally.mismatched} prompts were rendered differently for the two arms, "
            f"the first is {tally.first_mismatched[1]!r}"
        )
    if not tally.pairs:
        texts["no-pairs"] = "no prompt was answered by both arms"
    if tally.pairs and tally.missing > most * asked:
        texts["too-many-missing"] = (
            f"{tally.missing:,} of {asked:,} prompts were not answered by both arms, "
            f"{most:.0%} may be missing"
        )
    return texts


def _unproven(evidence: ArmEvidence, proof: Activation) -> dict[str, str]:
    """Return what is wrong with the counters of an arm that speculates, and of a baseline's."""
    arm, baseline = evidence.arm, evidence.against
    texts = {}
    if proof.impossible:
        texts["counters-impossible"] = f"{arm.name!r}: {proof.text}"
    elif _may_speculate(evidence) and proof.counted and not proof.drafted:
        texts["nothing-drafted"] = f"{arm.name!r}: {proof.text}"
    elif _may_speculate(evidence) and _covers_too_little(proof):
        texts["counters-of-too-few"] = (
            f"{arm.name!r}: only {proof.coverage:.0%} of the answers carry counters of "
            f"speculation; at least {LEAST_COVERED:.0%} must"
        )
    elif arm.speculative and not proof.proven and proof.drafted < EXERCISED:
        texts["speculation-unproven"] = (
            f"no proof that speculation was on: {proof.text}; docs/serve.md, 'The activation "
            "proof', says how servers report it"
        )
    before = activation(evidence.tally.arms[0], baseline.counters)
    if baseline.role is Role.BASELINE:
        if before.impossible:
            texts["counters-impossible"] = f"{baseline.name!r}: {before.text}"
        elif before.drafted:
            texts["baseline-speculated"] = f"the baseline {baseline.name!r} used speculation"
    return texts


def _may_speculate(evidence: ArmEvidence) -> bool:
    """Whether counters speak of an arm: a plan says that it speculates, or nobody says it not."""
    arm = evidence.arm
    return bool(arm.speculative) or (arm.speculative is None and arm.role is Role.CANDIDATE)


def _covers_too_little(proof: Activation) -> bool:
    return proof.coverage is not None and proof.coverage < LEAST_COVERED


def _silent(evidence: ArmEvidence, conditions: Conditions) -> dict[str, str]:
    """Return where there is nothing to read: answers without text, labels without a meaning."""
    texts = {}
    baseline = evidence.tally.arms[0]
    if baseline.empty > MOST_UNREAD * baseline.given:
        texts["answers-empty"] = (
            f"{baseline.empty:,} of {baseline.given:,} answers of {evidence.against.name!r} are "
            f"empty (no text, reasoning, tool call or refusal); at most {MOST_UNREAD:.0%} may be"
        )
    for name, task in evidence.tally.tasks.items():
        # a few answers are no share: a short trial of a screen is inconclusive, not invalid
        most = max(MOST_UNREAD * task.pairs, _FEW_UNREAD)
        if name not in conditions.ungated and task.both_unread > most:
            texts[f"labels-unread:{name}"] = (
                f"task {name!r}: for {task.both_unread:,} of {task.pairs:,} prompts the scorer "
                f"could read neither arm's answer; at most {MOST_UNREAD:.0%} may be unread"
            )
    return texts


def caveats(evidence: ArmEvidence, proof: Activation) -> tuple[Reason, ...]:
    """Return what a reader should know of a comparison that counts."""
    shared = sum(task.shared for task in evidence.tally.tasks.values())
    reasons: tuple[Reason, ...] = ()
    if shared and evidence.arm.role is Role.CANDIDATE:
        ids = sum(task.prompts for task in evidence.tally.tasks.values())
        distinct = ids - shared
        share = "share one prompt" if distinct == 1 else f"share {distinct:,} prompts"
        text = f"{ids:,} ids {share}; ids of one prompt count once, at their worst"
        reasons = (Reason(code="ids-share-prompts", state=State.PASS, text=text),)
    if evidence.arm.speculative is not None or proof.proven or proof.drafted:
        return reasons
    text = (
        f"nothing says whether {evidence.arm.name!r} speculated, so this is a verdict on two arms: "
        f"{proof.text}"
    )
    return (*reasons, Reason(code="speculation-not-recorded", state=State.PASS, text=text))


def shortfalls(
    evidence: ArmEvidence,
    proof: Activation,
    conditions: Conditions,
    gated: Mapping[str, Stratum],
) -> tuple[Reason, ...]:
    """Return what is missing for a PASS whatever the tests of the tasks say."""
    texts = {}
    if _may_speculate(evidence) and proof.drafted and not proof.accepted:
        texts["nothing-accepted"] = (
            f"the accepting path was not exercised: none of {proof.drafted:,} drafted tokens was "
            f"accepted; use a draft that predicts some tokens of {evidence.against.name!r}"
        )
    arm = evidence.arm
    if arm.role is Role.CANDIDATE and not arm.lossy and conditions.temperature == 0:
        texts |= _one_text(evidence, conditions)
        if unexplained(evidence.findings.causes):
            texts |= labels_only(evidence, gated, conditions)
    return tuple(Reason(code=c, state=State.INCONCLUSIVE, text=t) for c, t in texts.items())


def _one_text(evidence: ArmEvidence, conditions: Conditions) -> dict[str, str]:
    """Return whether a baseline that says the same to many prompts leaves identity its meaning."""
    variety, n = evidence.tally.variety, evidence.tally.arms[0].given
    if conditions.vouched_bytes or variety >= LEAST_VARIETY:
        return {}
    return {
        "baseline-says-one-thing": (
            f"{evidence.against.name!r} gives many prompts the same answer: its {n:,} "
            f"answers count "
            f"as {variety:.3g} different ones, and equal answers are evidence from {LEAST_VARIETY} "
            "on; ask prompts that have different answers, or add a control"
        )
    }


__all__ = [
    "COVERED", "caveats", "invalid_reasons", "noise_ruling", "open_reasons", "shortfalls",
]  # fmt: skip
