"""One forward for prefill, drafting and verification over any Hugging Face causal LM."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch.nn import functional

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.captured import MOST_COLUMNS, CapturedForward
from draftproof.decoding.forward.fused import FusedForward, pays, suits
from draftproof.decoding.forward.lean import LeanForward, plain_parts
from draftproof.decoding.masks import (
    ADDED,
    block_view,
    mask_for,
    own_windows,
    viewed,
    windowed_parts,
)
from draftproof.decoding.support import support_of
from draftproof.decoding.trees.tree import Tree
from draftproof.records import DraftproofError

_STRIDE = 32
"""Attention reads lengths rounded up to this, so that shapes change rarely."""


class CausalModel:
    """A causal LM with explicit positions, an explicit mask and a `RowCache`.

    Args:
        model: A transformers causal LM in evaluation mode.
        name: What to call it in messages.
        lean: The model is nobody else's: Llama-shaped models run through `LeanForward`, which lays
            their weights out anew, and a fused one may read copies of its weights. All others,
            and with False these too, run through their own forward.
        fused: Run small Llama-shaped models in float32 on a processor through `FusedForward`,
            which comes before the other two; one whose parameters are replaced later is
            looked at again when a cache is made.
        graphs: On a GPU, record the steps of a lean model as CUDA graphs. Attention then reads the
            whole capacity of the cache in every step.

    Raises:
        DraftproofError: The model cannot be rolled back or takes no position ids.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        *,
        lean: bool = True,
        fused: bool = True,
        graphs: bool = False,
    ) -> None:
        self.module = model
        self.name = name
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.config = model.config.get_text_config(decoder=True)
        self.vocab_size = self._rows = int(self.config.vocab_size)
        self._support = support_of(model, self.config, name)
        self._windowed = windowed_parts(model)
        self.max_positions = self._support.positions
        self.hidden_size = int(self.config.hidden_size)
        self.layers = int(self.config.num_hidden_layers)
        nothing = torch.zeros((), dtype=self.dtype, device=self.device)
        self._seen, self._hidden = nothing, nothing - torch.inf
        self._owned = lean
        may = fused and self.device.type == "cpu" and suits(model) and pays(model)
        may = may and self._sees_all(self.max_positions or sys.maxsize)
        self._fused = FusedForward(model, owned=lean) if may else None
        alone = self._fused is None and lean and plain_parts(model)
        self._lean = LeanForward(model) if alone else None
        recorded = graphs and self._lean is not None and self.device.type == "cuda"
        self._captured = CapturedForward(self._lean) if recorded and self._lean else None

    @property
    def is_lean(self) -> bool:
        """Whether the model runs through `LeanForward`."""
        return self._lean is not None

    @property
    def is_fused(self) -> bool:
        """Whether the model runs through `FusedForward`."""
        return self._fused is not None

    @property
    def forward_kind(self) -> str:
        """What computes a step: ``fused``, ``lean`` or ``module``."""
        return "fused" if self._fused else "lean" if self._lean else "module"

    @property
    def window(self) -> int | None:
        """Tokens that its narrowest windowed layer sees; None if every layer sees all."""
        return self._support.window

    def use_module(self) -> None:
        """Compute by the module's own forward from now on, in caches made later."""
        self._fused = self._lean = self._captured = None

    def speaking(self, vocabulary: int) -> CausalModel:
        """Return this model with rows of another length, as a draft of a padded target needs them.

        Ids that it does not have are never likely, and are read as its last one; its own beyond
        `vocabulary` are left out.
        """
        other = copy.copy(self)
        other.vocab_size = vocabulary
        return other

    def _fitted(self, logits: torch.Tensor) -> torch.Tensor:
        missing = self.vocab_size - logits.shape[-1]  # negative padding cuts
        return functional.pad(logits, (0, missing), value=-torch.inf) if missing else logits

    def cut(self, module: Any, layers: int) -> CausalModel:
        """Return a model of this one's first layers, its final norm and its head.

        Args:
            module: This model's module with its first `layers` layers only, parameters shared.
            layers: How many these are.
        """
        first = CausalModel(
            module, f"{self.name}, first {layers} layers", lean=False, fused=self.is_fused
        )
        first._lean = self._lean.first(layers) if self._lean else None
        return first

    def in_torch(self) -> CausalModel:
        """Return this model computed by torch, whose bits depend on shapes as other engines' do."""
        if self._fused is None:
            return self
        return CausalModel(self.module, self.name, lean=False, fused=False)

    def new_cache(self, rows: int, capacity: int) -> RowCache:
        """Return an empty cache for `rows` sequences of `capacity` tokens.

        Raises:
            DraftproofError: The model cannot hold sequences of that length.
        """
        if self.max_positions is not None and capacity > self.max_positions:
            raise DraftproofError(
                f"{self.name}: a length of {capacity} tokens is asked for, "
                f"the model holds {self.max_positions}{self._support.limit}"
            )
        if self._fused and not suits(self.module):
            self._fused = None
        elif self._fused and not self._fused.reads(self.module):
            self._fused = FusedForward(self.module, owned=self._owned)
        cache = RowCache(self.layers, rows, capacity)
        cache.fused = self._fused
        return cache

    def _sees_all(self, capacity: int) -> bool:
        """Return whether no window narrows what the tokens of so long a row see."""
        return self.window is None or capacity <= self.window

    def forward(
        self,
        ids: torch.Tensor,
        starts: torch.Tensor,
        cache: RowCache,
        *,
        row: int | None = None,
        keep: int = 0,
        longest: int | None = None,
        tree: Tree | None = None,
    ) -> torch.Tensor:
        """Run a block of tokens, write its keys and values and return its logits.

        Args:
            ids: ``[B, W] int64`` tokens.
            starts: ``[B] int64`` slot of each row's first token; earlier slots are attended to,
                later ones are not.
            cache: The cache of all rows.
            row: With B = 1, the one row of the cache that is meant; otherwise B is all rows.
            keep: Compute logits of the last `keep` columns only; 0 keeps all.
            longest: One more than the largest of `starts`, known to the caller without asking
                the device; attention then skips what no row has reached yet. What is skipped is
                masked anyway.
            tree: The shape of the block, node i in column i; None is a chain.

        Returns:
            ``[B, keep or W, V] float32`` logits.
        """
        options = {"row": row, "keep": keep, "longest": longest, "tree": tree}
        return self.forward_with_states(ids, starts, cache, **options)[0]  # type: ignore[arg-type]

    def _run(
        self, cache: RowCache, ids: torch.Tensor, starts: torch.Tensor, *, row: int | None,
        keep: int, tree: Tree | None, taps: tuple[int, ...],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """Run the compiled step that the cache was made for, whatever the module is by now."""
        fused: FusedForward = cache.fused
        if self.vocab_size > self._rows:
            ids = ids.clamp(max=self._rows - 1)
        logits, states = fused(ids, starts, cache, row=row or 0, keep=keep, tree=tree, taps=taps)
        return self._fitted(logits) if keep else logits, states

    @torch.inference_mode()
    def write(
        self,
        ids: torch.Tensor,
        starts: torch.Tensor,
        cache: RowCache,
        *,
        row: int | None = None,
        longest: int | None = None,
        taps: tuple[int, ...] = (),
    ) -> torch.Tensor | None:
        """Write a chain's keys and values, without logits where these can be spared.

        Args:
            ids: See `forward`.
            starts: See `forward`.
            cache: See `forward`.
            row: See `forward`.
            longest: See `forward`.
            taps: See `forward_with_states`.

        Returns:
            The tapped states, None without taps.
        """
        if cache.fused is not None:
            return self._run(cache, ids, starts, row=row, keep=0, tree=None, taps=taps)[1]
        return self.forward_with_states(
            ids, starts, cache, row=row, keep=1, longest=longest, taps=taps
        )[1]

    @torch.inference_mode()
    def forward_with_states(
        self,
        ids: torch.Tensor,
        starts: torch.Tensor,
        cache: RowCache,
        *,
        row: int | None = None,
        keep: int = 0,
        longest: int | None = None,
        tree: Tree | None = None,
        taps: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Do what `forward` does and return the hidden states of some layers as well.

        Args:
            ids: See `forward`.
            starts: See `forward`.
            cache: See `forward`.
            row: See `forward`.
            keep: See `forward`.
            longest: See `forward`.
            tree: See `forward`.
            taps: Layers whose output is wanted, numbered as transformers' `hidden_states`: 0 is
                the embedding, i the output of layer i, -1 the last one after the final norm.

        Returns:
            The logits and ``[B, W, len(taps)·hidden]`` states in the model's dtype, None without
            taps.
        """
        if cache.fused is not None:
            shown = keep or ids.shape[1]
            return self._run(cache, ids, starts, row=row, keep=shown, tree=tree, taps=taps)
        if tree is not None and getattr(self.config, "alibi", False):
            raise DraftproofError(
                f"{self.name}: its alibi counts slots and not positions, so it can verify no tree; "
                "draft a chain"
            )
        if self.vocab_size > self._rows:
            ids = ids.clamp(max=self._rows - 1)
        width = ids.shape[1]
        slots = starts[:, None] + torch.arange(width, device=ids.device)
        kv_length = cache.capacity
        plain = self._sees_all(cache.capacity)
        replayed = self._captured is not None and plain and width <= MOST_COLUMNS and row is None
        if longest is not None and not replayed:
            kv_length = min(-(-(longest + width) // _STRIDE) * _STRIDE, kv_length)
        row_range = slice(0, cache.rows) if row is None else slice(row, row + 1)
        cache.set_write_slots(slots, row_range, kv_length)
        view = block_view(slots, starts, kv_length, tree)
        positions, seen = view.queries, view.seen
        if self._lean and plain:
            bias = torch.where(seen, self._seen, self._hidden)[:, None]
            forward = self._captured if self._captured and replayed else self._lean
            logits, states = forward(ids, positions, bias, cache, keep, taps)
            return self._fitted(logits.float()), states
        extra = {"logits_to_keep": keep} if self._support.keeps_logits and keep else {}
        own, implementation = self._support.makes_masks, self.config._attn_implementation
        mask = mask_for(view, self.dtype, own=own, adds=implementation in ADDED)
        with viewed(view), own_windows(self._windowed, view):
            given = self.module(
                input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache,
                use_cache=True, return_dict=True, output_hidden_states=bool(taps), **extra,
            )  # fmt: skip
        states = torch.cat([given.hidden_states[t] for t in taps], dim=-1) if taps else None
        logits = given.logits[:, -keep:] if keep else given.logits
        return self._fitted(logits.float()), states
