"""FLy: a disagreement in doubt is forgiven if agreement follows, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.exact import Exact
from draftproof.decoding.rules.rule import Chains, TokenRule
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Fly(TokenRule):
    """FLy (Li et al. 2025, arXiv 2511.22972) as vLLM ships it under the name `fly`.

    A draft x at position i that the exact rule rejects is kept all the same iff the target is in
    doubt, h = -Σ p ln p ≥ entropy over the `top` best tokens (not normalised among themselves),
    the exact rule keeps each of the next W drafts, i + W < γ with i counted from 0, and p(x) > 0.
    W = min(6, γ - 1) if not given. The row is p at temperature 1 when decoding greedily. With
    γ = 1, or W of γ or more, nothing is ever forgiven. The answer depends on γ.

    Args:
        entropy: Least entropy of the best tokens, nats.
        window: W, drafts that must be kept after the forgiven one; None is the default above.
        top: How many of the best tokens the entropy is taken over.
    """

    entropy: float = 0.3
    window: int | None = None
    top: int = 3

    name: ClassVar[str] = "fly"
    facts: ClassVar[RuleFacts] = RULE_FACTS["fly"]
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.entropy < 0 or self.top < 1 or (self.window is not None and self.window < 1):
            raise ValueError("entropy must not be negative, window and top be at least 1")

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`."""
        native, p = Exact().kept(chains), chains.p[:, : chains.gamma]
        best = p.topk(min(self.top, p.shape[-1]), dim=-1).values
        doubt = torch.special.entr(best).sum(dim=-1) >= self.entropy
        return native | (doubt & (chains.p_x > 0) & self._followed(native))

    def _followed(self, native: torch.Tensor) -> torch.Tensor:
        """Return where the next W drafts lie within the chain and are all kept, ``[B, γ]``."""
        gamma = native.shape[1]
        window = min(6, gamma - 1) if self.window is None else self.window
        if not 0 < window < gamma:
            return torch.zeros_like(native)
        whole = native[:, 1:].unfold(1, window, 1).all(dim=2)
        return torch.nn.functional.pad(whole, (0, window))
