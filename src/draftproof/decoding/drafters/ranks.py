"""A fixed tree, read as ranks: which of its parent's candidates a node takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from draftproof.decoding.trees import static
from draftproof.decoding.trees.tree import Tree, tree_of


@dataclass(frozen=True, slots=True)
class RankLevel:
    """The nodes of one depth.

    Attributes:
        nodes: ``[n] int64``, their indices less one (columns of `Proposal.tokens`).
        parents: ``[n] int64``, where each one's parent stands among the level above's `inner`.
        ranks: ``[n] int64``, which of its parent's candidates it is, 0 the best.
        inner: ``[m] int64``, which of `nodes` have children.
    """

    nodes: torch.Tensor
    parents: torch.Tensor
    ranks: torch.Tensor
    inner: torch.Tensor


class Ranks:
    """The nodes of a tree whose siblings are their parent's best candidates in order.

    Attributes:
        tree: Its shape; None of a chain.
        size: Nodes below the root.
        deepest: The largest depth.
        widest: Most children of a node.
        depths: ``[N] int64``, of every node below the root.
        ranks: ``[N] int64``, likewise.
        levels: The nodes by depth, from 1 on.

    Raises:
        ValueError: No parents below the root, or one that does not come before its child.
    """

    def __init__(self, parents: Sequence[int], device: str) -> None:
        given = list(parents)
        whole = tree_of(given, device=device)
        if len(given) < 2:
            raise ValueError("a tree needs a node below the root")
        self.size, self.deepest = len(given) - 1, whole.deepest
        self.tree: Tree | None = None if given == list(range(-1, self.size)) else whole
        ranks, inner = static.ranks(given), set(given)
        self.widest = max(ranks) + 1

        def index(values: Sequence[int]) -> torch.Tensor:
            return torch.tensor(list(values), dtype=torch.int64, device=device)

        self.depths, self.ranks = whole.depths[0, 1:], index(ranks[1:])
        self.levels: list[RankLevel] = []
        above, depths = [0], static.depths(given)
        for depth in range(1, self.deepest + 1):
            nodes = [node for node, its in enumerate(depths) if its == depth]
            parents_at = [above.index(given[node]) for node in nodes]
            above = [node for node in nodes if node in inner]
            self.levels.append(
                RankLevel(
                    nodes=index([node - 1 for node in nodes]),
                    parents=index(parents_at),
                    ranks=index([ranks[node] for node in nodes]),
                    inner=index([place for place, node in enumerate(nodes) if node in inner]),
                )
            )
