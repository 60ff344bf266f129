"""The exact token rule of speculative decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.drafters.drafter import Kind
from draftproof.decoding.rules.rule import Chains, TokenRule, TreeVerification
from draftproof.decoding.rules.siblings import judge_drawn, judge_fixed
from draftproof.decoding.sampling import probabilities
from draftproof.decoding.trees.tree import Tree
from draftproof.decoding.trees.walk import at_parents, elder_siblings, first_of, path_to, running
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class Exact(TokenRule):
    """Leviathan et al. 2023 (arXiv 2211.17192, algorithm 1); Chen et al. 2023 (2302.01318).

    Draft x at position i is kept iff u·q(x) < p(x) with u uniform on [0, 1). At the first
    rejection the token comes from the residual max(p - q, 0), after γ acceptances from p. A
    deterministic proposal is the case q = one-hot: keep with probability p(x), residual p
    without x. At temperature 0 a draft is kept iff it is the argmax of p, ties to the lowest id.

    In a tree the children of a node are tried in the order of their proposal, and a rejected one
    leaves a residual for the next; how it does so depends on how siblings came about
    (`rules/siblings.py`). At temperature 0 the path follows the argmax wherever it was proposed.
    """

    name: ClassVar[str] = "exact"
    facts: ClassVar[RuleFacts] = RULE_FACTS["exact"]
    dense: ClassVar[bool] = False

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`."""
        if chains.temperature == 0:
            return chains.best[:, : chains.gamma] == chains.drafts
        return chains.below(chains.p_x)

    def verify_tree(
        self, tokens: torch.Tensor, tree: Tree, logits: torch.Tensor, q: torch.Tensor | None,
        kind: Kind, uniforms: torch.Tensor, temperature: float,
    ) -> TreeVerification:  # fmt: skip
        """See `TreeRule.verify_tree`."""
        if temperature == 0:
            best = logits.argmax(dim=-1)
            wanted = best.gather(1, tree.parents[:, 1:].expand_as(tokens))
            kept = first_of(wanted == tokens, elder_siblings(tree))
            nodes, accepted, last = path_to(running(kept, tree), tree)
            return TreeVerification(nodes, accepted, best.gather(1, last[:, None])[:, 0])
        p = probabilities(logits, temperature)
        if q is None or kind is Kind.ONE_HOT:
            return judge_fixed(tokens, tree, p, at_parents(p, tokens, tree), uniforms)
        return judge_drawn(tokens, tree, p, q, uniforms, replaced=kind is Kind.DENSE)
