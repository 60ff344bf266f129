"""Synthetic acceptance: by coin whatever the models say, for measurements of speed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Stateless, Verification, leading, row_at
from draftproof.decoding.sampling import draw, probabilities
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Synthetic(Stateless):
    """Keep each draft with the same probability, for benchmarks only: the text means nothing.

    Draft x is kept iff u < rate, so that a round emits (1 - rate^(γ+1)) / (1 - rate) tokens on
    average; what follows is the target's own choice after that prefix. It costs what an exact
    round costs, and corrupts the answer also at temperature 0. Serving stacks have it as
    vLLM's `synthetic` rejection sampling and SGLang's simulated acceptance length.

    Args:
        rate: Probability of keeping a draft whose predecessors are kept, in [0, 1].
    """

    rate: float = 0.8

    name: ClassVar[str] = "synthetic"
    facts: ClassVar[RuleFacts] = RULE_FACTS["synthetic"]
    dense: ClassVar[bool] = False
    needs_uniforms: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must lie in [0, 1], got {self.rate}")

    def verify(
        self,
        drafts: torch.Tensor,
        logits: torch.Tensor,
        q: torch.Tensor | None,
        uniforms: torch.Tensor,
        temperature: float,
        state: None = None,
    ) -> Verification:
        """See `Rule.verify`; `q` is not looked at, `uniforms` are needed at temperature 0 too."""
        gamma = drafts.shape[1]
        accepted = leading(uniforms[:, :gamma] < self.rate)
        row = row_at(logits, accepted)
        if temperature == 0:
            return Verification(accepted, row.argmax(dim=-1))
        return Verification(accepted, draw(probabilities(row, temperature), uniforms[:, gamma]))
