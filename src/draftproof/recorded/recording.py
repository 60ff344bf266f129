"""What a file of recorded answers holds, whichever program wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from draftproof.records import Completion, DraftproofError


@dataclass(frozen=True, slots=True)
class Recorded:
    """One file of answers.

    Attributes:
        completions: By id, in the order of the file.
        prompts: Prompt texts by id, where the file has them.
        clusters: Cluster names by id, where the file has them.
        columns: Which column each field was read from.
    """

    completions: dict[str, Completion]
    prompts: dict[str, str]
    clusters: dict[str, str]
    columns: dict[str, str]

    @property
    def arm(self) -> str:
        """The arm that the answers belong to; a file holds one answer at least."""
        return next(iter(self.completions.values())).arm


def label_column(path: Path, columns: Mapping[str, str], kind: str) -> str | None:
    """Return the column that holds labels, for formats whose other fields are fixed.

    Raises:
        DraftproofError: Another field was named.
    """
    other = sorted(columns.keys() - {"label"})
    if other:
        raise DraftproofError(
            f"{path}: {kind} has a fixed field for {other[0]!r}; "
            "only label=SCORE can be named with --columns"
        )
    return columns.get("label")


_MOST_JSON = 1024 * 1024 * 1024


def read_json(path: Path) -> object:
    """Return the one JSON document that a file holds.

    Raises:
        DraftproofError: No such file, no JSON, or larger than 1 GiB.
    """
    try:
        if path.stat().st_size > _MOST_JSON:
            raise DraftproofError(f"{path}: larger than 1 GiB; write it as JSON lines or Parquet")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DraftproofError(f"{path}: broken JSON: {error}") from error
