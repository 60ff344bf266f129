"""Tool calls whose arguments are the same JSON values behind different spelling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from draftproof.records import ToolCall


def spelled_otherwise(first: Sequence[ToolCall], second: Sequence[ToolCall]) -> bool:
    """Whether two lists of calls differ, and only in how their arguments are written.

    White space, the order of keys, escapes in strings and the notation of numbers are spelling.
    ``true`` is no 1, an object with a key twice has no one value, and neither has what is no JSON.

    >>> one, other, third = (ToolCall(name="f", arguments=a) for a in ("[1]", "[1.0 ]", "[true]"))
    >>> spelled_otherwise([one], [other]), spelled_otherwise([one], [third])
    (True, False)
    """
    calls = [(c.name, c.arguments) for c in first], [(c.name, c.arguments) for c in second]
    if calls[0] == calls[1] or [n for n, _ in calls[0]] != [n for n, _ in calls[1]]:
        return False
    return all(
        one == other or _same(one, other) for (_, one), (_, other) in zip(*calls, strict=True)
    )


def _same(first: str, second: str) -> bool:
    try:
        one, other = (
            json.loads(
                text, parse_int=Decimal, parse_float=Decimal, parse_constant=_no_json,
                object_pairs_hook=_unique,
            )
            for text in (first, second)
        )  # fmt: skip
        return _equal(one, other)
    except (ValueError, ArithmeticError, RecursionError):
        return False


def _equal(one: object, other: object) -> bool:
    """Compare JSON values; Python takes True for 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_json(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
