"""Bringing text into one form before rules look at it."""

from __future__ import annotations

import unicodedata

_QUOTES = {
    "\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2032": "'", "`": "'",
    "\u201c": '"', "\u201d": '"',
}  # fmt: skip
_MARKUP = "*_#>"
# every ASCII character that str.split takes for space becomes one
_STRAIGHT = bytes(
    ord("'") if c == ord("`") else ord(" ") if chr(c).isspace() and c < 128 else c
    for c in bytes(range(256)).lower()
)
_APART = bytes(
    ord("'") if c == ord("`") else c if chr(c).isalnum() or c in b"'" or c > 127 else ord(" ")
    for c in bytes(range(256)).lower()
)


def plain(text: str) -> str:
    """Return `text` in NFKC and lower case, with straight quotes, no markup and single spaces.

    >>> plain("**I  can\u2019t**")
    "i can't"
    """
    if not text.isascii():
        text = _folded(text)
    if not text.isascii():
        for mark in _MARKUP:
            text = text.replace(mark, "")
        return " ".join(text.split()).casefold()
    line = text.encode().translate(_STRAIGHT, _MARKUP.encode()).decode()
    # answers hold few runs of spaces: closing them up beats splitting at every space
    while "  " in line:
        line = line.replace("  ", " ")
    return line.strip(" ")


def words(text: str, limit: int = -1) -> list[str]:
    """Return the first `limit` words in lower case; punctuation separates, apostrophes do not.

    >>> words("I\u2019m **sorry**, but I can\u2019t.")
    ["i'm", 'sorry', 'but', 'i', "can't"]
    """
    if not text.isascii():
        text = _folded(text).lower()
    # bytes translate through a table an order of magnitude faster than text does
    parts = text.encode("utf-8", "replace").translate(_APART).decode().split(None, limit)
    return parts[:limit] if limit >= 0 else parts


def _folded(text: str) -> str:
    """Return `text` in NFKC with straight quotes and without invisible characters."""
    text = unicodedata.normalize("NFKC", text)
    for character in set(text):
        if character in _QUOTES:
            text = text.replace(character, _QUOTES[character])
        elif character > "\x7f" and unicodedata.category(character) == "Cf":
            text = text.replace(character, "")
    return text
