"""The vocabulary of decisions: codes of reasons, and the two named profiles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
        name: "exact" or "tais".
        method: p-value of the equivalence test.
        mode: "equivalence" or "noninferiority".
        flip_bound: Whether the gross-flip bound is part of PASS.
        missing_worst_case: Whether PASS must survive every missing pair turning out badly.
        byte_channel: Whether byte identity of enough prompts passes without a scorer.
        effect_cutoff: Cutoff of |h| per stratum; None leaves effect sizes out of the rule.
        needs_byte_evidence: Whether byte identity beyond the noise floor blocks a PASS.
        needs_assay: Whether a sensitive control is a precondition of PASS.
        forensics_decide: Whether one leak or fault fails a candidate that claims to be lossless.
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

PROFILES = {profile.name: profile for profile in (EXACT, TAIS)}


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
