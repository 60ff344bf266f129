"""Synthetic acceptance: by coin whatever the models say, for measurements of speed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Chains, TokenRule, own_token, row_at
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Synthetic(TokenRule):
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

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`; the uniforms are needed at temperature 0 too."""
        return chains.uniforms[:, : chains.gamma] < self.rate

    def following(self, chains: Chains, accepted: torch.Tensor) -> torch.Tensor:
        """See `TokenRule.following`."""
        return own_token(row_at(chains.logits, accepted), chains.uniforms, chains.temperature)
