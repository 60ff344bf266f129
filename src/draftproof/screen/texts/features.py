"""What can be wrong with a text by itself: loops, doubled words, garbage, no end.

Nothing here knows a language: characters are told apart by their Unicode properties, repetition
by n-grams of characters, so texts without spaces are read as well as English.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
HashArray = NDArray[np.uint64]
IndexArray = NDArray[np.int64]

_GRAM = 8
_COPIES = 4
"""Copies in a row that make a loop."""
_SPAN = 32
"""Characters that a loop covers at least, so that a drawn-out "haha" is none."""
_REPEATED = 0.6
"""Share of 8-grams seen before in the same text: templated lists reach 0.4, loops 0.8."""
_REPEATED_FROM = 80
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_DOUBLED = re.compile(
    rf"(?<!\w)([^\W\d_]+)\s+\1(?!\w)|([^\W\d_]{{3,12}}?)\2|([{_UNSPACED}]{{2,12}}?)\3"
)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff\ud800-\udfff]")
_SIGNS = re.compile(r"(?:[^\w\s]|_){12,}")
_RULERS = frozenset("-=_*.#~|+:·•…─━═│`\\/")
_FOREIGN_SIGNS = 6
"""Signs in one run that draw no line or table: code closes with fewer brackets."""
_SYMBOLS_FROM = 8
_ALPHANUMERIC = 0.5
"""Prose is 0.95 letters and digits, code and tables 0.6 and more."""
_PACKED_FROM = 120
"""Bytes from which a compression ratio says something; shorter answers reach 0.8."""
_DICTIONARY = 32_768
"""Bytes of other answers that deflate looks back to (its window)."""
_DEVIATIONS = 4.0
_RATIO_FLOOR = 0.56
"""Prose is 0.3 to 0.5 beside other answers, letters at random 0.63, printable characters 0.84."""

_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
_GOES_ON = frozenset(",;:、，；：")
_CLOSING = frozenset({"Po", "Pe", "Pf", "So", "Sk", "Mn"})


def empty(texts: Sequence[str]) -> BoolArray:
    """Return which texts hold nothing but space.

    Returns:
        ``[N] bool``.
    """
    return np.array([not text.strip() for text in texts], dtype=bool)


def open_ended(texts: Sequence[str]) -> BoolArray:
    """Return which texts end without a mark that closes a sentence, a quotation or a block.

    Many whole answers do (a name, a letter, a list), so this tells only beside another arm.

    Returns:
        ``[N] bool``; an empty text is not open.
    """
    return np.array([_is_open(text.rstrip()) for text in texts], dtype=bool)


def _is_open(text: str) -> bool:
    if not text:
        return False
    last = text[-1]
    if last in _GOES_ON:
        return True
    return unicodedata.category(last) not in _CLOSING and last not in "\"'`*|"


def character_codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], IndexArray]:
    """Return all characters of all texts in a row, and to which text each belongs.

    Returns:
        Code points ``[C] uint32`` and text numbers ``[C] int64``.
    """
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    return np.frombuffer(joined, dtype=np.uint32), owners


def gram_hashes(
    codes: NDArray[np.uint32], owners: IndexArray, size: int
) -> tuple[HashArray, BoolArray]:
    """Return a 64-bit hash of every n-gram of characters.

    Args:
        codes: ``[C] uint32``.
        owners: ``[C] int64``, see `character_codes`.
        size: Characters of a gram.

    Returns:
        Hashes ``[max(C - size + 1, 0)] uint64``, and which of them lie within one text.
    """
    count = max(codes.size - size + 1, 0)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(size if count else 0):
        hashes = (hashes + codes[place : place + count] + np.uint64(1)) * _FACTOR
        hashes ^= hashes >> np.uint64(29)
    return hashes, owners[:count] == owners[codes.size - count :]


def loops(texts: Sequence[str]) -> BoolArray:
    """Return which texts go in circles: four copies in a row anywhere, or mostly repeated n-grams.

    Every 8-gram is traced to its last occurrence in the same text; a stretch where that distance
    stays p is periodic with period p. The share of repeated n-grams is seq-rep-n of Welleck et
    al. (2020), arXiv 1908.04319, on characters.

    Returns:
        ``[N] bool``.
    """
    looped = np.zeros(len(texts), dtype=bool)
    codes, owners = character_codes(texts)
    hashes, inside = gram_hashes(codes, owners, _GRAM)
    if not inside.any():
        return looped
    distance = _distance_to_last(hashes, owners[: hashes.size], inside)
    owner = owners[: hashes.size]
    letters = _alphanumeric_table()[codes]
    # rulers, dots and empty table rows repeat by design
    counted = inside & letters[: hashes.size]
    grams = np.bincount(owner[counted], minlength=len(texts))
    repeated = np.bincount(owner[counted & (distance > 0)], minlength=len(texts))
    looped |= (grams >= _REPEATED_FROM) & (repeated > _REPEATED * grams)
    edges = np.flatnonzero(np.diff(distance)) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [distance.size])))
    period = distance[starts]
    span = lengths + period + _GRAM - 1
    found = (period > 0) & (span >= _COPIES * period) & (span >= _SPAN)
    for start, p in zip(starts[found].tolist(), period[found].tolist(), strict=True):
        if letters[start : start + p].any():
            looped[owner[start]] = True
    return looped


def _distance_to_last(hashes: HashArray, owner: IndexArray, inside: BoolArray) -> IndexArray:
    """Return how many characters ago each gram last stood in the same text; 0 for never."""
    keys = hashes ^ (owner.astype(np.uint64) * _FACTOR)
    places = np.flatnonzero(inside)
    order = places[np.argsort(keys[places], kind="stable")]
    same = (keys[order[1:]] == keys[order[:-1]]) & (owner[order[1:]] == owner[order[:-1]])
    distance = np.zeros(hashes.size, dtype=np.int64)
    distance[order[1:][same]] = (order[1:] - order[:-1])[same]
    return distance


@lru_cache(maxsize=1)
def _alphanumeric_table() -> BoolArray:
    """Return by code point whether it is a letter, a digit or a mark that belongs to a letter."""
    return np.array(
        [chr(c).isalnum() or unicodedata.category(chr(c))[0] == "M" for c in range(0x110000)],
        dtype=bool,
    )


def doubled(texts: Sequence[str]) -> BoolArray:
    """Return which texts say a word twice in a row, or a token of three letters and more.

    In scripts that put no space between words two characters twice in a row count.

    Returns:
        ``[N] bool``.
    """
    return np.array([_DOUBLED.search(text) is not None for text in texts], dtype=bool)


def unreadable(texts: Sequence[str]) -> BoolArray:
    """Return which texts hold control or replacement characters, a run of signs, or mostly signs.

    Returns:
        ``[N] bool``.
    """
    codes, owners = character_codes(texts)
    written = ~np.isin(codes, np.array([9, 10, 13, 32, 0x3000], dtype=np.uint32))
    characters = np.bincount(owners[written], minlength=len(texts))
    letters = np.bincount(owners[_alphanumeric_table()[codes]], minlength=len(texts))
    signs = (characters >= _SYMBOLS_FROM) & (letters < _ALPHANUMERIC * characters)
    broken = np.array([_UNPRINTABLE.search(t) is not None or _runs(t) for t in texts], dtype=bool)
    return np.asarray(signs | broken, dtype=bool)


def _runs(text: str) -> bool:
    """Return whether signs that draw no line stand in a row, as when token 0 repeats ("!!!!")."""
    runs = _SIGNS.findall(text)
    return any(sum(c not in _RULERS for c in run) >= _FOREIGN_SIGNS for run in runs)


def incompressible(
    baseline: Sequence[str], candidate: Sequence[str]
) -> tuple[BoolArray, BoolArray]:
    """Return which texts compress far worse than the baseline's answers usually do.

    Both texts of a pair are deflated after the same 32 KiB of baseline answers, which are taken
    from the other half of the pairs. Far worse is four scaled median absolute deviations above
    the baseline's median ratio, and 0.56 at least.

    Args:
        baseline: ``N`` texts.
        candidate: ``N`` texts in the same order.

    Returns:
        Two ``[N] bool``, one an arm.
    """
    books = [_book(baseline[side::2]) for side in (1, 0)]
    before = _ratios(baseline, books)
    after = _ratios(candidate, books)
    known = before[~np.isnan(before)]
    if not known.size:
        nothing = np.zeros(len(baseline), dtype=bool)
        return nothing, nothing
    median = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    limit = max(median + _DEVIATIONS * spread, _RATIO_FLOOR)
    return before > limit, after > limit


def _book(texts: Sequence[str]) -> bytes:
    """Return 32 KiB of texts, taken evenly from all of them."""
    size = sum(map(len, texts))
    every = max(size // _DICTIONARY, 1)
    return b"\n".join(map(_utf8, texts[::every]))[:_DICTIONARY]


def _ratios(texts: Sequence[str], books: Sequence[bytes]) -> FloatArray:
    """Return compressed bytes per byte ``[N] float64``; NaN for texts too short to say.

    The larger of the ratios of the whole and of its second half, as garbage often begins late.
    """
    ratios = np.full(len(texts), np.nan)
    # a copy of a primed compressor costs a fifth of priming it again
    primed = [zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, b) for b in books]
    for number, text in enumerate(texts):
        data = _utf8(text)
        half = data[len(data) // 2 :]
        parts = [part for part in (data, half) if len(part) >= _PACKED_FROM]
        if parts:
            ratios[number] = max(_ratio(part, primed[number % 2].copy()) for part in parts)
    return ratios


def _ratio(data: bytes, packer: zlib._Compress) -> float:
    return (len(packer.compress(data)) + len(packer.flush())) / len(data)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def is_json(texts: Sequence[str]) -> BoolArray:
    """Return which texts are one JSON object or array, in a code fence or without.

    Returns:
        ``[N] bool``.
    """
    return np.array([_parses(_FENCE.sub("", text.strip())) for text in texts], dtype=bool)


def _parses(text: str) -> bool:
    if text[:1] not in {"{", "["}:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
