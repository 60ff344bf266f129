"""Which tree is worth its nodes: Sequoia's topology (Chen et al. 2024, arXiv 2402.12374).

The acceptance vector p_1, p_2, … says how likely the k-th sibling is the one accepted, all its
elders rejected. A tree then emits on average G = Σ over its nodes of the product of p along the
path, the root counting 1 (it stands for the token that follows the path). Depths count levels
below the root, budgets count nodes below the root.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from draftproof.decoding.trees.static import depths


@dataclass(frozen=True, slots=True)
class Growth:
    """The best tree of every size at once: prefixes of one list.

    Attributes:
        parents: Root first; node i is the i-th to be added.
        values: How likely each node is accepted; the root's is 1.
    """

    parents: tuple[int, ...]
    values: tuple[float, ...]

    def tree(self, nodes: int) -> tuple[int, ...]:
        """Return the parents of the best tree with `nodes` nodes below the root."""
        return self.parents[: nodes + 1]

    def tokens(self, nodes: int) -> float:
        """Return G of that tree, tokens a round."""
        return sum(self.values[: nodes + 1])


def grow(accuracies: Sequence[Sequence[float]], nodes: int) -> Growth:
    """Return the best trees of up to `nodes` nodes by a heap, likeliest node first.

    With rows that do not increase, a node is never likelier than its parent or its elder
    sibling; the likeliest nodes therefore always form a tree, and no other has a larger G. The
    same greedy product found Medusa's published trees, from accuracies by head and rank.

    Args:
        accuracies: For each depth, from 1 on, the probability by rank; their number caps the
            depth. Sequoia has the same vector at every depth.
        nodes: Largest budget; fewer are returned where there are no more.

    Raises:
        ValueError: A row increases or leaves [0, 1].

    >>> grow([[0.6, 0.3]] * 2, 3).parents
    (-1, 0, 1, 0)
    """
    for row in accuracies:
        if any(not 0 <= x <= 1 for x in row) or any(b > a for a, b in pairwise(row)):
            raise ValueError(f"accuracies must not increase with rank, got {list(row)}")
    parents, values, deep = [-1], [1.0], [0]
    heap: list[tuple[float, int, int, int]] = []
    order = 0

    def offer(parent: int, rank: int) -> None:
        nonlocal order
        level = deep[parent]
        if level < len(accuracies) and rank < len(accuracies[level]):
            value = values[parent] * accuracies[level][rank]
            if value > 0:
                heapq.heappush(heap, (-value, order, parent, rank))
                order += 1

    offer(0, 0)
    while heap and len(parents) <= nodes:
        value, _, parent, rank = heapq.heappop(heap)
        parents.append(parent)
        values.append(-value)
        deep.append(deep[parent] + 1)
        offer(len(parents) - 1, 0)
        offer(parent, rank + 1)
    return Growth(tuple(parents), tuple(values))


@dataclass(frozen=True, slots=True)
class TreeChoice:
    """A tree and what it is predicted to do.

    Attributes:
        parents: Of the tree.
        depth: Levels below the root, which is how many forwards the draft takes.
        tokens: G, emitted a round on average.
        cost: Time of a round, in plain target steps.
    """

    parents: tuple[int, ...]
    depth: int
    tokens: float
    cost: float

    @property
    def speedup(self) -> float:
        """Over plain decoding, which emits one token a step."""
        return self.tokens / self.cost

    @property
    def nodes(self) -> int:
        """Nodes below the root."""
        return len(self.parents) - 1


def choose(
    vector: Sequence[float],
    verify: Callable[[int], float],
    draft: Callable[[int], float],
    *,
    nodes: int,
    depth: int,
    ranks: int | None = None,
) -> TreeChoice:
    """Return the tree with the least time a token, (Σ c + t(n + 1)) / G(n, d).

    The draft runs once a level, for the nodes of the level that have children: first for the
    root, and never for the last level, so that a tree of depth d takes d forwards. (Sequoia's
    own code counts the root's level too and so charges one forward too many; it takes the draft's
    time not to depend on the width.) Candidates are the trees with the largest G for their size
    and depth. A vector that rises is first brought down to its running minimum, which never
    promises more than was measured.

    Args:
        vector: Measured acceptance by rank.
        verify: t(W)/t(1) of a target forward W columns wide.
        draft: c by width, a draft forward in plain target steps.
        nodes: Largest budget.
        depth: Most levels.
        ranks: Most children of a node; 1 chooses among chains.

    Raises:
        ValueError: Nothing was ever accepted, or no node is allowed.
    """
    falling = monotone(vector)[:ranks]
    found: TreeChoice | None = None
    for level in range(1, depth + 1):
        growth = grow([falling] * level, nodes)
        for n in range(level, len(growth.parents)):
            tree = growth.tree(n)
            cost = sum(draft(width) for width in inner_widths(tree)) + verify(n + 1)
            one = TreeChoice(tree, level, growth.tokens(n), cost)
            if found is None or one.speedup > found.speedup:
                found = one
    if found is None:
        raise ValueError("no node is worth proposing: nothing is accepted, or none is allowed")
    return found


def inner_widths(parents: Sequence[int]) -> list[int]:
    """Return how many nodes of each level have children, from the root on.

    >>> inner_widths((-1, 0, 0, 1, 2))
    [1, 2]
    """
    level = depths(parents)
    inner = [level[node] for node in set(parents) if node >= 0]
    return [inner.count(d) for d in range(max(level))]


def monotone(vector: Sequence[float]) -> tuple[float, ...]:
    """Return the running minimum of a vector, what `grow` can take.

    >>> monotone([0.5, 0.1, 0.2])
    (0.5, 0.1, 0.1)
    """
    found: list[float] = []
    for value in vector:
        found.append(min(value, found[-1]) if found else value)
    return tuple(found)


def between(measured: Mapping[int, float]) -> Callable[[int], float]:
    """Return t by width, linear between the measured widths.

    Args:
        measured: Time by width; asking beyond the widths raises ValueError.
    """
    widths = sorted(measured)

    def time(width: int) -> float:
        if not widths or not widths[0] <= width <= widths[-1]:
            raise ValueError(f"width {width} lies outside of the measured ones {widths}")
        low = max(w for w in widths if w <= width)
        high = min(w for w in widths if w >= width)
        if low == high:
            return measured[low]
        share = (width - low) / (high - low)
        return measured[low] + share * (measured[high] - measured[low])

    return time
