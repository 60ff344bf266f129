"""An EAGLE head at work: what it has read for good, and the tree it is trying out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Ask, Drafter, Proposal
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.heads import Bound, refuse_dense, shifted
from draftproof.decoding.model import CausalModel

_STRIDE = 32
"""Attention reads lengths rounded up to this, so that shapes change rarely."""


class EagleRun:
    """Runs a head over rows of a cache.

    Slot j belongs to token j of a row's text, with the target's feature of the token before it.
    Whatever the target has verified is read anew from its true features (`catch_up`); the slots
    behind hold the tree of this round, whose features are the head's own (`expand`). The next
    round writes over them.

    Args:
        head: The head; moved to the target's device and dtype.
        target: The model that it was trained for.
        depth: The largest depth of a tree.
        scratch: How many of a round's nodes are expanded.
    """

    def __init__(self, head: EagleHead, target: CausalModel, depth: int, scratch: int) -> None:
        self.head, self._bound = head, Bound(target, head.shape)
        self._bound.adopt(head)
        self._depth, self._scratch = depth, scratch
        self._cache: RowCache
        self._states: torch.Tensor
        self._counts: list[int] = []
        self._lengths: torch.Tensor
        self._longest = 0

    def open(self, rows: int, capacity: int) -> None:
        """Forget everything and make room."""
        bound, shape = self._bound, self.head.shape
        self._cache = RowCache(1, rows, capacity + max(self._scratch, self._depth + 1))
        like = torch.empty(0, shape.width // shape.heads, dtype=bound.dtype, device=bound.device)
        self._cache.row_layers[0].allocate(shape.kv_heads, like, like)
        self._states = torch.zeros(
            rows, self._depth + 1, shape.hidden * len(shape.taps),
            dtype=bound.dtype, device=bound.device,
        )  # fmt: skip
        self._counts = [1] * rows

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None) -> None:
        """Read all but the last token of a prompt; that one is read with the first round."""
        tapped = shifted(states, len(ids), "EAGLE").to(self._states)
        self._states[row, 0] = tapped[-1]
        self._counts[row] = 1
        known = len(ids) - 1
        if known:
            tokens = torch.tensor([list(ids[:-1])], device=tapped.device)
            slots = torch.arange(known, device=tapped.device)[None]
            seen = torch.ones(1, known, known, dtype=torch.bool, device=tapped.device).tril()
            self._cache.set_write_slots(slots, slice(row, row + 1), known)
            self._forward(tokens, self.head.entered(tapped[None, :-1]), slots, seen)

    def observe(self, accepted: Sequence[int], states: torch.Tensor | None) -> None:
        """Keep the target's features of what it verified."""
        if states is not None:
            width = min(states.shape[1], self._depth + 1)
            self._states[:, :width] = states[:, :width]
            self._counts = [kept + 1 for kept in accepted]

    def catch_up(self, ask: Ask) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the tokens that were committed since the last round.

        Returns:
            ``[B, 1, F]`` features of the root and ``[B, 1, V]`` logits of what may follow it.
        """
        device, width = self._states.device, max(self._counts)
        fresh = [
            [0] * width if text is None else [*text[-count:], *[0] * (width - count)]
            for text, count in zip(ask.texts, self._counts, strict=True)
        ]
        counts = torch.tensor(self._counts, device=device)
        self._lengths, self._longest = ask.lengths, ask.longest
        starts = (ask.lengths - counts).clamp(min=0)
        slots = starts[:, None] + torch.arange(width, device=device)
        seen = self._aim(slots, ask.longest + width) <= slots[..., None]
        tokens = torch.tensor(fresh, device=device)
        features = self.head.entered(self._states[:, :width])
        made = self._forward(tokens, features, slots, seen)
        last = (counts - 1)[:, None, None].expand(-1, -1, made.shape[-1])
        root = made.gather(1, last)
        return root, self._logits(root)

    def expand(
        self,
        tokens: torch.Tensor,
        features: torch.Tensor,
        depth: int,
        start: int,
        ancestors: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run some nodes of one depth, each below its own path.

        Args:
            tokens: ``[B, w] int64``, the nodes' tokens.
            features: ``[B, w, F]`` of their parents.
            depth: Of the nodes, 1 below the root.
            start: The first of the w scratch slots that they take.
            ancestors: ``[1 or B, w, scratch] bool``, the scratch slots that each node sees, its
                own included.

        Returns:
            ``[B, w, F]`` features and ``[B, w, V]`` logits.
        """
        rows, width = tokens.shape
        device = tokens.device
        slots = self._lengths[:, None] + start + torch.arange(width, device=device)
        everything = self._aim(slots, self._longest + start + width)
        offset = everything - self._lengths[:, None]
        inside = (offset >= 0) & (offset < self._scratch)
        index = offset.clamp(0, self._scratch - 1)[:, None].expand(-1, width, -1)
        own = ancestors.expand(rows, -1, -1).gather(2, index)
        seen = (offset < 0)[:, None] | (inside[:, None] & own)
        positions = (self._lengths - 1 + depth)[:, None].expand(-1, width)
        made = self._forward(tokens, features, positions, seen)
        return made, self._logits(made)

    def _aim(self, slots: torch.Tensor, longest: int) -> torch.Tensor:
        """Aim the cache at slots of all rows; return the slots that attention reads."""
        reach = min(-(-longest // _STRIDE) * _STRIDE, self._cache.capacity)
        self._cache.set_write_slots(slots, slice(0, self._cache.rows), reach)
        return torch.arange(reach, device=slots.device)

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        return self._bound.logits(self.head.readable(features))

    def _forward(
        self,
        tokens: torch.Tensor,
        features: torch.Tensor,
        positions: torch.Tensor,
        seen: torch.Tensor,
    ) -> torch.Tensor:
        layer = self._cache.row_layers[0]

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            keys, values = layer.write(key.flatten(0, 1), value.flatten(0, 1))
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), keys, values, attn_mask=seen[:, None],
                enable_gqa=query.shape[2] != key.shape[2],
            )  # fmt: skip
            return mixed.transpose(1, 2).flatten(2)

        made: torch.Tensor = self.head(self._bound.embed(tokens), features, positions, attend)
        return made


class EagleDrafter(Drafter):
    """What drafters with an EAGLE head share; the shape of the tree is their own.

    Args:
        run: The head at work.
        gamma: Nodes that are proposed.
    """

    def __init__(self, run: EagleRun, gamma: int) -> None:
        self.gamma, self.taps = gamma, run.head.shape.taps
        self._run = run

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        self._run.open(rows, capacity)

    @torch.inference_mode()
    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`."""
        self._run.admit(row, ids, states)

    @torch.inference_mode()
    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        refuse_dense(ask.dense, "EAGLE")
        return self.tree(*self._run.catch_up(ask))

    def tree(self, features: torch.Tensor, logits: torch.Tensor) -> Proposal:
        """Return the tree below the roots, from their features and what may follow them."""
        raise NotImplementedError

    @torch.inference_mode()
    def observe(self, accepted: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.observe`."""
        self._run.observe(accepted, states)
