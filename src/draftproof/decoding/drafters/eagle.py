"""EAGLE with a fixed tree, or as a chain."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.decoding.drafters.drafter import Proposal
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.eagle_run import EagleDrafter, EagleRun
from draftproof.decoding.drafters.ranks import Ranks
from draftproof.decoding.model import CausalModel


class Eagle(EagleDrafter):
    """Proposes an EAGLE head's best continuations in the shape of a fixed tree.

    Li et al. 2024 (arXiv 2401.15077); with an EAGLE-3 head, arXiv 2503.01840. A node holds the
    token that the head ranks r-th below its parent, r being its place among its siblings. Each
    level of the tree is one forward of the head.

    Args:
        head: The head; moved to the target's device and dtype.
        target: The model that it was trained for.
        parents: The tree, siblings by rank, e.g. ``chain(4)``.

    Raises:
        DraftproofError: The head belongs to another target.
        ValueError: The parents are no tree.
    """

    def __init__(self, head: EagleHead, target: CausalModel, parents: Sequence[int]) -> None:
        self._ranks = ranks = Ranks(parents, str(target.device))
        inner = [level.inner.numel() for level in ranks.levels]
        super().__init__(EagleRun(head, target, ranks.deepest, max(sum(inner), 1)), ranks.size)
        self._starts = [sum(inner[:depth]) for depth in range(len(inner))]
        self._sees = self._ancestors(max(sum(inner), 1), str(target.device))

    def _ancestors(self, scratch: int, device: str) -> list[torch.Tensor]:
        """Return for each level what its inner nodes see of the scratch slots."""
        found: list[torch.Tensor] = []
        above = torch.zeros(1, scratch, dtype=torch.bool, device=device)
        for level, start in zip(self._ranks.levels, self._starts, strict=True):
            count = level.inner.numel()
            own = above[level.parents[level.inner]].clone()
            own[torch.arange(count), start + torch.arange(count)] = True
            found.append(own[None])
            above = own
        return found

    def tree(self, features: torch.Tensor, logits: torch.Tensor) -> Proposal:
        """See `EagleDrafter.tree`."""
        tokens = torch.empty(len(logits), self.gamma, dtype=torch.int64, device=logits.device)
        for depth, level in enumerate(self._ranks.levels, start=1):
            best = logits.topk(self._ranks.widest, dim=-1).indices
            chosen = best[:, level.parents, level.ranks]
            tokens[:, level.nodes] = chosen
            if level.inner.numel():
                features, logits = self._run.expand(
                    chosen[:, level.inner],
                    features[:, level.parents[level.inner]],
                    depth,
                    self._starts[depth - 1],
                    self._sees[depth - 1],
                )
        return Proposal(tokens, tree=self._ranks.tree)
