"""Typical acceptance: a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.drafters.drafter import Kind
from draftproof.decoding.rules.rule import (
    Chains,
    TokenRule,
    TreeVerification,
    own_token,
    row_at,
)
from draftproof.decoding.sampling import probabilities
from draftproof.decoding.trees.tree import Tree
from draftproof.decoding.trees.walk import at_parents, longest, parents_of, path_to, running
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Typical(TokenRule):
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
    reads_q: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1 or not 0 <= self.delta <= 1:
            raise ValueError(
                f"epsilon and delta must lie in [0, 1], got {self.epsilon} and {self.delta}"
            )

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`."""
        drafts, logits = chains.drafts, chains.logits[:, : chains.gamma]
        if self.tempered and chains.temperature == 0:
            return logits.argmax(dim=-1) == drafts
        p = self._judged(logits, chains.temperature)
        return p.gather(2, drafts[..., None]).squeeze(2) > self._threshold(p)

    def following(self, chains: Chains, accepted: torch.Tensor) -> torch.Tensor:
        """See `TokenRule.following`; a token that was rejected may come back."""
        return own_token(row_at(chains.logits, accepted), chains.uniforms, chains.temperature)

    def verify_tree(
        self, tokens: torch.Tensor, tree: Tree, logits: torch.Tensor, q: torch.Tensor | None,
        kind: Kind, uniforms: torch.Tensor, temperature: float,
    ) -> TreeVerification:  # fmt: skip
        """See `TreeRule.verify_tree`; neither `q` nor `kind` are looked at."""
        p, above = self._judged(logits, temperature), parents_of(tree, tokens.shape[0])
        p_x = at_parents(p, tokens, tree)
        kept = p_x > self._threshold(p).gather(1, above)
        if self.tempered and temperature == 0:
            kept = logits.argmax(dim=-1).gather(1, above) == tokens
        path = longest(running(kept, tree), p_x, tree)
        nodes, accepted, last = path_to(path, tree)
        token = own_token(row_at(logits, last), uniforms, temperature)
        return TreeVerification(nodes, accepted, token)

    def _judged(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        return probabilities(logits, temperature if self.tempered and temperature > 0 else 1.0)

    def _threshold(self, p: torch.Tensor) -> torch.Tensor:
        entropy = torch.special.entr(p).sum(dim=-1)
        return (self.delta * torch.exp(-entropy)).clamp(max=self.epsilon)
