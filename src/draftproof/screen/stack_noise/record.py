"""The section `stack_noise` of a verdict document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from draftproof.records import (
    ArmNoise,
    Cause,
    ContaminationEvidence,
    DirectionEvidence,
    StackNoise,
)
from draftproof.rescoring.scored_answers import ScoredAnswers
from draftproof.screen.stack_noise.findings import LISTED, NoiseFindings
from draftproof.screen.stack_noise.measure import MeasuredNoise
from draftproof.screen.stack_noise.shape import SHAPE_ARM
from draftproof.stats.deviations import NoiseFit
from draftproof.stats.direction import Direction
from draftproof.stats.positions import ScoredPositions

EXACT = StackNoise(
    instrument=None,
    sigma=0.0,
    threshold=0.0,
    margin=0.0,
    text="bits of these kernels do not depend on the shape of a computation: every difference "
    "counts",
)


def stack_noise(noise: NoiseFindings | None, *, exact: bool) -> StackNoise | None:
    """Return the section of one comparison; None where nobody scores answers.

    Args:
        noise: The findings; None where nothing was measured.
        exact: Whether both arms run kernels whose bits do not depend on shapes.
    """
    if exact:
        return EXACT
    if noise is None:
        return None
    measured = noise.measured
    if measured is None:
        return StackNoise(instrument=noise.instrument, text=f"not measured: {noise.problem}")
    return StackNoise(
        instrument=noise.instrument,
        text=sentence(noise, measured),
        arm=_arm((measured.scores,), measured.positions, measured.fit),
        clean=_arm(measured.clean_scores, measured.clean, measured.clean_fit),
        clean_arms=(
            *(s.arm for s in measured.clean_scores),
            *([SHAPE_ARM] if measured.shape_arm == SHAPE_ARM else []),
        ),
        sigma=_finite(measured.sigma),
        threshold=_finite(measured.named.threshold),
        margin=_finite(measured.margin),
        coarser=measured.coarser,
        named=noise.named[:LISTED],
        named_count=len(noise.named),
        named_clean=measured.named_clean,
        share_ratio=measured.share.ratio,
        share_cut=_finite(measured.share.cut),
        contamination=_contamination(measured),
        direction=_direction(measured.direction),
        deviating=noise.deviating,
    )


def _arm(scores: Sequence[ScoredAnswers], positions: ScoredPositions, fit: NoiseFit) -> ArmNoise:
    left_out: Counter[str] = Counter()
    for one in scores:
        left_out.update({reason.reason: reason.answers for reason in one.left_out})
    return ArmNoise(
        positions=positions.n,
        of=sum(s.positions for s in scores),
        deviations=fit.deviations,
        unexplained=positions.unexplained,
        largest=positions.largest,
        sigma=fit.sigma,
        sigma_upper=_finite(fit.sigma_upper),
        epsilon=fit.epsilon,
        epsilon_interval=(fit.epsilon_interval.low, fit.epsilon_interval.high),
        left_out=dict(left_out.most_common()),
    )


def _contamination(measured: MeasuredNoise) -> ContaminationEvidence:
    found = measured.contamination
    # J is 0 half of the time where the shares are equal, else chi-square with one degree
    p_value = 0.5 * math.erfc(math.sqrt(found.statistic / 2)) if found.statistic else 1.0
    return ContaminationEvidence(
        statistic=found.statistic,
        p_value=p_value,
        baseline_share=found.baseline_share,
        candidate_share=found.candidate_share,
        shape_arm=measured.shape_arm,
        leaks_detectable=found.leaks_detectable,
    )


def _direction(direction: Direction | None) -> DirectionEvidence | None:
    if direction is None:
        return None
    return DirectionEvidence(
        near_ties=int(direction.candidate.size.sum()),
        followed=direction.candidate.statistic,
        p_value=direction.candidate.p_value,
        baseline_p_value=direction.baseline.p_value,
        excess_z=_finite(direction.excess_z),
        fails=direction.fails,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _deviates(fit: NoiseFit, positions: ScoredPositions) -> str:
    return (
        f"{fit.deviations:,} of {positions.n:,} tokens (largest {positions.largest:.2g} nats, "
        f"σ at most {fit.sigma_upper:.2g})"
    )


def sentence(noise: NoiseFindings, measured: MeasuredNoise) -> str:
    """Return what the measurement says, with its limits."""
    arm, clean = measured.positions, measured.clean
    mine, plain = _deviates(measured.fit, arm), _deviates(measured.clean_fit, clean)
    parts = [f"the arm deviates from the scoring model at {mine}, plain decoding at {plain}"]
    if noise.named:
        causes = Counter(Cause(token.cause) for token in noise.named)
        listed = ", ".join(f"{n:,} {c.value}{'s' if n > 1 else ''}" for c, n in causes.items())
        parts.append(f"{listed} beyond its rounding")
    if math.isfinite(measured.margin):
        parts.append(f"one leak is named from {measured.margin:.2g} nats on")
    else:
        parts.append("too few positions to name a leak of any size")
    leaks = measured.contamination.leaks_detectable
    known = "leaks hidden among ties would show from"
    parts.append(f"{known} {leaks:,} on" if leaks <= arm.n else "leaks among ties would not show")
    return "; ".join(parts)
