"""Speculative Safety-Aware Decoding as an acceptance rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch

from draftproof.decoding.rules.sample_spaces import Spaces, sample_spaces
from draftproof.decoding.rules.steered import SteeredRule, SteeredState
from draftproof.records.rules import RULE_FACTS, RuleFacts

INTERSECTION, UNION = 1, 2

PRESETS: dict[str, dict[str, float]] = {
    "llama2": {"alpha_intersection": 0.3, "alpha_union": 0.8},
    "vicuna": {"alpha_intersection": 0.45, "alpha_union": 2.0},
    "llama3.1": {"alpha_intersection": 0.5, "alpha_union": 0.5, "threshold": 0.5},
}
"""The published constants by target; what a preset does not name keeps its default."""


@dataclass(frozen=True, slots=True)
class SafetyAwareState(SteeredState):
    """Where every row of a batch stands; all ``[B]``, on the model's device.

    Attributes:
        mode: 1 intersection (utility), 2 union (safety).
        threshold: Match ratio below which the next window is decoded in union mode.
        alpha: The expert's weight in intersection mode.
        seen: Tokens in the window so far.
        matched: Those of them that were the expert's own choice.
    """

    mode: torch.Tensor
    threshold: torch.Tensor
    alpha: torch.Tensor
    seen: torch.Tensor
    matched: torch.Tensor


@dataclass(frozen=True, slots=True)
class SafetyAware(SteeredRule):
    """SSD (Wang, Zhu, Cheng 2025, arXiv 2508.17739): the expert drafts and steers.

    Every token is chosen from a composite m = p + α(q - p) of target and expert: over the tokens
    that both rank high (intersection, α₁) or over the best of either (union, α₂). After each
    window of g tokens the share that equalled the expert's own choice decides the mode of the
    next one: below the threshold union, else intersection. While the mode stays, the threshold
    sinks by 0.1 and, in intersection, α₁ by 0.15 down to a floor; a change of mode resets both.

    A token depends on the rows at the true prefix and on the state of its window, never on how
    it was drafted: the answer is that of decoding the composite token by token, for every γ.

    At a temperature above 0, which the paper leaves open, the token's law is proportional to
    max(m, 0)^(1/T) over the same space, formed on rows at temperature 1, so that T → 0 is greedy
    decoding; where the target's argmax is not among the expert's k*, it is p^(1/T) over the
    target's k* best. A token counts as a match with the probability of the maximal coupling with
    the expert's law, min(1, q(x)/m(x)), which is the acceptance of the draft where there is one:
    the law of answer and modes does not depend on γ. (Below T of about 0.1 the expert's
    rows at temperature 1 can no longer be told from those that drafts are drawn from, in single
    precision.)

    The published procedure has habits that `compat` decides about. ``paper`` keeps them: the
    threshold sinks to zero, after which union is never entered again in that answer; α₁ below the
    floor is raised to it; and in union, where the expert leads, its own choices count as matches,
    so that union is left after a window whatever the target would say. ``fixed`` stops the
    threshold at `threshold_floor`, only ever lowers α₁, and counts a token in union as a match
    only if it is the target's argmax too: union is left when the models agree again.

    Args:
        alpha_intersection: α₁, at least 0.
        alpha_union: α₂, at least 0; above 1 it goes beyond the expert.
        window: g.
        common: Tokens that both models must share before the intersection is wide enough.
        threshold: Match ratio at the start.
        reset_threshold: Match ratio after a change of mode; ``fixed`` resets to `threshold`.
        threshold_step: What a stable window takes off the threshold.
        threshold_floor: Least threshold with ``compat="fixed"``.
        alpha_step: What a stable intersection window takes off α₁.
        alpha_floor: Least α₁.
        compat: ``paper`` or ``fixed``.
    """

    alpha_intersection: float = 0.3
    alpha_union: float = 0.8
    window: int = 7
    common: int = 10
    threshold: float = 0.6
    reset_threshold: float = 0.6
    threshold_step: float = 0.1
    threshold_floor: float = 0.2
    alpha_step: float = 0.15
    alpha_floor: float = 0.3
    compat: str = "paper"

    name: ClassVar[str] = "safety_aware"
    facts: ClassVar[RuleFacts] = RULE_FACTS["safety_aware"]

    def __post_init__(self) -> None:
        if self.compat not in {"paper", "fixed"}:
            raise ValueError(f"compat must be paper or fixed, got {self.compat!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in {"window", "common"}:
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ValueError(f"{field.name} must be a whole number from 1, got {value!r}")
            elif field.name != "compat":
                _check_number(field.name, value)

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """Return the published constants for a target: llama2, vicuna or llama3.1.

        Args:
            name: The preset.
            options: Parameters that differ from it.

        Raises:
            ValueError: No such preset, or a parameter out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"preset: no {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **options})

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Return the rule that a plan's options mean: a `preset` by name, and parameters."""
        given = dict(options)
        name = given.pop("preset", None)
        return cls(**given) if name is None else cls.preset(str(name), **given)

    def begin(self, rows: int, device: torch.device) -> SafetyAwareState:
        """Return the state of `rows` answers at their beginning."""
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        ones = torch.ones(rows, dtype=torch.float64, device=device)
        return SafetyAwareState(
            mode=zeros + INTERSECTION,
            threshold=ones * self.threshold,
            alpha=ones * self.alpha_intersection,
            seen=zeros,
            matched=zeros,
        )

    def spaces(self, p: torch.Tensor, q: torch.Tensor) -> Spaces:
        """See `SteeredRule.spaces`."""
        return sample_spaces(p, q, self.common)

    def choice(self, spaces: Spaces, state: SafetyAwareState) -> torch.Tensor:
        """Return the greedy token of each row, ``[B] int64``."""
        both = spaces.choose(spaces.composite(state.alpha), spaces.both)
        both = torch.where(spaces.argmax_outside_intersection, spaces.argmax, both)
        either = spaces.choose(spaces.composite(self.alpha_union), spaces.either)
        return torch.where(state.mode == INTERSECTION, both, either)

    def weights(self, spaces: Spaces, state: SafetyAwareState) -> torch.Tensor:
        """Return what a token's law is proportional to at temperature 1, ``[B, M] float32``."""
        utility = (state.mode == INTERSECTION)[:, None]
        alpha = torch.where(state.mode == INTERSECTION, state.alpha, self.alpha_union)
        allowed = torch.where(utility, spaces.both, spaces.either)
        weights = spaces.composite(alpha) * allowed
        own = utility & spaces.argmax_outside_intersection[:, None]
        return torch.where(own, spaces.p * spaces.best, weights).clamp(min=0)

    def counts(
        self, match: torch.Tensor, chosen: torch.Tensor, spaces: Spaces, state: SafetyAwareState
    ) -> torch.Tensor:
        """Return which matches count towards the next mode, ``[B] bool``."""
        if self.compat == "paper":
            return match
        return match & ((state.mode == INTERSECTION) | (chosen == spaces.argmax))

    def steady(self, before: SafetyAwareState, after: SafetyAwareState) -> bool:
        """Return whether mode and weight are the same; see `SteeredRule.steady`."""
        if before.mode is after.mode and before.alpha is after.alpha:
            return True
        same = torch.equal(before.mode, after.mode) and torch.equal(before.alpha, after.alpha)
        return bool(same)

    def advance(
        self, state: SafetyAwareState, match: torch.Tensor, alive: torch.Tensor
    ) -> SafetyAwareState:
        """Count one emitted token of the rows that are alive; close windows that are full.

        Args:
            state: Where the rows stand.
            match: ``[B] bool``, whether the token was the expert's own choice.
            alive: ``[B] bool``, the rows that emit a token.
        """
        seen = state.seen + alive.long()
        matched = state.matched + (alive & match).long()
        full = alive & (seen == self.window)
        if full.is_cpu and not full.any():
            return replace(state, seen=seen, matched=matched)
        wanted = torch.where(matched.double() / self.window < state.threshold, UNION, INTERSECTION)
        stable = wanted == state.mode
        fixed = self.compat == "fixed"
        floor = self.threshold_floor if fixed else 0.0
        sunk = (state.threshold - self.threshold_step).clamp(min=floor)
        sunk = torch.where(sunk <= 1e-10, 0.0, sunk)
        lowered = (state.alpha - self.alpha_step).clamp(min=self.alpha_floor)
        if fixed:
            lowered = torch.minimum(lowered, state.alpha)
        lowered = torch.where(state.mode == INTERSECTION, lowered, state.alpha)
        reset = self.threshold if fixed else self.reset_threshold
        return SafetyAwareState(
            mode=torch.where(full, wanted, state.mode),
            threshold=torch.where(full, torch.where(stable, sunk, reset), state.threshold),
            alpha=torch.where(
                full, torch.where(stable, lowered, self.alpha_intersection), state.alpha
            ),
            seen=torch.where(full, 0, seen),
            matched=torch.where(full, 0, matched),
        )


def _check_number(name: str, value: object) -> None:
    """Raise ValueError unless a weight, a step or a threshold is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    if "threshold" in name and value > 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
