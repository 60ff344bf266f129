"""Proof, from an arm's own counters, that speculation was on (or off)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftproof.records import Activation, Completion, Proof, ProofState


def activation(
    completions: Iterable[Completion], server: Mapping[str, Any] | None = None
) -> Activation:
    """Add up the speculation counters of an arm's answers, or take those of its server.

    Proven means that drafts were verified and at least one was accepted.

    Args:
        completions: The arm's answers.
        server: What the server counted while it answered, used where the answers carry no
            counters of their own: ``state`` (counted, absent, unproven), ``source``, ``rounds``,
            ``drafted``, ``accepted``, ``problem``.
    """
    rounds = drafted = accepted = tokens = counted = 0
    for completion in completions:
        tokens += len(completion.token_ids or ())
        if completion.speculation is not None:
            counted += 1
            rounds += completion.speculation.rounds
            drafted += completion.speculation.drafted
            accepted += completion.speculation.accepted
    return proof_of(rounds, drafted, accepted, tokens, counted, server)


def proof_of(
    rounds: int,
    drafted: int,
    accepted: int,
    tokens: int,
    counted: int,
    server: Mapping[str, Any] | None = None,
) -> Activation:
    """Return the proof of counters that were added up already.

    Args:
        rounds: Passes of the target that verified a proposal.
        drafted: Tokens that were drafted.
        accepted: Those that were accepted.
        tokens: Tokens of all answers.
        counted: Answers that carry counters.
        server: As `activation` takes it.
    """
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
    rate = accepted / drafted if drafted else None
    per_round = (accepted + rounds) / rounds if rounds else None
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
        text = f"the server's counters cannot be believed: {problem}"
    else:
        text = "the answers carry no speculation counters"
    return Activation(
        source=source,
        rounds=rounds,
        drafted=drafted,
        accepted=accepted,
        tokens=tokens,
        acceptance_rate=rate,
        tokens_per_round=per_round,
        proven=bool(drafted and accepted),
        text=text,
    )
