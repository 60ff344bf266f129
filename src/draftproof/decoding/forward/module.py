"""The forward of any causal LM: its own module, over a `RowCache`."""

from __future__ import annotations

from typing import Any

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.protocol import Forward, TokenBlock, aimed
from draftproof.decoding.masks import ADDED, mask_for, own_windows, viewed, windowed_parts
from draftproof.decoding.support import Support


class ModuleForward(Forward):
    """Runs a module as it is, with explicit positions and an explicit mask.

    Args:
        module: A transformers causal LM in evaluation mode.
        support: How far it is served.
    """

    kind = "module"

    def __init__(self, module: Any, support: Support) -> None:
        self._module, self.support = module, support
        self._config = module.config.get_text_config(decoder=True)
        self._windowed = windowed_parts(module)
        alibi = getattr(self._config, "alibi", False)
        self.no_trees = "its alibi counts slots and not positions" if alibi else ""

    def open(self, rows: int, capacity: int) -> RowCache:
        """See `Forward.open`."""
        return RowCache(int(self._config.num_hidden_layers), rows, capacity, self)

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Forward.step`."""
        view, keep = aimed(block, cache), max(block.keep, 1)
        adds = self._config._attn_implementation in ADDED
        mask = mask_for(view, self._module.dtype, own=self.support.makes_masks, adds=adds)
        some = self.support.keeps_logits and keep < block.ids.shape[1]
        with viewed(view), own_windows(self._windowed, view):
            output = self._module(
                input_ids=block.ids, position_ids=view.queries, attention_mask=mask,
                past_key_values=cache, use_cache=True, return_dict=True,
                output_hidden_states=bool(block.taps), **({"logits_to_keep": keep} if some else {}),
            )  # fmt: skip
        hidden = [output.hidden_states[tap] for tap in block.taps]
        return output.logits[:, -keep:], torch.cat(hidden, dim=-1) if hidden else None

    def first(self, module: Any, layers: int) -> ModuleForward:
        """See `Forward.first`."""
        return ModuleForward(module, self.support)
