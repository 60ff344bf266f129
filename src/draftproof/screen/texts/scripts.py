"""Answers in a script that does not belong to the exchange."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from draftproof.screen.texts.features import BoolArray

_LATIN_SHARE = 0.5
"""Below it Latin letters in another script are names, units and abbreviations."""


def foreign_script(
    texts: Sequence[str], others: Sequence[str], prompts: Sequence[str]
) -> BoolArray:
    """Return which texts use a script that neither the prompt nor the other arm's answer uses.

    Two letters in a row count; Latin letters count where they are half of all letters.

    Args:
        texts: ``N`` answers.
        others: The other arm's answers to the same prompts.
        prompts: The prompts.

    Returns:
        ``[N] bool``.
    """
    rows = zip(texts, others, prompts, strict=True)
    return np.array([_is_foreign(text, other + prompt) for text, other, prompt in rows], dtype=bool)


def _is_foreign(text: str, home_text: str) -> bool:
    home = {script_of(c) for c in set(home_text)}
    if "KANA" in home:
        # Japanese writes Han characters too
        home.add("CJK")
    new = {script_of(c) for c in set(text)} - home - {None}
    if not new or home <= {None}:
        return False
    scripts = [script_of(c) for c in text]
    if "LATIN" in new:
        letters = sum(s is not None for s in scripts)
        if scripts.count("LATIN") >= max(2, _LATIN_SHARE * letters):
            return True
    others = new - {"LATIN"}
    return any(a == b and a in others for a, b in pairwise(scripts))


@lru_cache(maxsize=16_384)
def script_of(character: str) -> str | None:
    """Return the script of a letter by its Unicode name, None for all other characters.

    >>> script_of("д"), script_of("語"), script_of("ひ"), script_of("7")
    ('CYRILLIC', 'CJK', 'KANA', None)
    """
    if not character.isalpha():
        return None
    first = unicodedata.name(character, "").partition(" ")[0]
    if first in {"HIRAGANA", "KATAKANA"}:
        return "KANA"
    # a sign that is named for what it means (MICRO, MATHEMATICAL, FEMININE) is at home anywhere
    return first if " LETTER " in unicodedata.name(character, "") or first == "CJK" else None
