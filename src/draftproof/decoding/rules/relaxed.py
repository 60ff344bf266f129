"""Relaxed acceptance: a draft that is nearly the target's best is kept, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Stateless, Verification, leading
from draftproof.decoding.sampling import probabilities
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Relaxed(Stateless):
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

    def verify(
        self,
        drafts: torch.Tensor,
        logits: torch.Tensor,
        q: torch.Tensor | None,
        uniforms: torch.Tensor,
        temperature: float,
        state: None = None,
    ) -> Verification:
        """See `Rule.verify`; neither `q` nor `uniforms` are looked at.

        Raises:
            ValueError: A temperature above 0.
        """
        if temperature > 0:
            raise ValueError("relaxed decodes greedily; set the temperature to 0")
        gamma = drafts.shape[1]
        best = logits.argmax(dim=-1)
        p = probabilities(logits[:, :gamma], 1.0)
        p_x = p.gather(2, drafts[..., None])[..., 0]
        l_x, ids = logits[:, :gamma].gather(2, drafts[..., None]), torch.arange(p.shape[-1])
        ahead = logits[:, :gamma] > l_x
        ahead |= (logits[:, :gamma] == l_x) & (ids.to(drafts.device) < drafts[..., None])
        accepted = leading((ahead.sum(dim=-1) < self.top) & (p_x >= p.amax(dim=-1) - self.delta))
        return Verification(accepted, best.gather(1, accepted[:, None])[:, 0])
