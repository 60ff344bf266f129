"""Acceptance thresholds: a token that is likely enough is kept, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.drafters.drafter import Kind
from draftproof.decoding.rules.rule import Chains, TokenRule, TreeVerification, row_at
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.trees.tree import Tree
from draftproof.decoding.trees.walk import (
    at_parents,
    chances_of,
    elder_siblings,
    first_of,
    path_to,
    running,
    without_children,
)
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Threshold(TokenRule):
    """Keep x if u ≤ p(x)/acc or p(x) ≥ single, as SGLang's two acceptance thresholds do.

    p is the target's row at temperature 1 when decoding greedily, so that the thresholds mean the
    same at every temperature; a greedy answer also keeps the argmax. With both thresholds at 1
    this is the exact rule for deterministic drafts. Of siblings in a tree the first is kept with
    u ≤ Σ p/acc, the sum up to and with itself, or p(x) ≥ single; u is one coin for all of them.

    Args:
        single: Probability from which on a draft is always kept, in [0, 1].
        acc: Divisor of the coin's test, in (0, 1].
    """

    single: float = 1.0
    acc: float = 1.0

    name: ClassVar[str] = "threshold"
    facts: ClassVar[RuleFacts] = RULE_FACTS["threshold"]
    dense: ClassVar[bool] = False
    reads_q: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.single <= 1 or not 0 < self.acc <= 1:
            raise ValueError(f"thresholds out of range: single {self.single}, acc {self.acc}")

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`."""
        if chains.temperature == 0:
            native = chains.best[:, : chains.gamma] == chains.drafts
        else:
            native = chains.below(chains.p_x / self.acc)
        return native | (chains.p_x >= self.single)

    def verify_tree(
        self, tokens: torch.Tensor, tree: Tree, logits: torch.Tensor, q: torch.Tensor | None,
        kind: Kind, uniforms: torch.Tensor, temperature: float,
    ) -> TreeVerification:  # fmt: skip
        """See `TreeRule.verify_tree`; `q` and `kind` are not looked at: no coin chose the nodes."""
        p = probabilities(logits, temperature or 1.0)
        p_x, elder = at_parents(p, tokens, tree).double(), elder_siblings(tree)
        if temperature == 0:
            best = logits.argmax(dim=-1)
            kept = best.gather(1, tree.parents[:, 1:].expand_as(tokens)) == tokens
        else:
            chance, before = chances_of(p_x, tokens, elder)
            coin = uniforms.gather(1, _eldest(tree).expand_as(tokens))
            kept = coin < (chance + before) / self.acc
        kept = first_of(kept | (p_x >= self.single), elder)
        nodes, accepted, last = path_to(running(kept, tree), tree)
        if temperature == 0:
            return TreeVerification(nodes, accepted, best.gather(1, last[:, None])[:, 0])
        weights = without_children(row_at(p, last), last, tokens, tree)
        return TreeVerification(nodes, accepted, draw(weights, uniforms[:, -1]))


def _eldest(tree: Tree) -> torch.Tensor:
    """Return the column of the coin that decides among each node's siblings, ``[1 or B, N]``."""
    parents = tree.parents[:, 1:]
    return (parents[:, :, None] == parents[:, None, :]).int().argmax(dim=2)
