"""Ensemble weight: verification against a mixture of target and draft, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Stateless, Verification, after_rejection, leading
from draftproof.decoding.sampling import probabilities
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Ensemble(Stateless):
    """Verify against v = w·p + (1 - w)·q (arXiv 2604.07622; transformers' ensemble weight).

    A draft x is kept iff u·q(x) < v(x), and at a rejection the token comes from
    max(p - q, 0), which is proportional to max(v - q, 0); after γ acceptances it comes from p. The
    law of verified tokens is v, the bonus token's is p, so the answer depends on γ. At
    temperature 0 the argmax of v, formed on rows at temperature 1, takes the place of the
    target's. With w = 1 this is the exact rule.

    Args:
        weight: w, the target's share, in [0, 1].
    """

    weight: float = 0.5

    name: ClassVar[str] = "ensemble"
    facts: ClassVar[RuleFacts] = RULE_FACTS["ensemble"]
    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], got {self.weight}")

    def verify(
        self,
        drafts: torch.Tensor,
        logits: torch.Tensor,
        q: torch.Tensor | None,
        uniforms: torch.Tensor,
        temperature: float,
        state: None = None,
    ) -> Verification:
        """See `Rule.verify`; needs dense q.

        Raises:
            ValueError: The drafter gives no distributions.
        """
        if q is None:
            raise ValueError("the ensemble rule mixes in the draft's rows: it needs a dense q")
        gamma = drafts.shape[1]
        q = q[:, :gamma]
        p = probabilities(logits, temperature or 1.0)
        mixed = self.weight * p[:, :gamma] + (1 - self.weight) * q
        if temperature == 0:
            best = torch.cat([mixed.argmax(dim=-1), p[:, gamma:].argmax(dim=-1)], dim=1)
            accepted = leading(best[:, :gamma] == drafts)
            return Verification(accepted, best.gather(1, accepted[:, None]).squeeze(1))
        v_x = mixed.gather(2, drafts[..., None]).squeeze(2).double()
        q_x = q.gather(2, drafts[..., None]).squeeze(2).double()
        accepted = leading(uniforms[:, :gamma] * q_x < v_x)
        return Verification(accepted, after_rejection(drafts, p, q, accepted, uniforms[:, gamma]))
