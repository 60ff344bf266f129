"""Exact rules for a tree at a temperature above 0, by how siblings came about.

The children of a node are tried in order. Each rejection leaves a residual of p for the next
child, and what is left after the last one is what the following token is drawn from; the emitted
text then has the law of the target, whatever the tree.
"""

from __future__ import annotations

import torch

from draftproof.decoding.rules.rule import TreeVerification, row_at
from draftproof.decoding.sampling import draw
from draftproof.decoding.trees.tree import Tree
from draftproof.decoding.trees.walk import (
    chances_of,
    children_of,
    elder_siblings,
    first_of,
    path_to,
    running,
    without_children,
)


def judge_fixed(
    tokens: torch.Tensor, tree: Tree, p: torch.Tensor, p_x: torch.Tensor, uniforms: torch.Tensor
) -> TreeVerification:
    """Judge siblings that no coin chose (EAGLE, Li et al. 2024, arXiv 2401.15077, 2406.16858).

    Child x is kept with probability p(x) of the current p; a rejected x is zeroed in p, which is
    renormalised. After rejecting x_1 … x_{j-1} child x_j is therefore kept iff
    u·(1 - Σ_{i<j} p(x_i)) < p(x_j), so that all nodes are decided at once. A token that a sibling
    has proposed already has nothing left.

    Args:
        tokens: ``[B, N] int64``.
        tree: The shape.
        p: ``[B, N + 1, V] float32`` target rows.
        p_x: ``[B, N] float32``, each node's token under its parent's row.
        uniforms: ``[B, N + 1] float64``.
    """
    elder = elder_siblings(tree)
    chance, before = chances_of(p_x, tokens, elder)
    kept = uniforms[:, :-1] * (1 - before).clamp(min=0) < chance
    nodes, accepted, last = path_to(running(first_of(kept, elder), tree), tree)
    weights = without_children(row_at(p, last), last, tokens, tree)
    return TreeVerification(nodes, accepted, draw(weights, uniforms[:, -1]))


def judge_drawn(
    tokens: torch.Tensor,
    tree: Tree,
    p: torch.Tensor,
    q: torch.Tensor,
    uniforms: torch.Tensor,
    *,
    replaced: bool,
) -> TreeVerification:
    """Judge siblings that were drawn from q.

    Child x is kept iff u·q(x) < p(x). A rejection turns p into norm(max(p - q, 0)). Independent
    siblings (SpecInfer, Miao et al. 2024, arXiv 2305.09781) leave q as it is; siblings drawn
    without replacement (Sequoia, Chen et al. 2024, arXiv 2402.12374, algorithm 2) take x out of q,
    which is renormalised. Once q is used up, further siblings count as chosen without a coin; a
    token that q cannot have given, such as a sibling's in a tree that is filled up, is passed over.
    Where rounding leaves no residual, the token comes from p itself.

    All rows walk at once: level by level, and sibling by sibling within a level. Neither residual
    nor q is normalised; their masses are kept beside them instead.

    Args:
        tokens: ``[B, N] int64``.
        tree: The shape.
        p: ``[B, N + 1, V] float32`` target rows.
        q: ``[B, N + 1, V] float32``, row j that of the children of node j.
        uniforms: ``[B, N + 1] float64``.
        replaced: Whether siblings were drawn independently, each from all of q.
    """
    children, widths = children_of(tree)
    rows = torch.arange(tokens.shape[0], device=tokens.device)
    children = children.expand(len(rows), -1, -1)
    last = torch.zeros_like(tokens[:, 0])
    walking, over = torch.ones_like(last, dtype=torch.bool), torch.zeros_like(last).bool()
    path, left = [], p[:, 0].clone()
    for width in widths:
        below = children[rows, last]
        left = torch.where(walking[:, None], p[rows, last], left)
        drawn = q[rows, last]
        mass, whole = _mass(left), _mass(drawn)
        moved = torch.zeros_like(walking)
        for node in below[:, :width].unbind(dim=1):
            column = (node - 1).clamp(min=0)[:, None]
            token = tokens.gather(1, column)
            p_x, q_x = left.gather(1, token), drawn.gather(1, token)
            used_up = whole == 0
            share = torch.where(used_up, 1, q_x / torch.where(used_up, 1, whole))
            asked = ((node > 0) & walking & ~moved & ~over)[:, None] & (share > 0)
            kept = asked & (uniforms.gather(1, column) * share < p_x / mass)
            rejected = asked & ~kept
            factor = torch.where(rejected & ~used_up, mass / torch.where(used_up, 1, whole), 0)
            left.addcmul_(drawn, -factor.to(left.dtype)).clamp_(min=0)
            left.scatter_(1, token, left.gather(1, token).masked_fill(rejected, 0))
            rest = _mass(left)
            over |= (rejected & (rest == 0))[:, 0]
            mass = torch.where(rejected & (rest > 0), rest, mass)
            if not replaced:
                drawn.scatter_(1, token, q_x.masked_fill(rejected, 0))
                whole = torch.where(rejected, _mass(drawn), whole)
            moved |= kept[:, 0]
            last = torch.where(kept[:, 0], node, last)
        walking = walking & moved
        path.append(torch.where(moved, last, 0))
    nodes = torch.stack(path, dim=1) if path else tokens[:, :0]
    weights = torch.where((walking | over)[:, None], p[rows, last], left)
    accepted = (nodes > 0).sum(dim=1)
    short = torch.nn.functional.pad(nodes, (0, tree.deepest - nodes.shape[1]))
    return TreeVerification(short, accepted, draw(weights, uniforms[:, -1]))


def _mass(row: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``[B, V]`` as ``[B, 1] float64``."""
    return row.sum(dim=1, keepdim=True, dtype=torch.float64)
