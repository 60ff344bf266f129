"""A small causal LM that proposes a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Ask, Kind, Proposal
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.model import CausalModel
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.trees.level import Level
from draftproof.decoding.trees.static import breadth_first, depths, ranks
from draftproof.decoding.trees.tree import tree_of
from draftproof.decoding.trees.walk import elder_siblings, first_of, path_to, running


class _Step(NamedTuple):
    """One level of the tree: what is chosen from the rows before it, and what is run then.

    Attributes:
        nodes: Its nodes in the tree, consecutive.
        above: ``[m] int64``, the nodes that the rows before it belong to.
        source: ``[n] int64``, the place of each node's parent among these.
        rank: ``[n] int64``.
        by_rank: For each rank, the places in the level of the nodes that have it, and `source` of
            these.
        inner: ``[k] int64``, places in the level of the nodes that have children.
        block: The shape of those as a block of the draft, None where there are none.
    """

    nodes: slice
    above: torch.Tensor
    source: torch.Tensor
    rank: torch.Tensor
    by_rank: Sequence[tuple[torch.Tensor, torch.Tensor]]
    inner: torch.Tensor
    block: Level | None


class DraftTree:
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

    taps: tuple[int, ...] = ()

    def __init__(self, model: CausalModel, parents: Sequence[int]) -> None:
        ordered = breadth_first(parents)
        self.model, self.gamma = model, len(ordered) - 1
        if not self.gamma:
            raise ValueError("a tree without nodes below its root proposes nothing")
        device = str(model.device)
        self.tree = tree_of(ordered, device=device)
        self._elder = elder_siblings(self.tree)
        self._steps, self._places = _steps(ordered, device)
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
            columns = slice(step.nodes.start - 1, step.nodes.stop - 1)
            if greedy:
                best = logits.topk(len(step.by_rank), dim=-1).indices
                chosen = best[:, step.source, step.rank]
            else:
                rows = probabilities(logits, ask.temperature)
                if q is None:
                    q = rows.new_zeros(count, self.gamma + 1, rows.shape[-1])
                q[:, step.above] = rows
                chosen = _drawn(rows, step, ask.uniforms[:, columns])
            tokens[:, columns] = chosen
            if step.block is not None:
                logits = self.model.forward(
                    chosen[:, step.inner],
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


def _steps(parents: Sequence[int], device: str) -> tuple[list[_Step], torch.Tensor]:
    """Return the levels of a tree, and each node's place among those that are run, or -1.

    Args:
        parents: Of a tree whose numbering is breadth first.
        device: Where the tensors shall live.
    """

    def tensor(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    inner = sorted(set(parents) - {-1})
    place = {node: i for i, node in enumerate(inner)}
    run = tree_of([place.get(parents[node], -1) for node in inner], device=device)
    rank, depth = ranks(parents), depths(parents)
    steps, above = [], [0]
    for level in range(1, max(depth) + 1):
        nodes = [n for n, d in enumerate(depth) if d == level]
        source = [above.index(parents[n]) for n in nodes]
        by_rank = []
        for r in range(max(rank[n] for n in nodes) + 1):
            at = [i for i, n in enumerate(nodes) if rank[n] == r]
            by_rank.append((tensor(at), tensor([source[i] for i in at])))
        below = [n for n in nodes if n in place]
        block = Level.of(run, place[below[0]], place[below[-1]] + 1) if below else None
        steps.append(
            _Step(
                slice(nodes[0], nodes[-1] + 1), tensor(above), tensor(source),
                tensor([rank[n] for n in nodes]), by_rank, tensor([nodes.index(n) for n in below]),
                block,
            )
        )  # fmt: skip
        above = below
    return steps, tensor([place.get(node, -1) for node in range(len(parents))])
