"""Ensemble weight: verification against a mixture of target and draft, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Chains, TokenRule, of_drafts, row_at
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Ensemble(TokenRule):
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

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`; needs dense q.

        Raises:
            ValueError: The drafter gives no distributions.
        """
        mixed = self._mixed(chains)
        if chains.temperature == 0:
            return mixed.argmax(dim=-1) == chains.drafts
        return chains.below(of_drafts(mixed, chains.drafts))

    def following(self, chains: Chains, accepted: torch.Tensor) -> torch.Tensor:
        """See `TokenRule.following`; at temperature 0 the argmax of v, after all drafts of p."""
        if chains.temperature > 0:
            return TokenRule.following(self, chains, accepted)
        rows = torch.cat([self._mixed(chains), chains.p[:, chains.gamma :]], dim=1)
        return row_at(rows, accepted).argmax(dim=-1)

    def _mixed(self, chains: Chains) -> torch.Tensor:
        """Return v at every draft, ``[B, γ, V] float32``."""
        if chains.q is None:
            raise ValueError("the ensemble rule mixes in the draft's rows: it needs a dense q")
        p, q = chains.p[:, : chains.gamma], chains.q[:, : chains.gamma]
        return self.weight * p + (1 - self.weight) * q
