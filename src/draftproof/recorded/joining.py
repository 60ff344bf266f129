"""Joining recorded answers with a battery that names its prompts otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from draftproof.recorded.recording import Recorded
from draftproof.records import DraftproofError, Prompt

_VERSION = re.compile(r"v\d+-")


def joined_with(file: Recorded, prompts: Sequence[Prompt]) -> Recorded:
    """Return answers under the ids of a battery's prompts.

    Where a file has an id of the battery, its ids are the battery's. Otherwise an answer belongs
    to the one prompt that has its text. Where the file has no texts of prompts, it belongs to the
    one whose id ends in the answer's number: XSTest's completions call ``v2-7`` what a battery
    made of its prompts calls ``xstest_safe-7``.

    Raises:
        DraftproofError: Two answers belong to one prompt.
    """
    ids = {prompt.id for prompt in prompts}
    if not file.completions or not ids.isdisjoint(file.completions):
        return file
    by_text = _only((_asked(p), p.id) for p in prompts)
    by_number = _only((p.id.rpartition("-")[2], p.id) for p in prompts)
    names: dict[str, str] = {}
    for id_ in file.completions:
        asked = file.prompts.get(id_)
        number = _VERSION.sub("", id_, count=1)
        name = by_number.get(number) if asked is None else by_text.get(asked)
        if name is not None:
            names[id_] = name
    if not names:
        return file
    if len(set(names.values())) < len(names):
        raise DraftproofError(f"{file.arm}: several answers have the prompt text of one prompt")
    completions = {
        names.get(id_, id_): replace(c, id=names.get(id_, id_))
        for id_, c in file.completions.items()
    }
    return replace(
        file,
        completions=completions,
        prompts={names.get(id_, id_): text for id_, text in file.prompts.items()},
        clusters={names.get(id_, id_): cluster for id_, cluster in file.clusters.items()},
    )


def _asked(prompt: Prompt) -> str:
    return prompt.messages[-1].content if prompt.messages else ""


def _only(pairs: Iterable[tuple[str, str]]) -> Mapping[str | None, str]:
    """Return what belongs to each key, less the keys that stand for several things."""
    belonging: dict[str | None, str] = {}
    twice: set[str | None] = set()
    for key, value in pairs:
        if key in belonging:
            twice.add(key)
        belonging[key] = value
    return {key: value for key, value in belonging.items() if key not in twice}
