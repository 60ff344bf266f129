"""What the decision of a screen is made from; the vocabulary of its result is in `evidence`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from draftproof.stats.checks import count
from draftproof.stats.flips import flip_upper


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
