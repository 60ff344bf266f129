"""Proof, from an arm's own counters, that speculation was on (or off)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftproof.records import Activation, Proof, ProofState
from draftproof.screen.tally import ArmTally


def activation(arm: ArmTally, server: Mapping[str, Any] | None = None) -> Activation:
    """Return the proof of an arm's speculation counters, or of those of its server.

    Proven means that drafts were verified and at least one was accepted.

    Args:
        arm: The arm's answers, added up.
        server: What the server counted while it answered, used where the answers carry no
            counters of their own: ``state`` (counted, absent, unproven), ``source``, ``rounds``,
            ``drafted``, ``accepted``, ``problem``.
    """
    counted, rounds, drafted, accepted = arm.counted, arm.rounds, arm.drafted, arm.accepted
    source = "counters of every answer" if counted else "none"
    problem = None
    if not counted and server is not None:
        proof = Proof.from_json(server)
        problem = proof.problem
        if proof.state is ProofState.COUNTED and proof.counters is not None:
            source = f"the server's counters ({proof.source})"
            counters = proof.counters
            counted, rounds = 1, counters.rounds
            drafted, accepted = counters.drafted, counters.accepted
    if drafted and accepted:
        text = (
            f"{drafted:,} tokens drafted, {accepted:,} accepted ({accepted / drafted:.1%}) "
            f"in {rounds:,} rounds"
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
        acceptance_rate=accepted / drafted if drafted else None,
        tokens_per_round=(accepted + rounds) / rounds if rounds else None,
        proven=bool(drafted and accepted),
        text=text,
    )
