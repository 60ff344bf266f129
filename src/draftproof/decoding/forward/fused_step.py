"""One step of a Llama-shaped model as a single compiled function."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from draftproof.decoding.forward.fused_attention import AttentionBlock, Sizes, attend
from draftproof.decoding.forward.kernels import (
    Floats,
    Ints,
    Kind,
    address,
    copied,
    exponentials,
    floats,
    normed,
    products,
)

_ONE = np.float32(1.0)


@njit(cache=True, nogil=True)
def _project(
    kind: Kind,
    read: Floats,
    weight: int,
    bias: int,
    heads: int,
    sizes: Sizes,
    states: Floats,
    first: int,
) -> None:
    """Write the queries, keys or values of some heads into their places from `first` on."""
    rows, hidden, total = read.shape[0], read.shape[1], states.shape[1]
    for head in range(heads):
        at = first + head * sizes.room
        products(
            kind, address(read), hidden, rows,
            weight + kind.itemsize * head * sizes.width * hidden, hidden,
            sizes.width, hidden, address(states) + 4 * at, total,
        )  # fmt: skip
        if bias:
            values = floats(bias + 4 * head * sizes.width, sizes.width)
            for row in range(rows):
                for i in range(sizes.width):
                    states[row, at + i] += values[i]


@njit(cache=True, nogil=True)
def _join(x: Floats, more: Floats) -> None:
    """Add what a part of a layer says to the states."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[row, i] += more[row, i]


@njit(cache=True, nogil=True)
def _turned(
    at: int, size: int, weight: int, eps: float, cos: Floats, sin: Floats, place: int, room: Floats
) -> None:
    """Norm one head's query or key where the model does so, and turn it to its position."""
    half = size // 2
    if weight:
        normed(at, weight, size, eps, address(room))
    else:
        copied(at, address(room), size)
    state = floats(at, size)
    for i in range(half):
        low, high = room[0, i], room[0, i + half]
        state[i] = low * cos[place, i] - high * sin[place, i]
        state[i + half] = high * cos[place, i + half] + low * sin[place, i + half]


@njit(cache=True, nogil=True)
def _activated(gate: Floats, up: Floats, room: Floats, powers: NDArray[np.int32]) -> None:
    """Replace ``gate`` by silu(gate)·up."""
    size = gate.shape[1]
    for row in range(gate.shape[0]):
        for i in range(size):
            room[0, i] = -gate[row, i]
        exponentials(floats(address(room), size), size, powers)
        for i in range(size):
            gate[row, i] = gate[row, i] / (_ONE + room[0, i]) * up[row, i]


@njit(cache=True, nogil=True)
def _tap(x: Floats, layer: int, block: AttentionBlock, tapped: Floats) -> None:
    """Copy the states ``[B·W, hidden]`` of a layer that is tapped."""
    hidden, count = x.shape[1], block.taps.shape[0]
    for number in range(count):
        if block.taps[number] == layer:
            for i in range(x.shape[0]):
                target = address(tapped) + 4 * hidden * (i * count + number)
                copied(address(x) + 4 * hidden * i, target, hidden)


@njit(cache=True, nogil=True)
def _place(
    block: AttentionBlock, sizes: Sizes, weights: Ints, layer: int, caches: Ints, cos: Floats,
    sin: Floats, states: Floats, room: Floats,
) -> None:  # fmt: skip
    """Turn queries and keys to their positions and write keys and values to their slots."""
    columns, width, total = block.ids.shape[1], sizes.width, states.shape[1]
    query, key = sizes.query_heads * sizes.room, sizes.heads * sizes.room
    for i in range(states.shape[0]):
        b, w = i // columns, i % columns
        at = address(states) + 4 * i * total
        place = block.starts[b] + block.depths[b if block.depths.shape[0] > 1 else 0, w]
        for head in range(sizes.query_heads + sizes.heads):
            norm = weights[layer, 7] if head < sizes.query_heads else weights[layer, 8]
            _turned(at + 4 * head * sizes.room, width, norm, sizes.eps, cos, sin, place, room)
        slot = 4 * ((block.row + b) * block.capacity + block.starts[b] + w) * key
        copied(at + 4 * query, caches[layer, 0] + slot, key)
        copied(at + 4 * (query + key), caches[layer, 1] + slot, key)


@njit(cache=True, nogil=True)
def _outside(block: AttentionBlock, sizes: Sizes) -> bool:
    """Return whether a token or a slot does not exist."""
    rows, columns = block.ids.shape
    for b in range(rows):
        if block.starts[b] < 0 or block.starts[b] > block.capacity - columns:
            return True
        for w in range(columns):
            if block.ids[b, w] < 0 or block.ids[b, w] >= sizes.tokens:
                return True
    return False


@njit(cache=True, nogil=True)
def _norm_all(x: Floats, weight: int, eps: float, out: Floats) -> None:
    """Write the norm of every row."""
    size = x.shape[1]
    for i in range(x.shape[0]):
        normed(address(x) + 4 * i * size, weight, size, eps, address(out) + 4 * i * size)


@njit(cache=True, nogil=True)
def step(
    kind: Kind, block: AttentionBlock, sizes: Sizes, layers: Ints, ends: Ints, caches: Ints,
    cos: Floats, sin: Floats, logits: Floats, tapped: Floats,
) -> bool:  # fmt: skip
    """Run a block, write its keys and values, its logits and the tapped states.

    Args:
        kind: An empty array of the kind that matrices are stored in; all else is float32.
        block: What is read.
        sizes: The model's shape.
        layers: ``[L, 14] int64`` addresses: the norm before attention, query, key and value
            weights, their three biases, the norms of a query and of a key, the output's weight,
            the norm before the feed-forward part, gate, up and down; 0 is absent.
        ends: ``[3] int64`` addresses of the embedding (float32), the last norm and the head.
        caches: ``[L, 2] int64`` addresses of keys and values ``[R, T, H, D]``.
        cos: ``[T, D]``.
        sin: ``[T, D]``.
        logits: ``[B, keep, V]``, written.
        tapped: ``[B, W, taps·hidden]``, written.

    Returns:
        Whether it could; False where a token or a slot does not exist, and nothing is written.
    """
    if _outside(block, sizes):
        return False
    rows, columns = block.ids.shape
    count, hidden, feed = rows * columns, sizes.hidden, sizes.feed
    query, key = sizes.query_heads * sizes.room, sizes.heads * sizes.room
    inside = sizes.query_heads * sizes.width
    x, read = np.empty((count, hidden), np.float32), np.empty((count, hidden), np.float32)
    states = np.zeros((count, query + 2 * key), np.float32)
    mixed = np.empty((count, inside), np.float32)
    gate, up = np.empty((count, feed), np.float32), np.empty((count, feed), np.float32)
    room, powers = np.empty((1, max(sizes.width, feed)), np.float32), np.empty(feed, np.int32)
    source, mix = address(read), address(mixed)
    inner, beside = address(gate), address(up)
    for i in range(count):
        token = block.ids[i // columns, i % columns]
        copied(ends[0] + 4 * hidden * token, address(x) + 4 * hidden * i, hidden)
    for n in range(layers.shape[0]):
        _tap(x, n, block, tapped)
        _norm_all(x, layers[n, 0], sizes.eps, read)
        _project(kind, read, layers[n, 1], layers[n, 4], sizes.query_heads, sizes, states, 0)
        _project(kind, read, layers[n, 2], layers[n, 5], sizes.heads, sizes, states, query)
        _project(kind, read, layers[n, 3], layers[n, 6], sizes.heads, sizes, states, query + key)
        _place(block, sizes, layers, n, caches, cos, sin, states, room)
        if n == layers.shape[0] - 1 and block.keep == 0 and block.taps.shape[0] == 0:
            return True
        attend(block, sizes, states, caches[n, 0], caches[n, 1], mixed)
        products(kind, mix, inside, count, layers[n, 9], inside, hidden, inside, source, hidden)
        _join(x, read)
        _norm_all(x, layers[n, 10], sizes.eps, read)
        products(kind, source, hidden, count, layers[n, 11], hidden, feed, hidden, inner, feed)
        products(kind, source, hidden, count, layers[n, 12], hidden, feed, hidden, beside, feed)
        _activated(gate, up, room, powers)
        products(kind, inner, feed, count, layers[n, 13], feed, hidden, feed, source, hidden)
        _join(x, read)
    _tap(x, layers.shape[0], block, tapped)
    _norm_all(x, ends[1], sizes.eps, read)
    _tap(read, -1, block, tapped)
    wanted, keep, out = sizes.vocabulary, block.keep, address(logits)
    for b in range(rows):
        last = source + 4 * hidden * ((b + 1) * columns - keep)
        if keep == columns:
            products(kind, source, hidden, count, ends[2], hidden, wanted, hidden, out, wanted)
            break
        if keep:
            to = out + 4 * b * keep * wanted
            products(kind, last, hidden, keep, ends[2], hidden, wanted, hidden, to, wanted)
    # named last on purpose: numba frees an array after its last mention, and above only its address
    # is mentioned
    return read.shape[0] == count
