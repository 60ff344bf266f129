"""The positions of one arm that an instrument (the scoring model) scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from draftproof.stats.checks import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPositions:
    """The positions of one arm that the instrument scored.

    Attributes:
        gap: Best minus second-best log-probability of the instrument, nats, float64 [N].
        deviation: Best log-probability minus that of the token said, nats, float64 [N];
            0 where the best token was said, at least `gap` elsewhere.
        prompt: Index of the prompt, int64 [N].
        position: Index of the token in its answer, int64 [N], or None when unknown.
        row: Index of the position in the arrays it was read from, int64 [N].
        unexplained: Positions left out because a log-probability was missing or not finite.
    """

    gap: FloatArray
    deviation: FloatArray
    prompt: IntArray
    position: IntArray | None
    row: IntArray
    unexplained: int

    @property
    def n(self) -> int:
        """Positions scored."""
        return int(self.gap.size)

    @property
    def deviates(self) -> BoolArray:
        """Whether the stack said another token than the instrument's best, bool [N]."""
        return np.asarray(self.deviation > 0)

    @property
    def largest(self) -> float:
        """Largest deviation in nats; 0 when every position agrees."""
        return float(self.deviation.max(initial=0.0))


def scored_positions(
    gap: ArrayLike, deviation: ArrayLike, prompt: ArrayLike, position: ArrayLike | None = None
) -> ScoredPositions:
    """Read one arm; a value that is NaN or infinite is unexplained, never an agreement.

    Args:
        gap: Best minus second-best log-probability, nats, [N].
        deviation: Best log-probability minus that of the token said, nats, [N].
        prompt: Index of the prompt, [N].
        position: Index of the token in its answer, [N].

    Raises:
        ValueError: When the arrays differ in length, a finite value is negative, or a deviation
            is positive but smaller than the gap (no token lies between the two best).

    Examples:
        >>> arm = scored_positions([0.1, 2.0, float("nan")], [0.1, 0.0, 0.0], [0, 0, 1])
        >>> arm.n, arm.unexplained, int(arm.deviates.sum())
        (2, 1, 1)
    """
    gaps = np.asarray(gap, dtype=np.float64)
    deviations = np.asarray(deviation, dtype=np.float64)
    prompts = np.asarray(prompt, dtype=np.int64)
    places = None if position is None else np.asarray(position, dtype=np.int64)
    arrays = [gaps, deviations, prompts] + ([] if places is None else [places])
    if any(a.ndim != 1 or a.size != gaps.size for a in arrays):
        raise ValueError("gap, deviation, prompt and position must be one-dimensional, one length")
    row = np.flatnonzero(np.isfinite(gaps) & np.isfinite(deviations))
    g, d = gaps[row], deviations[row]
    if (g < 0).any() or (d < 0).any():
        raise ValueError("gap and deviation must be >= 0 nats")
    # both are differences of float32 log-probabilities, which may round apart
    if ((d > 0) & (d < g - 1e-5 * (1 + g))).any():
        raise ValueError("a deviation must be 0 or at least the gap to the second-best token")
    return ScoredPositions(
        g, d, prompts[row], None if places is None else places[row], row, gaps.size - row.size
    )


def pooled(*arms: ScoredPositions) -> ScoredPositions:
    """Join the clean arms (baseline, its repeats, the shape arm) into one.

    Prompt and row numbers are kept as they are; they point into the arm they came from.

    Raises:
        ValueError: When no arm is given.
    """
    if not arms:
        raise ValueError("at least one arm is needed")
    places = [a.position for a in arms if a.position is not None]
    return ScoredPositions(
        np.concatenate([a.gap for a in arms]),
        np.concatenate([a.deviation for a in arms]),
        np.concatenate([a.prompt for a in arms]),
        np.concatenate(places) if len(places) == len(arms) else None,
        np.concatenate([a.row for a in arms]),
        sum(a.unexplained for a in arms),
    )
