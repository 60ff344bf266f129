"""Recorded drafts on disk: what `draftproof.decoding.drafters.Replay` proposes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from draftproof.records import DraftproofError

_MOST_BYTES = 1 << 30


def read_drafts(path: Path, vocabulary: int) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Read drafts by prompt.

    Args:
        path: JSON lines, each an object with `prompt` and `tokens`, lists of the target's token
            ids: the rendered prompt and what is proposed for its answer.
        vocabulary: Ids lie below this.

    Raises:
        DraftproofError: The file cannot be read, or a line is not such an object, with its
            number and what is wrong.
    """
    drafts: dict[tuple[int, ...], tuple[int, ...]] = {}
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DraftproofError(f"{path}: larger than 1 GiB; split the recording")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DraftproofError(f"{path}: recorded drafts cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
                prompt, tokens = (_ids(row, name, vocabulary) for name in ("prompt", "tokens"))
            except (ValueError, RecursionError) as error:
                raise DraftproofError(f"{path}, line {number}: {error}") from error
            if drafts.setdefault(prompt, tokens) != tokens:
                raise DraftproofError(
                    f"{path}, line {number}: another draft was recorded for the same prompt"
                )
    if not drafts:
        raise DraftproofError(f"{path}: holds no recorded draft")
    return drafts


def write_drafts(path: Path, drafts: Mapping[tuple[int, ...], Sequence[int]]) -> None:
    """Write drafts by prompt in the form that `read_drafts` reads."""
    rows = [{"prompt": list(p), "tokens": list(t)} for p, t in drafts.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _ids(row: object, name: str, vocabulary: int) -> tuple[int, ...]:
    if not isinstance(row, dict) or not isinstance(row.get(name), list):
        raise ValueError(f"field {name!r} must be a list of token ids")
    for token in row[name]:
        if type(token) is not int or not 0 <= token < vocabulary:
            raise ValueError(
                f"field {name!r} holds {str(token)[:40]!r}, not a token id below {vocabulary}"
            )
    return tuple(row[name])
