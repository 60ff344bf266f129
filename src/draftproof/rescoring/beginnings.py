"""Reading many texts at once, what they begin with in common only once.

Prompts share templates, and positions of one answer share the prompt and the answer up to the
earlier one. Texts are put into groups with a common beginning; each beginning is read once, its
keys and values are copied to the rows of its texts, and the rest of every text is read from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from draftproof.decoding import CausalModel
from draftproof.decoding.cache import RowCache

Text = Sequence[int]
_MOST_TOKENS = 4096
"""Slots of a block, all rows together; bounds its memory."""
_MOST_ROWS = {"cpu": 16}
_OTHERWISE = 64
"""Rows of a block. A processor is busy with few, and few are of more like length."""
_LEAST = 4
"""Tokens of a beginning that is worth a row of its own."""


@dataclass(frozen=True, slots=True)
class Known:
    """A beginning that was read: `length` tokens in one row of a cache."""

    cache: RowCache
    row: int
    length: int


@dataclass(frozen=True, slots=True)
class Group:
    """Texts, by index, whose first `length` tokens are the same."""

    length: int
    texts: tuple[int, ...]


def groups(texts: Sequence[Text]) -> list[Group]:
    """Return the texts in groups whose common beginnings save most tokens.

    The last token of a text is never part of a beginning.

    >>> [(g.length, g.texts) for g in groups([[1, 2, 3, 4, 5, 6], [9, 9], [1, 2, 3, 4, 7, 7]])]
    [(4, (0, 2)), (0, (1,))]
    """
    order = sorted(range(len(texts)), key=lambda i: tuple(texts[i]))
    shared = [_common(texts[a], texts[b]) for a, b in pairwise(order)]
    # merge neighbours, the most alike first; a merge is kept where it saves more than it loses
    found: list[list[int]] = [[i] for i in order]
    lengths = [0] * len(order)
    place = list(range(len(order)))
    for at in sorted(range(len(shared)), key=lambda k: -shared[k]):
        left, right = _root(place, at), _root(place, at + 1)
        both = (len(found[left]) + len(found[right]) - 1) * shared[at]
        apart = sum((len(found[side]) - 1) * lengths[side] for side in (left, right))
        if shared[at] >= _LEAST and both > apart:
            found[left] += found[right]
            found[right] = []
            lengths[left], place[right] = shared[at], left
    return [Group(n, tuple(own)) for n, own in zip(lengths, found, strict=True) if own]


def _common(one: Text, other: Text) -> int:
    most = min(len(one), len(other)) - 1
    return next((k for k in range(most) if one[k] != other[k]), most)


def _root(place: list[int], at: int) -> int:
    while place[at] != at:
        place[at] = place[place[at]]
        at = place[at]
    return at


def read_beginnings(model: CausalModel, texts: Sequence[Text]) -> list[Known | None]:
    """Read the beginnings that texts share; None where a text shares none."""
    known: list[Known | None] = [None] * len(texts)
    shared = [g for g in groups(texts) if g.length]
    for block in blocks(model, [g.length for g in shared], 0):
        heads = [texts[shared[i].texts[0]][: shared[i].length] for i in block]
        cache = model.new_cache(len(heads), max(map(len, heads)))
        _read(model, cache, heads, [0] * len(heads))
        for row, i in enumerate(block):
            for text in shared[i].texts:
                known[text] = Known(cache, row, shared[i].length)
    return known


def read(
    model: CausalModel, texts: Sequence[Text], known: Sequence[Known | None], spare: int
) -> RowCache:
    """Read all but the last token of every text.

    Args:
        model: Who reads.
        texts: A block of texts, at least one token each.
        known: What was read of each of them before.
        spare: Slots that are wanted behind every text but its last token.

    Returns:
        A cache with a row a text. What padding wrote lies behind a row's text and is never
        attended to.
    """
    starts = [k.length if k else 0 for k in known]
    rests = [[*t[s:-1]] for t, s in zip(texts, starts, strict=True)]
    longest = max(map(len, rests))
    needed = max(max(s + longest, len(t) - 1 + spare) for s, t in zip(starts, texts, strict=True))
    if model.max_positions is not None and needed > model.max_positions and any(starts):
        return read(model, texts, [None] * len(texts), spare)
    cache = model.new_cache(len(texts), needed)
    for row, own in enumerate(known):
        if own:
            _copy(own, cache, row)
    if longest:
        rests = [r or [t[s]] for r, t, s in zip(rests, texts, starts, strict=True)]
        _read(model, cache, rests, starts)
    return cache


def _read(
    model: CausalModel, cache: RowCache, texts: Sequence[Text], starts: Sequence[int]
) -> None:
    longest = max(map(len, texts))
    padded = [[*t, *([t[-1]] * (longest - len(t)))] for t in texts]
    model.write(
        torch.tensor(padded, device=model.device),
        torch.tensor(starts, device=model.device),
        cache,
        longest=max(starts) + 1,
    )


def _copy(known: Known, cache: RowCache, row: int) -> None:
    """Copy a beginning's keys and values to a row of another cache."""
    for source, goal in zip(known.cache.row_layers, cache.row_layers, strict=True):
        if not goal.is_initialized:
            goal.allocate(source.keys.shape[2], source.keys, source.values)
        goal.keys[row, : known.length] = source.keys[known.row, : known.length]
        goal.values[row, : known.length] = source.values[known.row, : known.length]


def blocks(model: CausalModel, lengths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the indices of texts that are read side by side: those of like length.

    Args:
        model: Who reads them.
        lengths: Tokens of each text that are to be read.
        width: Slots behind each of them.
    """
    most = _MOST_ROWS.get(model.device.type, _OTHERWISE)
    block: list[int] = []
    # the longest first, so that memory is asked for once
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if block and (
            len(block) == most or (len(block) + 1) * (lengths[block[0]] + width) > _MOST_TOKENS
        ):
            yield block
            block = []
        block.append(index)
    if block:
        yield block
