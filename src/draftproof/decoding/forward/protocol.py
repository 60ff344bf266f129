"""What every forward offers: blocks of tokens in, logits out, over rows that can be rolled back.

A row's state stands behind its slots. A block that starts at slot s reads what was written last to
the slots before s and forgets everything from s on: that is all there is to rolling a row back, and
nobody has to announce it. Keys and values need nothing more (what lies behind is masked and written
over). A forward whose state cannot be cut, as a recurrent one's, keeps the tokens of its rows and
states at the starts of blocks, restores the last one at or before s and replays the tokens between.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.masks import BlockView, block_view
from draftproof.decoding.trees.tree import Tree

_STRIDE = 32
"""Attention reads lengths rounded up to this, so that shapes change rarely."""


class TokenBlock(NamedTuple):
    """Tokens that are run together.

    Attributes:
        ids: ``[B, W] int64`` tokens.
        starts: ``[B] int64`` slot of each row's first token; earlier slots are attended to, later
            ones are not.
        row: With B = 1, the one row of the cache that is meant; None is all rows, which B then is.
        keep: Logits of the last `keep` columns are wanted, none with 0.
        longest: One more than the largest of `starts`, where that is known without asking the
            device; attention then skips what no row has reached yet.
        tree: The shape of the block, node i in column i; None is a chain.
        taps: Layers whose output is wanted, numbered as transformers' `hidden_states`: 0 is the
            embedding, i the output of layer i, -1 the last one after the final norm.
    """

    ids: torch.Tensor
    starts: torch.Tensor
    row: int | None
    keep: int
    longest: int | None
    tree: Tree | None
    taps: tuple[int, ...]


class Forward(Protocol):
    """One way to compute a causal LM.

    Attributes:
        kind: What runs record: ``fused``, ``lean``, ``module`` or the name of another way.
        shape_free: Whether a token's bits depend neither on the block's shape nor on other rows.
        no_trees: Why it can verify no tree, as the end of a sentence; empty where it can.
    """

    kind: str
    shape_free: bool = False
    no_trees: str = ""

    def current(self) -> Forward:
        """Return itself, or what must take its place because the module was altered meanwhile."""
        return self

    def serves(self, capacity: int) -> bool:
        """Return whether it computes rows of `capacity` tokens; if not, the module itself does."""
        return capacity > 0

    def open(self, rows: int, capacity: int) -> RowCache:
        """Return an empty state for `rows` rows of `capacity` tokens, whose `forward` is this."""
        ...

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run a block and keep what its tokens leave behind.

        Returns:
            ``[B, keep, V]`` logits, where none are wanted any, and ``[B, W, len(taps)·hidden]``
            states, None without taps.
        """
        ...

    def first(self, module: Any, layers: int) -> Forward:
        """Return a forward of the first layers, the final norm and the head.

        Args:
            module: The model's module with these layers only, parameters shared.
            layers: How many they are.
        """
        ...


def aimed(block: TokenBlock, cache: RowCache, *, whole: bool = False) -> BlockView:
    """Set a cache's write slots to those of a block and return what its tokens see.

    Args:
        block: What is to be run.
        cache: Of all rows.
        whole: Attention reads the whole capacity, whatever rows have reached.
    """
    width = block.ids.shape[1]
    slots = block.starts[:, None] + torch.arange(width, device=block.ids.device)
    kv_length = cache.capacity
    if block.longest is not None and not whole:
        kv_length = min(-(-(block.longest + width) // _STRIDE) * _STRIDE, kv_length)
    rows = slice(0, cache.rows) if block.row is None else slice(block.row, block.row + 1)
    cache.set_write_slots(slots, rows, kv_length)
    return block_view(slots, block.starts, kv_length, block.tree)
