"""What a verdict says of a comparison beyond its counts: floor, sensitivity, promise, cause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One arm against its own repeat."""

    name: str
    of: str
    speculative: bool
    """Whether speculation is on in both (on/on), otherwise in neither (off/off)."""
    shuffled: bool
    """Whether the repeat was asked in another order, hence beside other batch mates."""
    n: int
    divergent: int
    flips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """How much more often a candidate moved than a repeat did, on the same prompts."""

    repeat: str
    n: int
    candidate_only: int
    repeat_only: int
    excess: float
    """(candidate_only - repeat_only) / n."""
    interval: tuple[float, float] | None
    """90 % Tango score interval of the excess."""
    p_value: float
    """Exact one-sided McNemar test of "no more often than the repeat"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """What arms do to themselves, and what a candidate does beyond it."""

    repeats: tuple[Repeat, ...]
    divergence: Excess | None
    """Beyond the noisiest of the repeats."""
    flips: Excess | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The smallest leak that this run would have caught."""

    tokens: int
    """Candidate tokens compared with the baseline's."""
    injected: int
    """Leaked tokens that were injected into baseline answers to try the forensics."""
    detected: int
    """How many of them were called a leak."""
    token_rate: float | None
    """Leaked tokens, as a share, that the forensics catch with `confidence`."""
    answer_rate: float | None
    """Answers with at least one leaked token, as a share, likewise."""
    confidence: float
    statistics_rate: float | None
    """Share of a task's answers leaking into bad ones that FAILs with `power`, in the best task."""
    statistics_task: str | None
    power: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseEvidence:
    """How close this deployment keeps to plain decoding: L0, L1, L2 or L3."""

    declared: str | None
    shown: str | None
    """The level that the evidence of this run supports, None where it supports none."""
    text: str
    untested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCause:
    """The implementation fault that an arm's divergences look like."""

    name: str
    text: str
    explained: int
    """Divergences that it predicts."""
    of: int
    """Divergences that were probed."""
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Answers at a temperature above 0 as draws from a law, against the baseline's."""

    temperature: float
    samples: int
    prompts: int
    mmd2: float | None
    mmd_p: float | None
    mmd_upper: float | None
    """Upper 95 % bound of the mean squared discrepancy."""
    law_p: float | None = None
    """p-value of the exact test of drawn tokens against the target's own law."""
    law_draws: int = 0
    law_prefixes: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """How far a sequential screen went."""

    asked: int
    available: int
    state: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A check that needs no statistics: one thing was changed that must not matter."""

    arm: str
    of: str
    changed: str
    """draft, gamma, seed, or autoregressive: nothing was drafted."""
    expected: str
    n: int
    identical: int
    ties: int
    held: bool
    text: str
    unexplained: int = 0
    """Divergences that nobody could score again."""
