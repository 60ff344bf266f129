"""The forward of a model that turns all its keys anew where a text outgrows its short factors.

Phi-3's longrope has two sets of factors. transformers' ``generate`` computes what follows a text of
n tokens with the short ones while n is at most L, and beyond reads the whole text again with the
long ones (``Phi3ForCausalLM.prepare_inputs_for_generation``). Rows stand at lengths of their own
and are rolled back across L, so both readings are kept: each column's logits are taken from that
of its own length, whatever block or batch it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.module import ModuleForward
from draftproof.decoding.forward.protocol import TokenBlock
from draftproof.decoding.support import Support

_FIELD = "original_max_position_embeddings"
_SHORT, _LONG = 2**60, 1
"""Borders that every length lies below, and beyond."""


class LongRopeCache(RowCache):
    """Both readings of every row, and the tokens that a reading may still have to be made of."""

    def __init__(self, forward: LongRopeForward, short: RowCache, long: RowCache) -> None:
        super().__init__(0, short.rows, short.capacity, forward)
        self.short, self.long = short, long
        self.tokens: torch.Tensor | None = None
        """``[R, T] int64``, None before the first block."""
        self.read_long = [0] * short.rows
        """How many leading tokens of each row the long reading holds."""

    def copy_row(self, row: int, source: RowCache, source_row: int, length: int) -> None:
        """See `RowCache.copy_row`."""
        assert isinstance(source, LongRopeCache)
        assert source.tokens is not None
        self.short.copy_row(row, source.short, source_row, length)
        held = min(source.read_long[source_row], length)
        if held:
            self.long.copy_row(row, source.long, source_row, held)
        self.read_long[row] = held
        self.tokens_like(source.tokens)[row, :length] = source.tokens[source_row, :length]

    @torch.inference_mode()
    def keep(self, source: torch.Tensor, goal: torch.Tensor) -> None:
        """See `RowCache.keep`."""
        self.short.keep(source, goal)
        self.long.keep(source, goal)
        if self.tokens is not None:
            self.tokens.scatter_(1, goal, self.tokens.gather(1, source))

    def tokens_like(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the tokens of all rows, on the device of `ids`."""
        if self.tokens is None:
            self.tokens = ids.new_zeros(self.rows, self.capacity)
        return self.tokens


class LongRopeForward:
    """Runs a longrope module, each column by the factors of its own length.

    Args:
        module: A transformers causal LM in evaluation mode.
        support: How far it is served, with the length at which the factors change.
    """

    kind, shape_free, no_trees = "module", False, ""

    def __init__(self, module: Any, support: Support) -> None:
        assert support.short_positions is not None
        self._module, self._border = module, support.short_positions
        self._own, self.support = ModuleForward(module, support), support
        config = module.config.get_text_config(decoder=True)
        self._parameters: dict[str, Any] = config.rope_parameters
        with torch.inference_mode():  # its long factors are computed of the true border, once
            at = torch.full((1, 1), self._border, device=module.device)
            for part in module.modules():
                if hasattr(part, "rope_type"):
                    part(torch.zeros(1, device=module.device, dtype=module.dtype), at)

    def current(self) -> Self:
        """See `Forward.current`."""
        return self

    def serves(self, capacity: int) -> bool:
        """See `Forward.serves`."""
        return capacity > 0

    def open(self, rows: int, capacity: int) -> RowCache:
        """See `Forward.open`."""
        return LongRopeCache(self, self._own.open(rows, capacity), self._own.open(rows, capacity))

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Forward.step`."""
        assert isinstance(cache, LongRopeCache)
        rows = range(cache.rows) if block.row is None else range(block.row, block.row + 1)
        width = block.ids.shape[1]
        slots = block.starts[:, None] + torch.arange(width, device=block.ids.device)
        cache.tokens_like(block.ids)[rows.start : rows.stop].scatter_(1, slots, block.ids)
        starts = block.starts.tolist()
        if max(starts) + width <= self._border:
            self._hold(cache, rows, starts)
            return self._by(_SHORT, block, cache.short)
        for row, start in zip(rows, starts, strict=True):
            if start + width > self._border and cache.read_long[row] < start:
                self._catch_up(cache, row, start)
        long = self._by(_LONG, block, cache.long)
        # of rows that end before the border the long reading may lack a beginning
        self._hold(cache, rows, starts)
        for row, start in zip(rows, starts, strict=True):
            if cache.read_long[row] == start:
                cache.read_long[row] = start + width
        if min(starts) >= self._border:
            return long
        short = self._by(_SHORT, block, cache.short)
        depths = block.tree.depths if block.tree is not None else slots - block.starts[:, None]
        beyond = (block.starts[:, None] + depths >= self._border)[..., None]
        shown = short[0].shape[1]
        logits = torch.where(beyond[:, width - shown :], long[0], short[0])
        if long[1] is None or short[1] is None:
            return logits, None
        return logits, torch.where(beyond, long[1], short[1])

    def _hold(self, cache: LongRopeCache, rows: range, starts: list[int]) -> None:
        """Note that what the long reading held from the starts on is of other tokens now."""
        for row, start in zip(rows, starts, strict=True):
            cache.read_long[row] = min(cache.read_long[row], start)

    def _catch_up(self, cache: LongRopeCache, row: int, stop: int) -> None:
        """Read a row up to a slot with the long factors."""
        assert cache.tokens is not None
        begin = cache.read_long[row]
        ids = cache.tokens[row : row + 1, begin:stop]
        start = torch.full((1,), begin, device=ids.device)
        missed = TokenBlock(ids, start, row, keep=0, longest=begin + 1, tree=None, taps=())
        self._by(_LONG, missed, cache.long)
        cache.read_long[row] = stop

    def _by(
        self, border: int, block: TokenBlock, cache: RowCache
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        with self._switched_at(border):
            return self._own.step(block, cache)

    @contextmanager
    def _switched_at(self, border: int) -> Iterator[None]:
        """Let the module change its factors at another length meanwhile."""
        self._parameters[_FIELD] = border
        try:
            yield
        finally:
            self._parameters[_FIELD] = self._border

    def first(self, module: Any, layers: int) -> LongRopeForward:
        """See `Forward.first`."""
        return LongRopeForward(module, self.support)
