"""Rows of a declared task: from the user's files, or from the hub with the user's own token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from draftproof.battery.battery import Battery
from draftproof.battery.rows import Problems, iter_rows
from draftproof.battery.tables import require_digest
from draftproof.battery.taskfile import Source, TaskFile
from draftproof.records import DraftproofError, Prompt, digest

Rows = Iterator[tuple[str, Mapping[str, Any]]]


def rows_of_file(path: Path, problems: Problems | None = None) -> Rows:
    """Yield a table's rows with their place in words."""
    for place, row in iter_rows(path, problems):
        yield f"{path}:{place}", row


def rows_of_hub(source: Source) -> Rows:
    """Yield the rows of a data set of the hub, streamed.

    Gated data sets need the token that the user has logged in with; it is never read here.

    Raises:
        DraftproofError: The ``datasets`` library is missing, or the hub does not hand it out.
    """
    try:
        import datasets  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DraftproofError(
            "reading from the hub needs the datasets library; run: pip install 'draftproof[hub]'"
        ) from error
    try:
        rows = datasets.load_dataset(
            source.hub,
            source.config,
            split=source.split,
            revision=source.revision,
            streaming=True,
        )
        for number, row in enumerate(rows, start=1):
            yield f"hub:{source.hub}:{number}", row
    except Exception as error:  # the hub client raises its own, requests' and OS errors
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DraftproofError(
            f"hub:{source.hub}: cannot be read: {first}; for a gated data set accept its terms "
            "on its page and log in with: hf auth login"
        ) from error


def rows_of_task(task: TaskFile, folder: Path, problems: Problems | None = None) -> Rows:
    """Yield the rows that a task file names.

    Raises:
        DraftproofError: It names none, or they cannot be read.
    """
    source = task.source
    if task.samples:
        yield from ((f"{task.name}: sample {i}", row) for i, row in enumerate(task.samples, 1))
    elif source.path is not None:
        paths = sorted(folder.glob(source.path))
        if not paths:
            raise DraftproofError(f"{folder / source.path}: no such file")
        for path in paths:
            if source.sha256 is not None:
                require_digest(path, source.sha256)
            yield from rows_of_file(path, problems)
    elif source.hub is not None:
        yield from rows_of_hub(source)
    else:
        raise DraftproofError(f"task {task.name!r} names no samples and no source")


def read_declared(task: TaskFile, where: str, folder: Path) -> Battery:
    """Return the battery of a task file.

    Raises:
        DraftproofError: Naming the place of the first row that does not fit.
    """
    return declared_battery(task, rows_of_task(task, folder), where)


def declared_battery(
    task: TaskFile, rows: Rows, where: str, problems: Problems | None = None
) -> Battery:
    """Return the battery that a task makes of rows."""
    prompts: tuple[Prompt, ...] = tuple(task.prompts(rows, problems))
    return Battery(
        name=task.name,
        prompts=prompts,
        source=where,
        version=f"{task.version}+{digest(task.digest)[:8]}",
        licence=task.licence,
        ungated=frozenset() if task.gated and task.scorer else frozenset({task.name}),
        skipped=problems.count if problems else 0,
    )
