"""The verdict document: what is known about every arm, and why it was decided so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from draftproof.records.evidence import (
    Distribution,
    KnownCause,
    NoiseFloor,
    PromiseEvidence,
    Relation,
    Sensitivity,
    Stopping,
)
from draftproof.records.noise import StackNoise
from draftproof.records.words import Cause, Channel, Role, State

SCHEMA_VERSION = "1.3"
"""Version of the verdict document; a change of the first number breaks readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A pair that differs in a channel that was compared, and why."""

    id: str
    task: str
    cause: Cause
    explanation: str
    token_index: int | None
    """Index of the first differing token of the answer (0-based), where ids are known."""
    char_index: int
    """Index of the first differing character (0-based) in the first channel that differs; tool
    calls are read as `Completion.shown` writes them."""
    baseline_text: str
    candidate_text: str
    baseline_token: str | None = None
    candidate_token: str | None = None
    draft_token: str | None = None
    margin: float | None = None
    """Target logit of its favourite minus that of the token under suspicion, nats."""
    noise_bound: float | None = None
    """Largest margin that this model's arithmetic can be blamed for, nats."""
    provenance: str | None = None
    confidence: str = "none"
    baseline_label: str | None = None
    candidate_label: str | None = None
    flip: str | None = None
    margins: tuple[float, float] | None = None
    """`margin` of the candidate's token at the shapes of plain decoding and of verification."""
    baseline_margins: tuple[float, float] | None = None
    baseline_rank: int | None = None
    """The target's rank of the baseline's token, 0 its favourite."""
    candidate_rank: int | None = None
    channels: tuple[Channel, ...] = ()
    """The channels in which the answers differ, in the order of generation: the first of them is
    where the answers part."""
    baseline_channels: dict[str, str] = field(default_factory=dict)
    """What the baseline's answer holds beside its text, by channel, as `Completion.shown` writes
    it; channels that are empty in both answers have no entry."""
    candidate_channels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One piece of evidence that decided, or would have decided, a state."""

    code: str
    state: State
    text: str
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Proof that speculation happened (or, for a baseline, that it did not)."""

    source: str
    rounds: int | None
    """None where the stack counts drafted and accepted tokens and no rounds."""
    drafted: int
    accepted: int
    tokens: int
    acceptance_rate: float | None
    tokens_per_round: float | None
    proven: bool
    text: str
    counted: bool | None = None
    """Whether there are counters that could be read; None in documents older than the field."""
    impossible: str | None = None
    """The figure that cannot be; no rate is computed beside one."""
    coverage: float | None = None
    """Share of the answers that carry counters; None where the server counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTruth:
    """What a difference of labels is worth in truth, by the scorer's measured errors.

    A true difference of m points shows as m times `youden` points of labels.
    """

    scorer: str
    source: str
    """Whose labels the errors were measured with."""
    answers: int
    """Answers that they labelled."""
    youden: float
    """Sensitivity + specificity - 1."""
    low: float
    """Lower 95 % bound of it; `high` is the upper."""
    high: float

    def in_truth(self, labels: float) -> tuple[float | None, float | None]:
        """Return what a difference of labels is in truth, and at most; None where it may be any.

        >>> LabelTruth(scorer="s", source="p", answers=9, youden=.8, low=.6, high=1).in_truth(.03)
        (0.0375, 0.05)
        """
        estimate, most = (labels / j if j > 0 else None for j in (self.youden, self.low))
        return estimate, most


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvidence:
    """The paired outcome of one task and what it supports."""

    task: str
    construct: str
    scorer: str
    gated: bool
    n: int
    """Complete pairs: both arms answered and both answers were scored."""
    missing: int
    unscored: int
    both: int
    loss: int
    gain: int
    neither: int
    identical: int
    divergent: int
    clusters: int | None
    effective_n: float | None
    baseline_rate: float | None
    candidate_rate: float | None
    difference: float | None
    """Share of prompts lost minus share gained; positive is a loss."""
    interval: tuple[float, float] | None
    """90 % Tango score interval of the difference."""
    p_equivalence: float | None
    p_worst_case: float | None
    p_loss: float | None
    p_mcnemar: float | None
    h: float | None
    h_se: float | None
    flip_upper: float | None
    n_needed: int | None
    state: State
    reasons: tuple[Reason, ...] = ()
    h_cutoff: float | None = None
    """What |h| may be by the noise arms' flips alone (95 % quantile, 95 % confidence)."""
    truth: LabelTruth | None = None
    """What its labels are worth in truth; None where the scorer's errors were not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The numbers of one comparison."""

    n: int
    identical: int
    divergences: dict[str, int]
    flips: dict[str, int]
    missing: int
    unscored: int
    channels: dict[str, int] = field(default_factory=dict)
    """Pairs that differ, by the first channel in which they do, in the order of generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteIdentity:
    """Identity, in all compared channels, of one comparison beside the noise floor."""

    n: int
    identical: int
    divergence_rate: float | None
    divergence_upper: float | None
    """One-sided 95 % Clopper-Pearson bound on the divergence rate."""
    noise_n: int | None = None
    noise_divergent: int | None = None
    noise_upper: float | None = None


@dataclass(frozen=True, slots=True)
class ProfileRuling:
    """What one profile says of a candidate, whichever profile decides."""

    profile: str
    state: State
    text: str
    """The first reason for the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm judged against the baseline."""

    name: str
    role: Role
    baseline: str
    state: State
    expected: bool
    """Whether the state is the one its role asks for."""
    sentence: str
    counts: Counts
    identity: ByteIdentity
    activation: Activation
    tasks: tuple[TaskEvidence, ...]
    reasons: tuple[Reason, ...]
    divergences: tuple[Divergence, ...]
    """Listed in full for candidates; a control or noise arm lists the first fifty."""
    smallest_leak: str | None = None
    floor: NoiseFloor | None = None
    sensitivity: Sensitivity | None = None
    promise: PromiseEvidence | None = None
    known_cause: KnownCause | None = None
    untried: tuple[str, ...] = ()
    """Implementation faults that were not tried as its cause, because trying costs time."""
    distribution: Distribution | None = None
    stopping: Stopping | None = None
    stack_noise: StackNoise | None = None
    """The stack's own rounding; None where nobody scored answers or sampled them."""
    compared: tuple[Channel, ...] = ()
    """Channels that both answers of every pair show; identity is said of these alone. Empty in
    documents older than the field."""
    not_compared: tuple[Channel, ...] = ()
    channel_notes: dict[str, str] = field(default_factory=dict)
    """Why each channel of `not_compared` was not compared, or not in every pair."""
    profiles: tuple[ProfileRuling, ...] = ()
    """What every profile says, of candidates whose answers must not change; one of them decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCount:
    """An error of an arm in its stack's own words, and how many answers met it."""

    text: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """One arm as it was run."""

    name: str
    role: Role
    engine: str
    description: str
    answers: int
    tokens: int | None
    seconds: float | None
    errors: int
    truncated: int
    repeating: int = 0
    """Answers stuck in a loop: fast, and worth nothing."""
    failures: tuple[ErrorCount, ...] = ()
    """The most frequent errors."""
    answered: tuple[str, str] | None = None
    """UTC times of its first and last answer; None where an answer has no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict document: everything a report shows and a machine reads."""

    schema_version: str
    draftproof_version: str
    created: str
    name: str
    state: State
    expected: bool
    sentence: str
    exit_code: int
    baseline: str
    candidates: tuple[Comparison, ...]
    controls: tuple[Comparison, ...]
    noise: tuple[Comparison, ...]
    arms: tuple[ArmSummary, ...]
    battery: dict[str, object]
    method: dict[str, object]
    environment: dict[str, Any]
    plan: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    variants: tuple[Comparison, ...] = ()
    relations: tuple[Relation, ...] = ()
