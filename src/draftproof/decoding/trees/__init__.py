"""The shape of a proposal."""

from draftproof.decoding.trees.level import Level
from draftproof.decoding.trees.sequoia import Growth, TreeChoice, choose, grow
from draftproof.decoding.trees.static import STATIC_TREES, breadth_first, chain, static_tree
from draftproof.decoding.trees.tree import Tree, tree_of

__all__ = [
    "STATIC_TREES",
    "Growth",
    "Level",
    "Tree",
    "TreeChoice",
    "breadth_first",
    "chain",
    "choose",
    "grow",
    "static_tree",
    "tree_of",
]
