"""Typical acceptance: a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.drafters.drafter import Kind
from draftproof.decoding.rules.rule import (
    Stateless,
    TreeVerification,
    Verification,
    leading,
    row_at,
)
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.trees.tree import Tree
from draftproof.decoding.trees.walk import at_parents, longest, parents_of, path_to, running
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Typical(Stateless):
    """Medusa's typical acceptance (Cai et al. 2024, arXiv 2401.10774, section 3.3.1).

    Draft x is kept iff p(x) > min(ε, δ·exp(-H(p))), H the entropy in nats. The row is p at
    temperature 1 (``tempered=False``): judged on a row tempered to 0, entropy vanishes and the
    rule falls together with the argmax test. ``tempered=True`` is the published form, which at
    temperature 0 is greedy. Of a tree's paths of kept nodes the longest wins, of equally long ones
    that with the largest Σ ln p.

    Args:
        epsilon: Hard threshold ε.
        delta: Entropy-dependent threshold factor δ.
        tempered: Judge the row at the sampling temperature instead of at 1.
    """

    epsilon: float = 0.09
    delta: float = 0.3
    tempered: bool = False

    name: ClassVar[str] = "typical"
    facts: ClassVar[RuleFacts] = RULE_FACTS["typical"]
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1 or not 0 <= self.delta <= 1:
            raise ValueError(
                f"epsilon and delta must lie in [0, 1], got {self.epsilon} and {self.delta}"
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
        """See `Rule.verify`; `q` is not looked at."""
        gamma = drafts.shape[1]
        p = self._judged(logits[:, :gamma], temperature)
        kept = p.gather(2, drafts[..., None]).squeeze(2) > self._threshold(p)
        if self.tempered and temperature == 0:
            kept = logits[:, :gamma].argmax(dim=-1) == drafts
        accepted = leading(kept)
        return Verification(accepted, _next(row_at(logits, accepted), uniforms, temperature))

    def verify_tree(
        self,
        tokens: torch.Tensor,
        tree: Tree,
        logits: torch.Tensor,
        q: torch.Tensor | None,
        kind: Kind,
        uniforms: torch.Tensor,
        temperature: float,
    ) -> TreeVerification:
        """See `TreeRule.verify_tree`; neither `q` nor `kind` are looked at."""
        p, above = self._judged(logits, temperature), parents_of(tree, tokens.shape[0])
        p_x = at_parents(p, tokens, tree)
        kept = p_x > self._threshold(p).gather(1, above)
        if self.tempered and temperature == 0:
            kept = logits.argmax(dim=-1).gather(1, above) == tokens
        path = longest(running(kept, tree), p_x, tree)
        nodes, accepted, last = path_to(path, tree)
        return TreeVerification(nodes, accepted, _next(row_at(logits, last), uniforms, temperature))

    def _judged(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        return probabilities(logits, temperature if self.tempered and temperature > 0 else 1.0)

    def _threshold(self, p: torch.Tensor) -> torch.Tensor:
        entropy = torch.special.entr(p).sum(dim=-1)
        return (self.delta * torch.exp(-entropy)).clamp(max=self.epsilon)


def _next(row: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the token after the kept ones, ``[B] int64``, decided by the last coin."""
    if temperature == 0:
        return row.argmax(dim=-1)
    return draw(probabilities(row, temperature), uniforms[:, -1])
