"""A key-value cache whose rows advance independently.

transformers' layers write at one length for the whole batch. Here the writer names the slot of
every token, so each row keeps its own length, and rolling a row back is nothing but writing its
next tokens at an earlier slot: entries at or beyond a row's length are never attended to (the mask
of `CausalModel.forward` hides them) and are overwritten before they could be. A tree is written
to scratch slots behind the row's length; `keep` moves the accepted path to where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from draftproof.decoding.forward.protocol import Forward


class RowLayer(CacheLayerMixin):
    """One attention layer: keys and values ``[R, T, H, D]`` in the model's dtype."""

    is_croppable = True

    def __init__(self, cache: RowCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate the buffers for states like the first ones written, ``[B, H, W, D]``."""
        self.allocate(key_states.shape[1], key_states, value_states)

    def allocate(self, heads: int, key_like: torch.Tensor, value_like: torch.Tensor) -> None:
        """Allocate buffers of `heads` heads, as wide and of the dtype of the tensors given."""
        rows, length = self._cache.rows, self._cache.capacity
        self.keys = key_like.new_zeros(rows, length, heads, key_like.shape[-1])
        self.values = value_like.new_zeros(rows, length, heads, value_like.shape[-1])
        self.is_initialized = True

    def write(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``[B·W, H, D]`` states at the cache's write slots and return what may be seen.

        Returns:
            Keys and values ``[B, H, kv_length, D]``, views of the buffers.
        """
        cache = self._cache
        self.keys.flatten(0, 1).index_copy_(0, cache.slot_ids, keys)
        self.values.flatten(0, 1).index_copy_(0, cache.slot_ids, values)
        seen = (cache.row_range, slice(0, cache.kv_length))
        return self.keys[seen].transpose(1, 2), self.values[seen].transpose(1, 2)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``[B, H, W, D]`` states at the cache's write slots and return what may be seen."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self.write(
            key_states.transpose(1, 2).flatten(0, 1), value_states.transpose(1, 2).flatten(0, 1)
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the key length and offset that a mask must cover."""
        return self._cache.kv_length, 0

    def get_seq_length(self) -> int:
        """Return 0: rows have no common length, positions are always given explicitly."""
        return 0

    def get_max_length(self) -> int:
        """Return the number of positions a row can hold."""
        return self._cache.capacity


class RowCache(Cache):
    """Static cache for `rows` sequences of at most `capacity` tokens each.

    Args:
        layers: How many layers keep keys and values.
        rows: Sequences.
        capacity: Most tokens of each.
        forward: Whose keys and values these are, whatever the model runs by later; None for a
            cache that only its owner writes to.
    """

    def __init__(
        self, layers: int, rows: int, capacity: int, forward: Forward | None = None
    ) -> None:
        self.forward = forward
        self.rows = rows
        self.capacity = capacity
        self.row_range = slice(0, rows)
        self.kv_length = capacity
        self.slot_ids: torch.Tensor
        self.addresses: NDArray[np.int64] | None = None
        """Where the buffers lie, for who reads them without torch; filled by the first to do so."""
        self.recorded: dict[Any, Any] = {}
        """Steps recorded over this cache's memory, by shape."""
        self.row_layers: Sequence[RowLayer] = [RowLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.row_layers))

    def set_write_slots(self, slots: torch.Tensor, row_range: slice, kv_length: int) -> None:
        """Set where the next forward writes.

        Args:
            slots: ``[B, W] int64``, the slot of every token of the block.
            row_range: The B consecutive rows that the block belongs to.
            kv_length: Slots that attention reads; none beyond may be named.
        """
        self.row_range = row_range
        self.kv_length = kv_length
        if row_range.stop - row_range.start > 1:
            first = torch.arange(row_range.start, row_range.stop, device=slots.device)[:, None]
            slots = slots + first * self.capacity
        elif row_range.start:
            slots = slots + row_range.start * self.capacity
        self.slot_ids = slots.reshape(-1)

    def copy_row(self, row: int, source: RowCache, source_row: int, length: int) -> None:
        """Copy the first `length` tokens' states of a row of another cache to a row of this."""
        for theirs, ours in zip(source.row_layers, self.row_layers, strict=True):
            if not ours.is_initialized:
                ours.allocate(theirs.keys.shape[2], theirs.keys, theirs.values)
            ours.keys[row, :length] = theirs.keys[source_row, :length]
            ours.values[row, :length] = theirs.values[source_row, :length]

    @torch.inference_mode()
    def keep(self, source: torch.Tensor, goal: torch.Tensor) -> None:
        """Copy the states of some slots of every row to others: a tree's accepted path.

        Args:
            source: ``[R, K] int64`` slots to read; all are read before any is written.
            goal: ``[R, K] int64`` slots to write; where they are to stay, equal to `source`.
        """
        first = torch.arange(self.rows, device=source.device)[:, None] * self.capacity
        read, write = (source + first).reshape(-1), (goal + first).reshape(-1)
        for layer in self.row_layers:
            if layer.is_initialized:
                for buffer in (layer.keys, layer.values):
                    flat = buffer.flatten(0, 1)
                    flat.index_copy_(0, write, flat.index_select(0, read))
