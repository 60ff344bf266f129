"""A small causal LM that proposes a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Ask, Drafter, Kind, Proposal
from draftproof.decoding.drafters.ranks import RankLevel, Ranks
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.model import CausalModel
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.trees.level import Level
from draftproof.decoding.trees.static import breadth_first
from draftproof.decoding.trees.tree import tree_of
from draftproof.decoding.trees.walk import elder_siblings, first_of, path_to, running


class _Step(NamedTuple):
    """One level of the tree: what is chosen from the rows before it, and what is run then.

    Attributes:
        level: Its nodes.
        columns: Those of `Proposal.tokens` that these are.
        above: ``[m] int64``, the nodes that the rows before it belong to.
        by_rank: For each rank, the places in the level of the nodes that have it, and of their
            parents in `above`.
        block: The shape of the nodes with children as a block of the draft, None without any.
    """

    level: RankLevel
    columns: slice
    above: torch.Tensor
    by_rank: Sequence[tuple[torch.Tensor, torch.Tensor]]
    block: Level | None


class DraftTree(Drafter):
    """Proposes a tree of one shape, level by level, with one draft forward a level.

    Greedy, the children of a node are the draft's best tokens; at a temperature they are drawn
    from its row without replacement, one coin a node. Only nodes with children run through the
    draft: they take the slots behind the root, and what was accepted of them moves to where it
    belongs at the beginning of the next round, before the last two committed tokens are fed
    (again), which are the only ones that the draft may not have seen.

    Args:
        model: The draft.
        parents: The tree, root first (``-1``), siblings by rank.

    Raises:
        ValueError: Not a tree, or one without nodes below its root.
    """

    def __init__(self, model: CausalModel, parents: Sequence[int]) -> None:
        ordered = breadth_first(parents)
        self.model, self.gamma = model, len(ordered) - 1
        if not self.gamma:
            raise ValueError("a tree without nodes below its root proposes nothing")
        device = str(model.device)
        self.tree = tree_of(ordered, device=device)
        self._elder = elder_siblings(self.tree)
        self._steps, self._places = _steps(Ranks(ordered, device), ordered, device)
        self._cache: RowCache
        self._last: _Round | None = None
        self._accepted: list[int] = []

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        self._cache = self.model.new_cache(rows, capacity)
        self._last, self._accepted = None, [0] * rows

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`."""
        prefill(self.model, self._cache, row, ids)
        self._accepted[row] = 0

    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        self._settle(ask)
        count, greedy = ask.lengths.shape[0], ask.temperature == 0
        tokens = ask.tail.new_zeros(count, self.gamma)
        q: torch.Tensor | None = None
        logits = self.model.forward(
            ask.tail, (ask.lengths - 2).clamp(min=0), self._cache, keep=1, longest=ask.longest
        )
        for step in self._steps:
            level, columns = step.level, step.columns
            if greedy:
                best = logits.topk(len(step.by_rank), dim=-1).indices
                chosen = best[:, level.parents, level.ranks]
            else:
                rows = probabilities(logits, ask.temperature)
                if q is None:
                    q = rows.new_zeros(count, self.gamma + 1, rows.shape[-1])
                q[:, step.above] = rows
                chosen = _drawn(rows, step, ask.uniforms[:, columns])
            tokens[:, columns] = chosen
            if step.block is not None:
                logits = self.model.forward(
                    chosen[:, level.inner],
                    ask.lengths - 1 + step.block.first,
                    self._cache,
                    longest=ask.longest + step.block.first,
                    tree=step.block,
                )
        begun = [0 if text is None else len(text) for text in ask.texts]
        self._last = _Round(ask.lengths, begun, tokens)
        kind = Kind.ONE_HOT if greedy else Kind.WITHOUT_REPLACEMENT
        return Proposal(tokens, q, tree=self.tree, kind=kind)

    def observe(self, accepted: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.observe`."""
        self._accepted = list(accepted)

    def _settle(self, ask: Ask) -> None:
        """Move what was accepted of the last tree to the slots behind its root."""
        if self._last is None or not any(self._accepted):
            return
        deepest = self.tree.deepest
        said = []
        for text, begun, kept in zip(ask.texts, self._last.begun, self._accepted, strict=True):
            path = [] if text is None else list(text[begun : begun + kept])
            said.append(path + [-1] * (deepest - len(path)))
        wanted = torch.tensor(said, device=ask.tail.device)[:, self.tree.depths[0, 1:] - 1]
        own = first_of(wanted == self._last.tokens, self._elder)
        nodes, accepted, _ = path_to(running(own, self.tree), self.tree)
        depth = torch.arange(1, deepest + 1, device=nodes.device)
        place = self._places[nodes]
        # a leaf was never run; it is the last but one committed token and will be fed
        moved = (depth <= accepted[:, None]) & (place > 0)
        roots = (self._last.lengths - 1)[:, None]
        self._cache.keep(roots + torch.where(moved, place, depth), roots + depth)


class _Round(NamedTuple):
    """The last proposal: each row's committed length, also on the host, and the tokens."""

    lengths: torch.Tensor
    begun: Sequence[int]
    tokens: torch.Tensor


def _drawn(rows: torch.Tensor, step: _Step, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw the children of each row's node without replacement.

    Args:
        rows: ``[B, m, V] float32``.
        step: The level.
        uniforms: ``[B, n] float64``, one a node of the level.

    Returns:
        ``[B, n] int64``.
    """
    chosen = torch.zeros(uniforms.shape, dtype=torch.int64, device=rows.device)
    left = rows.clone()
    for at, source in step.by_rank:
        part = left[:, source]
        token = draw(part, uniforms[:, at])
        chosen[:, at] = token
        left[:, source] = part.scatter(2, token[..., None], 0.0)
    return chosen


def _steps(ranks: Ranks, parents: Sequence[int], device: str) -> tuple[list[_Step], torch.Tensor]:
    """Return the levels of a tree, and each node's place among those that are run, or -1.

    Args:
        ranks: The tree.
        parents: Of it; its numbering is breadth first.
        device: Where the tensors shall live.
    """
    inner = sorted(set(parents) - {-1})
    place = {node: i for i, node in enumerate(inner)}
    run = tree_of([place.get(parents[node], -1) for node in inner], device=device)
    steps, above = [], torch.zeros(1, dtype=torch.int64, device=device)
    for level in ranks.levels:
        by_rank = []
        for rank in range(int(level.ranks.max()) + 1):
            at = (level.ranks == rank).nonzero()[:, 0]
            by_rank.append((at, level.parents[at]))
        below = [node + 1 for node in level.nodes[level.inner].tolist()]
        block = Level.of(run, place[below[0]], place[below[-1]] + 1) if below else None
        columns = slice(int(level.nodes[0]), int(level.nodes[-1]) + 1)
        steps.append(_Step(level, columns, above, by_rank, block))
        above = torch.tensor(below, dtype=torch.int64, device=device)
    places = [place.get(node, -1) for node in range(len(parents))]
    return steps, torch.tensor(places, dtype=torch.int64, device=device)
