"""The audit document: whether one deployment's answers follow one target, without a baseline."""

from __future__ import annotations

from dataclasses import dataclass

from draftproof.records.words import State

AUDIT_SCHEMA_VERSION = "1.0"
"""Version of the audit document; a change of the first number breaks readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedToken:
    """A token that rounding of the deployment's own scale does not explain."""

    id: str
    """Of the prompt."""
    position: int
    """Index of the token in its answer (0-based)."""
    token: str
    best: str
    """The target's best token there."""
    deviation: float
    """Log-probability of the best token minus that of the token said, nats."""
    respelled: bool
    """Whether the token was made from the answer's text, and so is no proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDocument:
    """What the answers of one deployment say of one target.

    A share or bound that the positions do not determine is None.
    """

    name: str
    """What was audited."""
    instrument: str
    """The model that scored, with its dtype, or the server."""
    state: State
    sentence: str
    reasons: tuple[str, ...]
    exit_code: int
    answers: int
    """Answers that were scored."""
    left_out: tuple[tuple[str, int], ...]
    """Reasons why answers were not scored, with how many share each."""
    positions: int
    """Tokens that were scored."""
    respelled: int
    """Positions among them whose tokens were made from text."""
    unexplained: int
    """Further positions without a usable log-probability."""
    deviations: int
    """Positions at which another token than the target's best was said."""
    sigma: float | None
    """Scale of the deployment's rounding against the target, nats."""
    sigma_upper: float | None
    """Its one-sided 95 % upper bound; None where the positions bound nothing."""
    epsilon: float | None
    """Share of tokens that deviate whatever the gap."""
    epsilon_interval: tuple[float, float] | None
    """Its 95 % interval."""
    margin: float | None
    """Smallest deviation that would be named, nats."""
    smallest_share: float | None
    """Smallest share of leaked tokens, each beyond `margin`, that would have been found with 95 %
    probability."""
    named: int
    """Tokens beyond `margin`."""
    tokens: tuple[AuditedToken, ...]
    """The named tokens with the largest deviations, 50 at most."""
    created: str
    draftproof_version: str
    schema_version: str = AUDIT_SCHEMA_VERSION
