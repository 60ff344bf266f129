"""What each token attends to, as the module that computes attention wants to be told.

Rows of a `RowCache` advance independently and may hold a tree, so what may be seen is not a
function of one length. Modules that build their masks with transformers' ``masking_utils`` are left
to do so, window by window and chunk by chunk: only the positions at which these functions are
evaluated are ours. All others are handed a mask of four dimensions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    AttentionMaskInterface,
    causal_mask_function,
    sliding_window_causal_mask_function,
)

from draftproof.decoding.trees.tree import Tree

ADDED = frozenset({"eager", "flex_attention"})
"""Attention implementations that add a mask to the scores."""

SERVED = ADDED | {"sdpa"}
"""Attention implementations whose mask may differ from row to row."""


@dataclass(frozen=True, slots=True)
class BlockView:
    """Where the tokens of a block stand and what they see.

    Attributes:
        queries: ``[B, W] int64`` positions of the block's tokens.
        keys: ``[B or 1, T] int64`` positions of the cache's slots; of slots that nobody may see,
            anything.
        seen: ``[B, W, T] bool``, what each token sees where no window narrows it.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    seen: torch.Tensor

    def narrowed(self, function: Callable[..., Any]) -> torch.Tensor:
        """Return ``[B, 1, W, T] bool``: what is seen and what a mask function of the library lets.

        Args:
            function: Of batch, head, query and key index, as ``masking_utils`` makes them.
        """
        rows = torch.arange(self.queries.shape[0], device=self.queries.device)
        head = torch.zeros((), dtype=torch.int64, device=self.queries.device)
        let = function(
            rows[:, None, None, None], head, self.queries[:, None, :, None],
            self.keys[:, None, None, :],
        )  # fmt: skip
        return self.seen[:, None] & let


_CURRENT: ContextVar[BlockView | None] = ContextVar("draftproof_block", default=None)


def block_view(
    slots: torch.Tensor, starts: torch.Tensor, kv_length: int, tree: Tree | None
) -> BlockView:
    """Return the view of a block that is written at `slots`.

    Args:
        slots: ``[B, W] int64``.
        starts: ``[B] int64``, the first slot of each row's block.
        kv_length: Slots that attention reads.
        tree: The block's shape; None is a chain.
    """
    everything = torch.arange(kv_length, device=slots.device)
    if tree is None:
        return BlockView(slots, everything[None], everything <= slots[..., None])
    depths = tree.depths.expand(starts.shape[0], -1)
    offset = everything - starts[:, None]
    inside = (offset >= 0) & (offset < tree.size)
    node = depths.gather(1, offset.clamp(0, tree.size - 1))
    keys = torch.where(inside, starts[:, None] + node, everything)
    return BlockView(starts[:, None] + depths, keys, tree.sees(everything, starts))


def added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask to be added to scores: 0 where something is seen, else the least number."""
    nothing = torch.zeros((), dtype=dtype, device=seen.device)
    return torch.where(seen, nothing, torch.finfo(dtype).min)


def mask_for(view: BlockView, dtype: torch.dtype, *, own: bool, adds: bool) -> torch.Tensor:
    """Return what a module is handed as its mask.

    Args:
        view: Of the block.
        dtype: Of the scores.
        own: The module makes its own masks: it is told that no slot is padding.
        adds: Otherwise, whether it adds a mask to the scores.

    Returns:
        ``[B, T] int64``, or ``[B, 1, W, T]`` to be added, or bool.
    """
    rows, _, length = view.seen.shape
    if own:
        return torch.ones(rows, length, dtype=torch.int64, device=view.seen.device)
    return (added(view.seen, dtype) if adds else view.seen)[:, None]


@contextmanager
def viewed(view: BlockView) -> Iterator[None]:
    """Let the library's masks, made meanwhile in this thread, be those of a block."""
    _serve_library_masks()
    token = _CURRENT.set(view)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def makes_own(module: Any) -> bool:
    """Return whether a module's code builds its masks with ``masking_utils``."""
    names = vars(sys.modules[type(module).__module__])
    made = ("create_causal_mask", "create_sliding_window_causal_mask", "create_chunked_causal_mask")
    return any(name in names for name in made)


def windowed_parts(module: Any) -> tuple[Any, ...]:
    """Return a model's modules that cut a window out of a buffer of their own."""
    return tuple(p for p in module.modules() if type(p).__name__ == "GPTNeoSelfAttention")


@contextmanager
def own_windows(parts: Sequence[Any], view: BlockView) -> Iterator[None]:
    """Let modules that cut a window out of a buffer of their own cut what a block sees.

    GPT-Neo's attention reads ``bias[:, :, T - W : T, :T]``, which is right where all rows end with
    the last slot.

    Args:
        parts: The modules, as `windowed_parts` finds them.
        view: Of the block.
    """
    before = [part.bias for part in parts]
    width, length = view.seen.shape[1:]
    try:
        for part in parts:
            function: Callable[..., Any] = causal_mask_function
            if part.attention_type == "local":
                function = sliding_window_causal_mask_function(part.config.window_size)
            seen = view.narrowed(function)
            whole = seen.new_zeros(len(seen), 1, length, length)
            whole[:, :, length - width :] = seen
            part.bias = whole
        yield
    finally:
        for part, bias in zip(parts, before, strict=True):
            part.bias = bias


def _by_block(original: Callable[..., Any], *, adds: bool) -> Callable[..., Any]:
    def mask(*args: Any, **given: Any) -> Any:
        view = _CURRENT.get()
        if view is None:
            return original(*args, **given)
        seen = view.narrowed(given.get("mask_function", causal_mask_function))
        return added(seen, given.get("dtype", torch.float32)) if adds else seen

    return mask


@lru_cache(maxsize=1)
def _serve_library_masks() -> None:
    """Put our masks before the library's own; outside of `viewed` they leave those as they are."""
    for name in sorted(SERVED):
        made = _by_block(ALL_MASK_ATTENTION_FUNCTIONS[name], adds=name in ADDED)
        AttentionMaskInterface.register(name, made)
