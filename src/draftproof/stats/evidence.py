"""What decisions are made from and the vocabulary of their results: evidence, codes, profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from draftproof.stats.checks import count
from draftproof.stats.flips import flip_upper


class Code(StrEnum):
    """Machine-readable reasons."""

    NO_PAIRS = "no-pairs"
    ARM_MISSING = "arm-missing"
    EQUIVALENT = "equivalent"
    NOT_SHOWN = "equivalence-not-shown"
    MISSING_PAIRS = "missing-pairs"
    FLIP_BOUND = "flip-bound"
    GAIN_BOUND = "gain-bound"
    EFFECT_SIZE = "effect-size"
    LOSS_SHOWN = "loss-shown"
    CHANGE_SHOWN = "change-shown"
    DRIFT = "drift"
    UNCLUSTERED = "clusters-few"
    INVALID_EVIDENCE = "invalid-evidence"
    NO_STRATA = "no-strata"
    ASSAY_INSENSITIVE = "assay-insensitive"
    ASSAY_NOISY = "assay-noisy"
    ASSAY_ABSENT = "assay-absent"
    BYTES_IDENTICAL = "bytes-identical"
    BYTES_BEYOND_NOISE = "bytes-beyond-noise"
    BYTES_DIVERGED = "bytes-diverged"
    BYTES_UNPROVEN = "bytes-unproven"
    FORENSIC_LEAK = "forensic-leak"
    FORENSIC_FAULT = "forensic-fault"
    STRATUM_FAILED = "stratum-failed"
    STRATUM_OPEN = "stratum-open"
    ALL_PASSED = "all-strata-passed"

    # a code equals its text, so it must hash as its text
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Profile:
    """Which evidence a rule demands.

    Attributes:
        name: "exact", "tais" or "tais-published".
        method: p-value of the equivalence test.
        mode: "equivalence" or "noninferiority".
        flip_bound: Whether the gross-flip bound is part of PASS.
        missing_worst_case: Whether PASS must survive every missing pair turning out badly.
        byte_channel: Whether byte identity of enough prompts passes without a scorer.
        effect_cutoff: Cutoff of |h| per stratum; None leaves effect sizes out of the rule.
        needs_byte_evidence: Whether byte identity beyond the noise floor blocks a PASS.
        needs_assay: Whether a sensitive control is a precondition of PASS.
        forensics_decide: Whether one leak or fault fails a candidate that claims to be lossless.
        as_printed: Every id counts as a pair of its own, cutoffs are those of the paper, and
            nothing is asked of texts, labels and variety.
    """

    name: str
    method: str = "exact"
    mode: str = "equivalence"
    flip_bound: bool = True
    missing_worst_case: bool = True
    byte_channel: bool = True
    effect_cutoff: float | None = None
    needs_byte_evidence: bool = False
    needs_assay: bool = True
    forensics_decide: bool = True
    as_printed: bool = False


EXACT = Profile("exact")
"""Exact equivalence, gross-flip bound, worst case for missing pairs, byte channel."""

TAIS = Profile(
    "tais",
    flip_bound=False,
    byte_channel=False,
    effect_cutoff=0.1,
    needs_byte_evidence=True,
    needs_assay=False,
    forensics_decide=False,
)
"""The three published criteria with the repaired test: byte identity, ±3 points, |h|."""

TAIS_PUBLISHED = Profile(
    "tais-published",
    method="wald",
    flip_bound=False,
    missing_worst_case=False,
    byte_channel=False,
    effect_cutoff=0.1,
    needs_assay=False,
    forensics_decide=False,
    as_printed=True,
)
"""The rule as arXiv 2606.25097 prints it: a 90 % Wald interval within ±3 points and |h| < 0.1, with
byte identity as evidence beside them. Without a flip the interval has no length and shows nothing;
missing pairs are dropped."""

PROFILES = {profile.name: profile for profile in (EXACT, TAIS, TAIS_PUBLISHED)}


def resolve_profile(profile: str | Profile) -> Profile:
    """Return a profile by name, or the profile itself.

    Raises:
        ValueError: For an unknown name.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    return PROFILES[profile]


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """Byte identity of two arms on the same prompts.

    Attributes:
        divergent: Prompts whose bytes differ between baseline and candidate.
        total: Prompts compared.
        noise_divergent: The same between the baseline and its own repeat; None without one.
        noise_total: Prompts compared there.
    """

    divergent: int
    total: int
    noise_divergent: int | None = None
    noise_total: int = 0

    def __post_init__(self) -> None:
        for name in ("divergent", "total", "noise_total"):
            count(name, getattr(self, name))
        if self.divergent > self.total or (self.noise_divergent or 0) > self.noise_total:
            raise ValueError("more divergent prompts than prompts")

    def upper(self, alpha: float = 0.05) -> float:
        """One-sided upper bound of the divergence rate; 1 without prompts."""
        return flip_upper(self.divergent, self.total, alpha)

    def noise_bound(self, alpha: float = 0.05) -> float:
        """Upper bound of the baseline's own divergence rate; NaN without a repeat."""
        if self.noise_divergent is None or self.noise_total == 0:
            return math.nan
        return flip_upper(self.noise_divergent, self.noise_total, alpha)

    def beyond_noise(self, alpha: float = 0.05) -> bool:
        """Whether the candidate diverges more often than the noise bound allows."""
        bound = self.noise_bound(alpha)
        return self.total > 0 and not math.isnan(bound) and self.divergent / self.total > bound


@dataclass(frozen=True, slots=True)
class Stratum:
    """Counts of one primary stratum: one task of a screen.

    Attributes:
        name: Name, unique in the screen.
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: Complete pairs.
        missing: Pairs of which one arm is missing or unread.
        torn: Pairs counted as lost of which another answer gained.
        clusters: Clusters whose independent evidence the counts are; None without clusters.
        cohen_h: Paired effect size; NaN when not computed.
        cutoff: Calibrated |h| cutoff of this stratum; None takes the profile's.
        gross_margin: Bound on the upper limit of the loss rate; None takes the profile's.
        bytes: Byte identity, when the arms were compared.
    """

    name: str
    loss: int
    gain: int
    n: int
    missing: int = 0
    torn: int = 0
    clusters: int | None = None
    cohen_h: float = math.nan
    cutoff: float | None = None
    gross_margin: float | None = None
    bytes: ByteEvidence | None = None


@dataclass(frozen=True, slots=True)
class ForensicEvidence:
    """Divergences by cause. Leaks and faults contradict a claim of losslessness."""

    ties: int = 0
    leaks: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class AssayEvidence:
    """Whether this plan can see what it looks for.

    Attributes:
        detection: Estimated probability that the known leak ends as FAIL under this plan.
        noise_failed: Whether a baseline-against-baseline run ended as FAIL.
        required: Smallest acceptable detection.
    """

    detection: float
    noise_failed: bool = False
    required: float = 0.8
