"""Reading many texts at once; shared prefixes are computed once.

Prompts share templates, and positions of one answer share the prompt and the answer up to the
earlier one. Texts are put into groups with a common prefix; each prefix is read once, its keys and
values are copied to the rows of its texts, and the rest of every text is read from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from draftproof.decoding import CausalModel
from draftproof.decoding.cache import RowCache

Text = Sequence[int]
_MAX_TOKENS = 4096
"""Slots of a block, all rows together; bounds its memory."""
_MAX_ROWS = {"cpu": 16}
_MAX_ROWS_ELSEWHERE = 64
"""Rows of a block. A CPU is busy with few, and few rows are of more similar length."""
_MIN_PREFIX = 4
"""Tokens of a prefix that is worth a row of its own."""


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A prefix that was read: `length` tokens in one row of a cache."""

    cache: RowCache
    row: int
    length: int


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Texts, by index, whose first `length` tokens are the same."""

    length: int
    texts: tuple[int, ...]


def prefix_groups(texts: Sequence[Text]) -> list[PrefixGroup]:
    """Return the texts in groups whose shared prefixes save most tokens.

    The last token of a text is never part of a prefix.

    >>> texts = [[1, 2, 3, 4, 5, 6], [9, 9], [1, 2, 3, 4, 7, 7]]
    >>> [(g.length, g.texts) for g in prefix_groups(texts)]
    [(4, (0, 2)), (0, (1,))]
    """
    order = sorted(range(len(texts)), key=lambda i: tuple(texts[i]))
    shared = [_common(texts[a], texts[b]) for a, b in pairwise(order)]
    # merge neighbours, the most alike first; a merge is kept where it saves more than it loses
    members: list[list[int]] = [[i] for i in order]
    lengths = [0] * len(order)
    parents = list(range(len(order)))
    for at in sorted(range(len(shared)), key=lambda k: -shared[k]):
        left, right = _root(parents, at), _root(parents, at + 1)
        merged = (len(members[left]) + len(members[right]) - 1) * shared[at]
        apart = sum((len(members[side]) - 1) * lengths[side] for side in (left, right))
        if shared[at] >= _MIN_PREFIX and merged > apart:
            members[left] += members[right]
            members[right] = []
            lengths[left], parents[right] = shared[at], left
    return [PrefixGroup(n, tuple(m)) for n, m in zip(lengths, members, strict=True) if m]


def _common(first: Text, second: Text) -> int:
    longest = min(len(first), len(second)) - 1
    return next((k for k in range(longest) if first[k] != second[k]), longest)


def _root(parents: list[int], at: int) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


def read_prefixes(model: CausalModel, texts: Sequence[Text]) -> list[CachedPrefix | None]:
    """Read the prefixes that texts share; None where a text shares none."""
    prefixes: list[CachedPrefix | None] = [None] * len(texts)
    shared = [g for g in prefix_groups(texts) if g.length]
    for block in blocks(model, [g.length for g in shared], 0):
        heads = [texts[shared[i].texts[0]][: shared[i].length] for i in block]
        cache = model.new_cache(len(heads), max(map(len, heads)))
        _read(model, cache, heads, [0] * len(heads))
        for row, i in enumerate(block):
            for text in shared[i].texts:
                prefixes[text] = CachedPrefix(cache, row, shared[i].length)
    return prefixes


def read(
    model: CausalModel, texts: Sequence[Text], prefixes: Sequence[CachedPrefix | None], spare: int
) -> RowCache:
    """Read all but the last token of every text.

    Args:
        model: Who reads.
        texts: A block of texts, at least one token each.
        prefixes: What was read of each of them before.
        spare: Slots that are wanted behind every text but its last token.

    Returns:
        A cache with a row a text. What padding wrote lies behind a row's text and is never
        attended to.
    """
    starts = [p.length if p else 0 for p in prefixes]
    rests = [[*t[s:-1]] for t, s in zip(texts, starts, strict=True)]
    longest = max(map(len, rests))
    needed = max(max(s + longest, len(t) - 1 + spare) for s, t in zip(starts, texts, strict=True))
    if model.max_positions is not None and needed > model.max_positions and any(starts):
        return read(model, texts, [None] * len(texts), spare)
    cache = model.new_cache(len(texts), needed)
    for row, prefix in enumerate(prefixes):
        if prefix:
            cache.copy_row(row, prefix.cache, prefix.row, prefix.length)
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


def blocks(model: CausalModel, lengths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the indices of texts that are read side by side: those of similar length.

    Args:
        model: Who reads them.
        lengths: Tokens of each text that are to be read.
        width: Slots behind each of them.
    """
    most = _MAX_ROWS.get(model.device.type, _MAX_ROWS_ELSEWHERE)
    block: list[int] = []
    # the longest first, so that memory is asked for once
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if block and (
            len(block) == most or (len(block) + 1) * (lengths[block[0]] + width) > _MAX_TOKENS
        ):
            yield block
            block = []
        block.append(index)
    if block:
        yield block
