"""Simulated arms of scored positions: clean noise of six kinds, leaks of two kinds of margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from draftproof.stats.positions import ScoredPositions, scored_positions

Array = NDArray[np.float64]
PROMPTS, LENGTH = 60, 64
KINDS = ("logistic", "probit", "student", "prompts", "outliers", "growth")
LOGISTIC = 1 / 1.702


def draw_gaps(rng: np.random.Generator) -> Array:
    """Gaps of one arm in nats, [60, 64]; 3 % below 0.05 as on SmolLM2 (117 of 3,832)."""
    shape = (PROMPTS, LENGTH)
    uncertain = rng.random(shape) < 0.5
    return np.where(uncertain, rng.exponential(0.8, shape), rng.gamma(3.0, 2.0, shape))


@dataclass(frozen=True)
class Noise:
    """Rounding of one stack: by how much it lifts the second token over the best, nats.

    Attributes:
        kind: One of KINDS: logistic; normal; Student t with 4 degrees of freedom; logistic with a
            lognormal scale (0.7) a prompt; logistic with 1 % of scale ten; logistic whose scale
            grows threefold along the answer (0.5 to 1.5).
        scale: Scale of every prompt, [60]; shared by the arms, which ask the same prompts.
    """

    kind: str
    scale: Array

    def draw(self, rng: np.random.Generator, sigma: float) -> Array:
        """Draw the lift at every position, nats, [60, 64]."""
        shape = (PROMPTS, LENGTH)
        if self.kind == "probit":
            return rng.normal(0, sigma, shape)
        if self.kind == "student":
            return sigma * rng.standard_t(4, shape)
        lift = rng.logistic(0, sigma * LOGISTIC, shape)
        if self.kind == "prompts":
            return lift * self.scale[:, None]
        if self.kind == "outliers":
            return lift * np.where(rng.random(shape) < 0.01, 10.0, 1.0)
        if self.kind == "growth":
            return lift * (0.5 + np.arange(LENGTH) / LENGTH)
        return lift


def noise_of(rng: np.random.Generator, kind: str) -> Noise:
    return Noise(kind, np.exp(rng.normal(0, 0.7, PROMPTS)))


def answered(gaps: Array, lift: Array) -> ScoredPositions:
    """Let the rounding decide every position."""
    return scored_positions(
        gaps.ravel(),
        np.where(lift > gaps, gaps, 0.0).ravel(),
        np.repeat(np.arange(PROMPTS), LENGTH),
        np.tile(np.arange(LENGTH), PROMPTS),
    )


def planted(rng: np.random.Generator, arm: ScoredPositions, margins: Array) -> ScoredPositions:
    """Put leaks of the given margins (nats) in place of tokens drawn at random."""
    gap, deviation = arm.gap.copy(), arm.deviation.copy()
    where = rng.choice(arm.n, margins.size, replace=False)
    gap[where], deviation[where] = margins, margins
    return scored_positions(gap, deviation, arm.prompt, arm.position)


def ordinary_margins(rng: np.random.Generator, leaks: int) -> Array:
    """Margins of a leaky early exit, nats: Weibull 1.2 with the measured median of 1.6."""
    return 1.6 * (rng.weibull(1.2, leaks) / np.log(2) ** (1 / 1.2))


def hidden_margins(rng: np.random.Generator, leaks: int) -> Array:
    """Margins of leaks that hide among ties, U(0, 0.45) nats."""
    return rng.uniform(0, 0.45, leaks)
