"""Known public batteries: where each comes from, what is wrong with it, and how it is asked.

No prompt of them ships. An entry is read from the user's own copy (``NAME=FOLDER``) or from the
hub with the user's own token (``hub:NAME``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from draftproof.battery.battery import Battery, merge
from draftproof.battery.rows import Problems
from draftproof.battery.sources import Rows, declared_battery, rows_of_file, rows_of_hub
from draftproof.battery.tables import file_digest
from draftproof.battery.taskfile import TaskFile
from draftproof.records import DraftproofError

_Kind = TypeVar("_Kind")
_MINORS = re.compile(
    r"\b(?:child(?:ren)?|minors?|under-?age|kids?|teen(?:ager)?s?|infants?|toddlers?|"
    r"p(?:a?e)dophil\w*)\b",
    re.IGNORECASE,
)


class Withheld(BaseModel):
    """Rows about minors, which are counted and never asked.

    In a copy with a known digest they are known by number; in any other copy every row that
    mentions minors is left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    rows: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Row numbers from 0, by the digest (or its beginning) of the file that they hold for."""
    removed: dict[str, int] = Field(default_factory=dict)
    """How many were taken out already, by the digest of the file."""


class CatalogueEntry(BaseModel):
    """One public battery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    home: str
    licence: str
    items: str
    access: str = Field(pattern="^(open|gated)$")
    files: tuple[str, ...]
    """Names or patterns of the files in a user's folder."""
    sha256: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Beginnings of the digests of known copies, by file name."""
    pitfalls: tuple[str, ...]
    withheld: Withheld | None = None
    tasks: tuple[TaskFile, ...]


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return every entry by name."""
    entries = {}
    for file in sorted((files("draftproof.battery") / "catalogue").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            entry = CatalogueEntry.model_validate(yaml.safe_load(file.read_text("utf-8")))
            entries[entry.name] = entry
    return entries


def entry_named(name: str) -> CatalogueEntry:
    """Return an entry.

    Raises:
        DraftproofError: No such entry.
    """
    entry = catalogue().get(name)
    if entry is None:
        raise DraftproofError(
            f"the catalogue has no battery {name!r}; it has {', '.join(catalogue())}"
        )
    return entry


@dataclass(frozen=True, slots=True)
class Copy:
    """A user's copy of one file of an entry.

    Attributes:
        path: The file.
        digest: Its SHA-256.
        known: Whether the catalogue knows it; None where it knows no digest of that file.
    """

    path: Path
    digest: str
    known: bool | None


def copies(entry: CatalogueEntry, place: Path) -> list[Copy]:
    """Return the files of an entry in a folder, or the one file that was given.

    Raises:
        DraftproofError: None is there.
    """
    paths = (
        [place]
        if place.is_file()
        else sorted({p for pattern in entry.files for p in place.glob(pattern)})
    )
    if not paths:
        raise DraftproofError(
            f"{place}: holds no file of {entry.name}; looked for {', '.join(entry.files)}; "
            f"it comes from {entry.home}"
        )
    copies = []
    for path in paths:
        digest, known = file_digest(path), entry.sha256.get(path.name)
        copies.append(
            Copy(path, digest, any(digest.startswith(k) for k in known) if known else None)
        )
    return copies


def read_entry(entry: CatalogueEntry, place: Path, problems: Problems | None = None) -> Battery:
    """Return an entry's battery from the user's copy."""
    mine = copies(entry, place)
    parts, withheld = [], 0
    for task in entry.tasks:
        rows, count = _kept(entry, task, mine, problems)
        parts.append(declared_battery(task, rows, f"{entry.name}={place}", problems))
        withheld = max(withheld, count())
    unknown = [c.path.name for c in mine if c.known is False]
    version = f"unknown copy of {', '.join(unknown)}" if unknown else parts[0].version
    return replace(
        merge(parts),
        name=entry.name,
        source=f"{entry.name}={place}",
        version=version,
        licence=entry.licence,
        withheld=withheld,
        skipped=problems.count if problems else 0,
    )


def read_hub(entry: CatalogueEntry) -> Battery:
    """Return an entry's battery from the hub, by the user's own token.

    Raises:
        DraftproofError: The entry is on no hub, or it cannot be read.
    """
    parts, withheld = [], 0
    for task in entry.tasks:
        if task.source.hub is None:
            raise DraftproofError(
                f"{entry.name} is read from files; fetch them from {entry.home} and name "
                f"{entry.name}=FOLDER"
            )
        out: list[int] = []
        rows = _without_minors(entry, rows_of_hub(task.source), out)
        parts.append(declared_battery(task, rows, f"hub:{entry.name}"))
        withheld = len(out)
    return replace(
        merge(parts),
        name=entry.name,
        source=f"hub:{entry.name}",
        licence=entry.licence,
        withheld=withheld,
    )


def _kept(
    entry: CatalogueEntry, task: TaskFile, mine: list[Copy], problems: Problems | None
) -> tuple[Rows, Callable[[], int]]:
    """Return the rows that may be asked and, once they are read, how many may not."""
    out: list[int] = []
    removed = 0

    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        nonlocal removed
        for copy in mine:
            if task.source.path and not copy.path.match(task.source.path):
                continue
            rows = rows_of_file(copy.path, problems)
            held = entry.withheld
            numbers = _by_digest(held.rows, copy.digest) if held else None
            already = _by_digest(held.removed, copy.digest) if held else None
            if already is not None:
                removed += already
                yield from rows
            elif numbers is not None:
                for index, (where, row) in enumerate(rows):
                    if index in numbers:
                        out.append(index)
                    else:
                        yield where, row
            else:
                yield from _without_minors(entry, rows, out)

    return rows(), lambda: len(out) + removed


def _by_digest(table: Mapping[str, _Kind], digest: str) -> _Kind | None:
    return next((v for beginning, v in table.items() if digest.startswith(beginning)), None)


def _without_minors(entry: CatalogueEntry, rows: Rows, out: list[int]) -> Rows:
    for index, (where, row) in enumerate(rows):
        if entry.withheld is not None and _MINORS.search(str(row.get(entry.withheld.field, ""))):
            out.append(index)
        else:
            yield where, row
