"""What a compiled step reads, and its attention."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from draftproof.decoding.forward.kernels import (
    Flags,
    Floats,
    Ints,
    address,
    blended,
    exponentials,
    floats,
    products,
)

_NOTHING, _ZERO = np.float32(-np.inf), np.float32(0.0)
_TOGETHER = 64
"""Columns whose scores are held at once."""


class Sizes(NamedTuple):
    """What a step must know of a model's shape.

    Attributes:
        hidden: Width of a token's state.
        query_heads: Heads of queries, a multiple of `heads`.
        heads: Heads of keys and values.
        width: Width of a head.
        room: Width of a head's place, `width` rounded up to a multiple of `kernels.LANES`; the rest
            holds zeros.
        feed: Inner width of the feed-forward part.
        tokens: Rows of the embedding.
        vocabulary: Logits of a token.
        scale: Factor of attention scores.
        eps: Of the norms.
    """

    hidden: int
    query_heads: int
    heads: int
    width: int
    room: int
    feed: int
    tokens: int
    vocabulary: int
    scale: float
    eps: float


class AttentionBlock(NamedTuple):
    """What a step reads and where.

    Attributes:
        ids: ``[B, W] int64`` tokens.
        starts: ``[B] int64``, the slot of each row's first token.
        depths: ``[1 or B, W] int64``, how far each token stands behind the first.
        chain: Whether each token reads all before it; `back` and `sees` then mean nothing.
        back: How many slots before the first token's `sees` begins.
        sees: ``[1 or B, W, back + W or more] bool``, whether token j reads the slot i behind
            there: ``sees[b, j, i]``; all slots before are read by all.
        row: The first of the cache's rows that are meant.
        capacity: Tokens that a row of the cache holds.
        keep: Columns, from the last, whose logits are wanted; with 0 and without taps a step
            ends when the last keys and values are written.
        taps: Layers whose output is wanted; the last norm's is numbered -1.
    """

    ids: Ints
    starts: Ints
    depths: Ints
    chain: bool
    back: int
    sees: Flags
    row: int
    capacity: int
    keep: int
    taps: Ints


@njit(cache=True, nogil=True)
def _shares(
    own: Floats, known: int, sees: Flags, tree: int, node: int, scale: float,
    powers: NDArray[np.int32],
) -> np.float32:  # fmt: skip
    """Turn one token's scores into exp(score - best), 0 where it does not see; return their sum."""
    length, best = own.shape[0], _NOTHING
    for t in range(length):
        own[t] *= scale
    for t in range(known):
        best = max(best, own[t])
    for t in range(length - known):
        if sees[tree, node, t]:
            best = max(best, own[known + t])
    for t in range(length):
        own[t] -= best
    exponentials(own, length, powers)
    for t in range(length - known):
        if not sees[tree, node, t]:
            own[known + t] = _ZERO
    # in the order of the slots: what is not seen adds nothing, wherever it stands
    total = _ZERO
    for t in range(length):
        total += own[t]
    return total


@njit(cache=True, nogil=True)
def attend(
    block: AttentionBlock, sizes: Sizes, states: Floats, keys: int, values: int, mixed: Floats
) -> None:
    """Mix the values that each token sees, weighted by the softmax of its scores."""
    rows, columns = block.ids.shape
    width, stride, all_heads = sizes.room, sizes.heads * sizes.room, states.shape[1]
    group = sizes.query_heads // sizes.heads
    longest = columns
    for b in range(rows):
        longest = max(longest, block.starts[b] + columns)
    scores = np.empty((min(columns, _TOGETHER), longest), np.float32)
    powers, said = np.empty(longest, np.int32), np.empty((1, width), np.float32)
    asked, scale = address(states), np.float32(sizes.scale)
    for b in range(rows):
        start = block.starts[b]
        length = start + columns
        tree = b if block.sees.shape[0] > 1 else 0
        base = 4 * (block.row + b) * block.capacity * stride
        for head in range(sizes.query_heads):
            shared = base + 4 * (head // group) * width
            for first in range(0, columns, _TOGETHER):
                count = min(_TOGETHER, columns - first)
                products(
                    said[0], asked + 4 * ((b * columns + first) * all_heads + head * width),
                    all_heads, count, keys + shared, stride, length, width, address(scores),
                    longest,
                )  # fmt: skip
                for w in range(count):
                    seen = start + first + w + 1 if block.chain else length
                    known = seen if block.chain else start - block.back
                    own, out = address(scores) + 4 * w * longest, b * columns + first + w
                    total = _shares(
                        floats(own, seen), known, block.sees, tree, first + w, scale, powers
                    )
                    blended(own, values + shared, stride, seen, width, address(said))
                    for i in range(sizes.width):
                        mixed[out, head * sizes.width + i] = said[0, i] / total
