"""Proof, from an arm's own counters, that speculation was on (or off)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftproof.records import Activation, Proof, ProofState
from draftproof.records.figures import impossible_counters
from draftproof.screen.counts.arm_tally import ArmTally

COVERED = 0.95
"""Share of the answers from which on counters speak for all of them."""


def activation(arm: ArmTally, server: Mapping[str, Any] | None = None) -> Activation:
    """Return the proof of an arm's speculation counters, or of those of its server.

    Proven means that drafts were verified and at least one was accepted.

    Args:
        arm: The arm's answers, added up.
        server: What the server counted while it answered, used where the answers carry no
            counters of their own: ``state`` (counted, absent, unproven), ``source``, ``rounds``,
            ``drafted``, ``accepted``, ``problem``.
    """
    counted, drafted, accepted = arm.counted, arm.drafted, arm.accepted
    rounds: int | None = arm.rounds
    source = _source(arm)
    problem, impossible = None, min(arm.impossible, default=None)
    if not counted and server is not None:
        proof = Proof.from_json(server)
        problem = proof.problem
        if proof.state is ProofState.COUNTED and proof.counters is not None:
            source = f"the server's counters ({proof.source})"
            counters = proof.counters
            counted, rounds = 1, counters.rounds
            drafted, accepted = counters.drafted, counters.accepted
    impossible = impossible or impossible_counters(rounds, drafted, accepted)
    if impossible:
        text = f"the counters are impossible: {impossible}"
    elif drafted and accepted:
        rate = "" if arm.drafted_at_least else f" ({accepted / drafted:.1%})"
        text = (
            f"{'at least ' if arm.drafted_at_least else ''}{drafted:,} tokens drafted, "
            f"{accepted:,} accepted{rate}{f' in {rounds:,} rounds' if rounds else ''}{_share(arm)}"
        )
    elif drafted:
        text = f"{drafted:,} tokens drafted, none accepted"
    elif counted:
        text = "the counters stayed at zero: nothing was drafted"
    elif problem:
        text = f"the server's counters are not usable: {problem}"
    else:
        text = "the answers carry no speculation counters"
    return Activation(
        source=source,
        rounds=rounds,
        drafted=drafted,
        accepted=accepted,
        tokens=arm.tokens,
        acceptance_rate=(
            accepted / drafted if drafted and not impossible and not arm.drafted_at_least else None
        ),
        tokens_per_round=(accepted + rounds) / rounds if rounds and not impossible else None,
        proven=bool(drafted and accepted and not impossible),
        text=text,
        counted=bool(counted),
        impossible=impossible,
        coverage=arm.counted / arm.given if arm.counted and arm.given else None,
    )


def _source(arm: ArmTally) -> str:
    if not arm.counted:
        return "none"
    if arm.counted >= arm.given:
        return "counters of every answer"
    return f"counters of {arm.counted:,} of {arm.given:,} answers"


def _share(arm: ArmTally) -> str:
    """Return on which share of the answers the counters rest, where some carry none."""
    if not arm.counted or arm.counted >= COVERED * arm.given:
        return ""
    return f", counted by {arm.counted / arm.given:.0%} of the answers"
