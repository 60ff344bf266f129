"""One forward for prefill, drafting and verification over any Hugging Face causal LM."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.choice import choose, own_forward
from draftproof.decoding.forward.protocol import Forward, TokenBlock
from draftproof.decoding.support import support_of
from draftproof.decoding.trees.tree import Tree
from draftproof.records import DraftproofError


class CausalModel:
    """A causal LM with explicit positions, an explicit mask and a `RowCache`.

    Args:
        model: A transformers causal LM in evaluation mode.
        name: What to call it in messages.
        lean: See `draftproof.decoding.forward.choice.choose`, as for `fused` and `graphs`.
        fused: See there.
        graphs: See there.
        forward: Run by this one; by default `choose` says by which.

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
        forward: Forward | None = None,
    ) -> None:
        self.module = model
        self.name = name
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.config = model.config.get_text_config(decoder=True)
        self.vocab_size = self._rows = int(self.config.vocab_size)
        self._support = support_of(model, self.config, name)
        self.max_positions = self._support.positions
        self.hidden_size = int(self.config.hidden_size)
        self.layers = int(self.config.num_hidden_layers)
        self._own = own_forward(model, self._support)
        self._forward = forward or choose(model, self._own, lean=lean, fused=fused, graphs=graphs)

    @property
    def forward_kind(self) -> str:
        """What computes a step: ``fused``, ``lean`` or ``module``."""
        return self._forward.kind

    @property
    def shape_free(self) -> bool:
        """Whether a token's bits depend neither on the block's shape nor on other rows."""
        return self._forward.shape_free

    @property
    def window(self) -> int | None:
        """Tokens that its narrowest windowed layer sees; None if every layer sees all."""
        return self._support.window

    @property
    def short_positions(self) -> int | None:
        """Length beyond which its rope factors are others; None if they never change."""
        return self._support.short_positions

    def use_module(self) -> None:
        """Compute by the module's own forward from now on, in caches made later."""
        self._forward = self._own

    def speaking(self, vocabulary: int) -> CausalModel:
        """Return this model with rows of another length, as a draft of a padded target needs them.

        Ids that it does not have are never likely, and are read as its last one; its own beyond
        `vocabulary` are left out.
        """
        other = copy.copy(self)
        other.vocab_size = vocabulary
        return other

    def cut(self, module: Any, layers: int) -> CausalModel:
        """Return a model of this one's first layers, its final norm and its head.

        Args:
            module: This model's module with its first `layers` layers only, parameters shared.
            layers: How many these are.
        """
        first = self._forward.first(module, layers)
        return CausalModel(module, f"{self.name}, first {layers} layers", forward=first)

    def in_torch(self) -> CausalModel:
        """Return this model computed by torch, whose bits depend on shapes as other engines' do."""
        if not self.shape_free:
            return self
        other = copy.copy(self)
        other.use_module()
        return other

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
        self._forward = self._forward.current()
        forward = self._forward if self._forward.serves(capacity) else self._own
        return forward.open(rows, capacity)

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
        """Run a block of tokens and return its ``[B, keep or W, V] float32`` logits.

        The arguments are those of `TokenBlock`, but for `keep`, whose 0 keeps all columns; the
        cache is that of all rows and keeps what the block leaves behind.
        """
        return self.forward_with_states(
            ids, starts, cache, row=row, keep=keep, longest=longest, tree=tree
        )[0]

    def rows_of(self, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
        """Return the ``[len(answer), V] float32`` logits that each token of an answer follows."""
        ids = torch.tensor([[*prompt, *answer[:-1]]], device=self.device)
        starts = torch.zeros(1, dtype=torch.int64, device=self.device)
        return self.forward(ids, starts, self.new_cache(1, ids.shape[1]), keep=len(answer))[0]

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
        """Read a chain for what it leaves behind, and return the tapped states; see `forward`."""
        return self._step(TokenBlock(ids, starts, row, 0, longest, None, taps), cache)[1]

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
        """Do what `forward` does, and return the states of the tapped layers as well.

        Those are ``[B, W, len(taps)·hidden]`` in the model's dtype, None without taps.

        Raises:
            DraftproofError: The model can verify no tree.
        """
        width = ids.shape[1]
        block = TokenBlock(ids, starts, row, min(keep or width, width), longest, tree, taps)
        logits, states = self._step(block, cache)
        logits = logits.float()
        missing = self.vocab_size - logits.shape[-1]  # negative padding cuts
        if missing:
            logits = functional.pad(logits, (0, missing), value=-torch.inf)
        return logits, states

    def _step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run a block by the forward that the cache was made for."""
        forward = cache.forward
        assert forward is not None
        if block.tree is not None and forward.no_trees:
            raise DraftproofError(
                f"{self.name}: {forward.no_trees}, so it can verify no tree; draft a chain"
            )
        if self.vocab_size > self._rows:
            block = block._replace(ids=block.ids.clamp(max=self._rows - 1))
        return forward.step(block, cache)
