"""What judges of trees share: siblings, and the way from decisions to a path.

Nothing here asks the device for a value: decisions about all nodes are made at once, and the
path is read off them.
"""

from __future__ import annotations

import torch

from draftproof.decoding.trees.tree import Tree


def parents_of(tree: Tree, rows: int) -> torch.Tensor:
    """Return the parents of nodes 1 to N of every row, ``[B, N] int64``."""
    return tree.parents[:, 1:].expand(rows, -1)


def at_parents(values: torch.Tensor, tokens: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Return what each node's parent's row says of the node's token.

    Args:
        values: ``[B, N + 1, V]``.
        tokens: ``[B, N] int64``.
        tree: The shape.

    Returns:
        ``[B, N]``, of the type of `values`.
    """
    flat = parents_of(tree, tokens.shape[0]) * values.shape[-1] + tokens
    return values.flatten(1).gather(1, flat)


def elder_siblings(tree: Tree) -> torch.Tensor:
    """Return whether node j + 1 is an elder sibling of node i + 1, ``[1 or B, N, N] bool``."""
    parents = tree.parents[:, 1:]
    same = parents[:, :, None] == parents[:, None, :]
    return same & torch.ones_like(same[0]).tril(-1)


def chances_of(
    p_x: torch.Tensor, tokens: torch.Tensor, elder: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each node's chance among its siblings, and that of its elder siblings together.

    A token that an elder sibling has proposed already has none left.

    Args:
        p_x: ``[B, N]``, each node's token under its parent's row.
        tokens: ``[B, N] int64``.
        elder: As `elder_siblings` gives it.

    Returns:
        Both ``[B, N] float64``.
    """
    again = (elder & (tokens[:, :, None] == tokens[:, None, :])).any(dim=2)
    chance = p_x.double().masked_fill(again, 0)
    return chance, (elder.to(chance.dtype) @ chance[:, :, None])[:, :, 0]


def children_of(tree: Tree) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return every node's children in order, and the most that a node of each depth has.

    Where the widths of the tree are not known, this asks the device for them, once.

    Returns:
        ``[1 or B, N + 1, K] int64`` nodes, 0 where there is none, and the widths.
    """
    parents = tree.parents[:, 1:]
    rank, widths = elder_siblings(tree).sum(dim=2), tree.widths
    if widths is None:
        level = tree.depths[:, None, 1:] == torch.arange(
            1, tree.deepest + 1, device=parents.device
        ).reshape(1, -1, 1)
        widths = tuple(((rank[:, None] + 1) * level).amax(dim=(0, 2)).tolist())
    most, size = max(widths, default=0), tree.size
    table = parents.new_zeros(parents.shape[0], size * most)
    numbers = torch.arange(1, size, device=parents.device).expand_as(parents)
    table.scatter_(1, parents * most + rank, numbers)
    return table.reshape(-1, size, most), widths


def first_of(kept: torch.Tensor, elder: torch.Tensor) -> torch.Tensor:
    """Return which kept nodes have no kept elder sibling, ``[B, N] bool``."""
    return kept & ~(elder & kept[:, None, :]).any(dim=2)


def running(kept: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Return whether every node from the root to a node is kept.

    Args:
        kept: ``[B, N] bool``, of nodes 1 to N; the root counts as kept.
        tree: The shape.

    Returns:
        ``[B, N + 1] bool``.
    """
    lost = torch.nn.functional.pad(~kept, (1, 0))
    return ~(tree.ancestors & lost[:, None, :]).any(dim=2)


def longest(run: torch.Tensor, p_x: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Return the nodes of the longest path of each row, of equally long ones the most likely.

    Args:
        run: ``[B, N + 1] bool``, as `running` gives it.
        p_x: ``[B, N]``, each node's probability after its parent.
        tree: The shape.

    Returns:
        ``[B, N + 1] bool``.
    """
    own = torch.where(run[:, 1:], p_x.double(), 1).log()
    scores = tree.ancestors[:, :, 1:].to(own.dtype) @ own[:, :, None]
    depths = torch.where(run, tree.depths, -1)
    deepest = depths == depths.amax(dim=1, keepdim=True)
    last = scores[:, :, 0].masked_fill(~deepest, -torch.inf).argmax(dim=1)
    rows = run.shape[0]
    return tree.ancestors.expand(rows, -1, -1)[torch.arange(rows, device=run.device), last]


def path_to(on_path: torch.Tensor, tree: Tree) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a path as a list of nodes.

    Args:
        on_path: ``[B, N + 1] bool``, the nodes of one path of each row, the root among them.
        tree: The shape.

    Returns:
        The nodes below the root ``[B, deepest] int64`` (0 beyond the end), how many they are
        ``[B] int64``, and the last node ``[B] int64``, 0 where the path is the root alone.
    """
    rows, size = on_path.shape
    numbers = torch.arange(size, device=on_path.device).expand(rows, -1)
    column = torch.where(on_path, tree.depths, tree.deepest + 1)
    nodes = numbers.new_zeros(rows, tree.deepest + 2).scatter_(1, column, numbers)
    accepted = on_path.sum(dim=1) - 1
    return nodes[:, 1:-1], accepted, nodes.gather(1, accepted[:, None])[:, 0]


def without_children(
    row: torch.Tensor, last: torch.Tensor, tokens: torch.Tensor, tree: Tree
) -> torch.Tensor:
    """Return the row after a path's last node, the tokens of that node's children taken out.

    Args:
        row: ``[B, V]`` probabilities after the last node.
        last: ``[B] int64``.
        tokens: ``[B, N] int64``.
        tree: The shape.

    Returns:
        ``[B, V]``; `row` itself where nothing would be left.
    """
    below = parents_of(tree, tokens.shape[0]) == last[:, None]
    tried = torch.zeros(row.shape[0], row.shape[1] + 1, dtype=torch.bool, device=row.device)
    tried.scatter_(1, torch.where(below, tokens, row.shape[1]), True)
    left = row.masked_fill(tried[:, :-1], 0)
    return torch.where(left.sum(dim=-1, keepdim=True) == 0, row, left)
