"""Reading a prompt into one row of a cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.model import CausalModel

_BUCKET = 16


def prefill(
    model: CausalModel, cache: RowCache, row: int, ids: Sequence[int], taps: tuple[int, ...] = ()
) -> torch.Tensor | None:
    """Write the keys and values of all but the last token of `ids` into `row`.

    The last token is the root of the first round. The block is padded to a multiple of 16, so
    that the arithmetic depends on the prompt's own length and never on its batch mates; what the
    padding writes lies beyond the row's length and is overwritten before it is attended to. A
    fused model's bits do not depend on the block, and nothing is padded.

    Returns:
        ``[len(ids) - 1, len(taps)·hidden]`` states of the tapped layers, None without taps.
    """
    known = list(ids[:-1])
    if not known:
        return torch.zeros(0, len(taps) * model.hidden_size) if taps else None
    bucket = 1 if model.shape_free else _BUCKET
    width = min(-(-len(known) // bucket) * bucket, cache.capacity)
    padded = known + [known[-1]] * (width - len(known))
    block = torch.tensor([padded], device=model.device)
    starts = torch.zeros(1, dtype=torch.int64, device=model.device)
    states = model.write(block, starts, cache, row=row, longest=1, taps=taps)
    return None if states is None else states[0, : len(known)]
