"""Relaxed acceptance: a draft that is nearly the target's best is kept, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Chains, TokenRule
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Relaxed(TokenRule):
    """TensorRT-LLM's relaxed acceptance (`relaxed_topk`, `relaxed_delta`).

    Draft x is kept iff it is among the target's `top` best tokens and p(x) ≥ max p - delta, p the
    row at temperature 1; what follows the kept drafts is the argmax. TensorRT-LLM does so between
    the tokens that begin and end a model's thinking, here it holds for the whole answer. Its own
    defaults, top = 1 and delta = 0, are the exact rule; those here are the ones that Modular MAX
    ships. Greedy decoding only.

    Args:
        top: How many of the best tokens are candidates.
        delta: How much less likely than the best one a candidate may be, in [0, 1].
    """

    top: int = 10
    delta: float = 0.6

    name: ClassVar[str] = "relaxed"
    facts: ClassVar[RuleFacts] = RULE_FACTS["relaxed"]
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.top < 1 or not 0 <= self.delta <= 1:
            raise ValueError(
                f"top must be at least 1 and delta lie in [0, 1], got {self.top} and {self.delta}"
            )

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`.

        Raises:
            ValueError: A temperature above 0.
        """
        if chains.temperature > 0:
            raise ValueError("relaxed decodes greedily; set the temperature to 0")
        drafts, logits, p = chains.drafts, chains.logits[:, : chains.gamma], chains.p
        l_x, ids = logits.gather(2, drafts[..., None]), torch.arange(p.shape[-1])
        ahead = logits > l_x
        ahead |= (logits == l_x) & (ids.to(drafts.device) < drafts[..., None])
        near = p.gather(2, drafts[..., None])[..., 0] >= p[:, : chains.gamma].amax(-1) - self.delta
        return (ahead.sum(dim=-1) < self.top) & near
