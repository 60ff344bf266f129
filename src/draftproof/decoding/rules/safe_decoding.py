"""SafeDecoding as a rule: the expert steers the first tokens, the target decodes the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from draftproof.decoding.rules.sample_spaces import Spaces, sample_spaces
from draftproof.decoding.rules.steered import SteeredRule, SteeredState
from draftproof.records.rules import RULE_FACTS, RuleFacts

_LEAST = 1e-8


@dataclass(frozen=True, slots=True)
class SafeDecodingState(SteeredState):
    """How far every row of a batch has come.

    Attributes:
        emitted: ``[B] int64``, tokens emitted so far.
        mode: ``[B] int64``, 1 while the expert steers, 2 when the target decodes alone.
    """

    emitted: torch.Tensor
    mode: torch.Tensor


@dataclass(frozen=True, slots=True)
class SafeDecoding(SteeredRule):
    """SafeDecoding (Xu et al. 2024, arXiv 2402.08983): a safe beginning, then the target alone.

    The first m tokens are chosen from p + α(q - p) over the tokens within the top k of target and
    expert, k being the least for which they share `common` tokens; a score that is not positive
    counts as 1e-8, and above temperature 0 the scores to the power of 1/T, normalised, are the
    law. Then the target decodes alone. The expert is the target with an adapter trained to refuse.

    Args:
        alpha: α, at least 0; above 1 it goes beyond the expert.
        tokens: m.
        common: Tokens that both models must share.
    """

    alpha: float = 3.0
    tokens: int = 2
    common: int = 5

    name: ClassVar[str] = "safe_decoding"
    facts: ClassVar[RuleFacts] = RULE_FACTS["safe_decoding"]

    def __post_init__(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise ValueError(f"alpha must be a number, got {self.alpha!r}")
        if not math.isfinite(self.alpha) or self.alpha < 0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}")
        for name in ("tokens", "common"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}")

    def begin(self, rows: int, device: torch.device) -> SafeDecodingState:
        """Return the state of `rows` answers at their beginning."""
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        return SafeDecodingState(zeros, zeros + 1)

    def spaces(self, p: torch.Tensor, q: torch.Tensor) -> Spaces:
        """See `SteeredRule.spaces`."""
        # the target's law after the beginning is over its whole vocabulary
        return sample_spaces(p, q, self.common, few=p.shape[-1])

    def choice(self, spaces: Spaces, state: SafeDecodingState) -> torch.Tensor:
        """Return the greedy token of each row, ``[B] int64``."""
        scores = spaces.composite(self.alpha).clamp(min=_LEAST)
        return torch.where(state.mode == 1, spaces.choose(scores, spaces.both), spaces.argmax)

    def weights(self, spaces: Spaces, state: SafeDecodingState) -> torch.Tensor:
        """Return what a token's law is proportional to at temperature 1, ``[B, M] float32``."""
        scores = spaces.composite(self.alpha).clamp(min=_LEAST) * spaces.both
        return torch.where((state.mode == 1)[:, None], scores, spaces.p * spaces.first)

    def advance(
        self, state: SafeDecodingState, match: torch.Tensor, alive: torch.Tensor
    ) -> SafeDecodingState:
        """Count one emitted token of the rows that are alive."""
        emitted = state.emitted + alive.long()
        return replace(state, emitted=emitted, mode=torch.where(emitted < self.tokens, 1, 2))
