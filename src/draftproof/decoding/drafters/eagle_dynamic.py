"""EAGLE-2: a tree that follows the head's own confidence."""

from __future__ import annotations

import torch

from draftproof.decoding.drafters.drafter import Proposal
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.eagle_run import EagleDrafter, EagleRun
from draftproof.decoding.model import CausalModel
from draftproof.decoding.trees.tree import Tree, tree_of


class DynamicEagle(EagleDrafter):
    """Proposes the most promising nodes of a tree that grows where the head is sure.

    Li et al. 2024 (EAGLE-2, arXiv 2406.16858, section 4). A node is worth the product of the
    head's probabilities along its path. Level by level the `breadth` most valuable nodes are
    expanded into their `breadth` best children; in the end the `gamma` most valuable of all
    nodes are proposed. A child is never worth more than its parent, and between equals the earlier
    one is taken, so that these nodes are a tree. Each row has a tree of its own.

    Args:
        head: An EAGLE or EAGLE-3 head; moved to the target's device and dtype.
        target: The model that it was trained for.
        gamma: Nodes that are proposed; the paper's total token count less one.
        depth: Levels of the tree, at least 1.
        breadth: Nodes that are expanded on a level, and children of each.

    Raises:
        DraftproofError: The head belongs to another target.
        ValueError: A count below 1, or fewer nodes grown than are to be proposed.
    """

    def __init__(
        self, head: EagleHead, target: CausalModel, gamma: int, *, depth: int = 5, breadth: int = 4
    ) -> None:
        for name, value in (("gamma", gamma), ("depth", depth), ("breadth", breadth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        grown = breadth + (depth - 1) * breadth**2
        if gamma > grown or breadth > head.shape.vocabulary:
            raise ValueError(
                f"depth {depth} and breadth {breadth} grow {grown} nodes, {gamma} are to be "
                f"proposed of a vocabulary of {head.shape.vocabulary} tokens"
            )
        self._depth, self._breadth = depth, breadth
        self._scratch = max(breadth * (depth - 1), 1)
        super().__init__(EagleRun(head, target, depth, self._scratch), gamma)

    def tree(self, features: torch.Tensor, logits: torch.Tensor) -> Proposal:
        """See `EagleDrafter.tree`."""
        breadth, rows, device = self._breadth, len(logits), logits.device
        worth, tokens = _children(logits, breadth)
        all_worth, all_tokens = [worth[:, 0]], [tokens[:, 0]]
        all_parents = [torch.full((rows, breadth), -1, device=device)]
        # the frontier: index among all nodes, value, token, parent's features, slots it sees
        index = torch.arange(breadth, device=device).expand(rows, -1)
        value, chosen = worth[:, 0], tokens[:, 0]
        features = features.expand(-1, breadth, -1)
        sees = torch.zeros(rows, breadth, self._scratch, dtype=torch.bool, device=device)
        for level in range(1, self._depth):
            start = (level - 1) * breadth
            sees[:, torch.arange(breadth), start + torch.arange(breadth)] = True
            features, logits = self._run.expand(chosen, features, level, start, sees)
            worth, tokens = _children(logits, breadth)
            worth = (value[..., None] + worth).flatten(1)
            all_worth.append(worth)
            all_tokens.append(tokens.flatten(1))
            all_parents.append(index.repeat_interleave(breadth, dim=1))
            value, best = worth.topk(breadth, dim=1)
            index = breadth + (level - 1) * breadth**2 + best
            chosen = tokens.flatten(1).gather(1, best)
            parent = best // breadth
            features = features.gather(1, _wide(parent, features))
            sees = sees.gather(1, _wide(parent, sees))
        tree, kept = select(
            torch.cat(all_worth, 1), torch.cat(all_parents, 1), self.gamma, self._depth
        )
        return Proposal(torch.cat(all_tokens, 1).gather(1, kept), tree=tree)


def select(
    worth: torch.Tensor, parents: torch.Tensor, count: int, depth: int
) -> tuple[Tree, torch.Tensor]:
    """Return the tree of the most valuable nodes.

    Args:
        worth: ``[B, M]`` of all nodes, in the order in which they were grown; no node is worth
            more than its parent.
        parents: ``[B, M] int64``, the index of each node's parent, -1 for the root.
        count: How many are kept.
        depth: The largest depth.

    Returns:
        The tree and ``[B, count] int64``, the kept nodes in the order they were grown.
    """
    order = worth.sort(dim=1, descending=True, stable=True).indices
    kept = order[:, :count].sort(dim=1).values
    above = parents.gather(1, kept)
    shape = torch.where(above < 0, 0, torch.searchsorted(kept, above.clamp(min=0)) + 1)
    # rows that are not finite have no order; they end in an error, their tree must still be one
    shape = shape.minimum(torch.arange(count, device=shape.device))
    root = torch.full_like(shape[:, :1], -1)
    return tree_of(torch.cat([root, shape], dim=1), deepest=depth), kept


def _children(logits: torch.Tensor, breadth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best tokens of ``[B, w, V]`` rows and their log-probabilities, never above 0."""
    best = torch.log_softmax(logits, dim=-1).clamp(max=0).topk(breadth, dim=-1)
    return best.values, best.indices


def _wide(index: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return index[..., None].expand(-1, -1, like.shape[-1])
