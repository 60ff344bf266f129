"""Block verification: the whole chain is judged at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.exact import Exact
from draftproof.decoding.rules.rule import Rule, Verification, row_at
from draftproof.decoding.sampling import draw, probabilities
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Block(Rule):
    """Block verification (Sun et al. 2024, arXiv 2403.10444, algorithm 2).

    With w_0 = 1 and w_i = min(1, w_{i-1}·p_i(x_i)/q_i(x_i)), the residual mass after i drafts is
    R_i = Σ max(w_i·p_{i+1} - q_{i+1}, 0), and the prefix of length i is a candidate with
    probability h_i = R_i / (R_i + 1 - w_i), h_γ = w_γ. The longest candidate is kept; the token
    comes from max(w_τ·p_{τ+1} - q_{τ+1}, 0), or from p where all γ are kept. Keeps the law of the
    target and never keeps fewer tokens in expectation than the token rule. At temperature 0 both
    are the argmax test.
    """

    name: ClassVar[str] = "block"
    facts: ClassVar[RuleFacts] = RULE_FACTS["block"]
    dense: ClassVar[bool] = False

    def verify(
        self, drafts: torch.Tensor, logits: torch.Tensor, q: torch.Tensor | None,
        uniforms: torch.Tensor, temperature: float, state: None = None,
    ) -> Verification:  # fmt: skip
        """See `Rule.verify`."""
        if temperature == 0:
            return Exact().verify(drafts, logits, q, uniforms, temperature)
        gamma = drafts.shape[1]
        p = probabilities(logits, temperature).double()
        if q is None:
            q = torch.nn.functional.one_hot(drafts, logits.shape[-1])
        q = q.double()
        ratio = p[:, :gamma].gather(2, drafts[..., None]) / q.gather(2, drafts[..., None])
        weight = torch.ones_like(p[:, 0, 0])
        accepted = torch.zeros_like(drafts[:, 0])
        kept_weight = weight
        for i in range(1, gamma + 1):
            weight = (weight * ratio[:, i - 1, 0]).clamp(max=1)
            if i < gamma:
                residual = (weight[:, None] * p[:, i] - q[:, i]).clamp(min=0).sum(dim=1)
                mass = residual + 1 - weight
                chance = torch.where(mass > 0, residual / mass, torch.ones_like(mass))
            else:
                chance = weight
            kept = uniforms[:, i - 1] < chance
            accepted = torch.where(kept, i, accepted)
            kept_weight = torch.where(kept, weight, kept_weight)
        row_p = row_at(p, accepted)
        padded_q = torch.cat([q, torch.zeros_like(p[:, :1])], dim=1)
        scale = torch.where(accepted < gamma, kept_weight, torch.ones_like(kept_weight))
        weights = (scale[:, None] * row_p - row_at(padded_q, accepted)).clamp(min=0)
        empty = weights.sum(dim=-1, keepdim=True) == 0
        return Verification(accepted, draw(torch.where(empty, row_p, weights), uniforms[:, gamma]))
