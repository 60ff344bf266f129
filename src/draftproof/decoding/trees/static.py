"""Shapes as parents and as paths of ranks, and shapes that were published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MEDUSA_63 = (
    10, 10, 7, 3, 2, 1, 1, 1, 1, 1, 1, 10, 3, 2, 1, 1, 1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
)  # fmt: skip
EAGLE_25 = (4, 3, 2, 2, 1, 3, 2, 2, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2)
"""Numbers of children in breadth-first order; those left out are 0."""


def from_paths(paths: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the parents of a tree given by the path of ranks to each node.

    Args:
        paths: Of every node below the root: ``(2, 0)`` is the best child of the root's third
            best. Nodes are numbered breadth first, siblings by rank.

    Raises:
        ValueError: A path occurs twice, or a node's parent or elder sibling is missing.

    >>> from_paths([(0,), (1,), (0, 0)])
    (-1, 0, 0, 1)
    """
    ordered = sorted((tuple(p) for p in paths), key=lambda path: (len(path), path))
    number: dict[tuple[int, ...], int] = {(): 0}
    parents = [-1]
    for path in ordered:
        before = path[:-1] if not path or path[-1] == 0 else (*path[:-1], path[-1] - 1)
        if path in number or before not in number:
            raise ValueError(f"the tree has {path} twice, or lacks {before} before it")
        number[path] = len(parents)
        parents.append(number[path[:-1]])
    return tuple(parents)


def from_counts(counts: Sequence[int]) -> tuple[int, ...]:
    """Return the parents of a tree given by each node's number of children, breadth first.

    >>> from_counts((2, 1))
    (-1, 0, 0, 1)
    """
    parents = [-1]
    for node, count in enumerate(counts):
        parents += [node] * count
    return tuple(parents)


def ranks(parents: Sequence[int]) -> tuple[int, ...]:
    """Return each node's rank among its siblings, 0 for the first and for the root.

    >>> ranks((-1, 0, 0, 1))
    (0, 0, 1, 0)
    """
    seen = [0] * len(parents)
    found = [0]
    for parent in parents[1:]:
        found.append(seen[parent])
        seen[parent] += 1
    return tuple(found)


def depths(parents: Sequence[int]) -> tuple[int, ...]:
    """Return each node's depth, 0 for the root."""
    found = [0]
    for parent in parents[1:]:
        found.append(found[parent] + 1)
    return tuple(found)


def breadth_first(parents: Sequence[int]) -> tuple[int, ...]:
    """Return the same tree numbered level by level, siblings in the order they had.

    >>> breadth_first((-1, 0, 1, 0))
    (-1, 0, 0, 1)
    """
    paths: list[tuple[int, ...]] = [()]
    for parent, rank in list(zip(parents, ranks(parents), strict=True))[1:]:
        paths.append((*paths[parent], rank))
    return from_paths(paths[1:])


STATIC_TREES: dict[str, tuple[int, ...]] = {
    "medusa-63": from_counts(MEDUSA_63),
    "eagle-25": from_counts(EAGLE_25),
}
"""Published trees: Medusa's `mc_sim_7b_63` (Cai et al. 2024, medusa_choices.py) and the tree of
EAGLE-1 (Li et al. 2024, choices.py), which bears the same name there."""


def static_tree(name: str) -> tuple[int, ...]:
    """Return the parents of a published tree.

    Raises:
        ValueError: No tree is called so.
    """
    if name not in STATIC_TREES:
        raise ValueError(f"no tree is called {name!r}; there are {', '.join(sorted(STATIC_TREES))}")
    return STATIC_TREES[name]


def chain(gamma: int) -> tuple[int, ...]:
    """Return the parents of a chain of `gamma` drafted nodes below the root.

    Node 0 is the root (the last committed token) and has parent -1; node i hangs below i - 1.

    >>> chain(3)
    (-1, 0, 1, 2)
    """
    if gamma < 0:
        raise ValueError(f"gamma must not be negative, got {gamma}")
    return tuple(range(-1, gamma))
