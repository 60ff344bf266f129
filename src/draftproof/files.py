"""Files that are written whole or not at all, and read with the place of a mistake."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from draftproof.records import DraftproofError

LARGEST = 2**30
"""Bytes of the largest document that is read; no run, plan or battery description is near it."""


def cache_directory() -> Path:
    """Return the user's folder for what can be found out again (XDG base directories)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "draftproof"


def write_whole(path: Path, content: str | bytes | Iterable[str]) -> Path:
    """Replace a file in one step: whoever reads it finds the old content or the new one.

    Args:
        path: In a directory that exists.
        content: Bytes, or text or pieces of text, which are written as UTF-8.

    Raises:
        DraftproofError: The file cannot be written; the one that was there is unchanged.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                pieces = (content,) if isinstance(content, str) else content
                file.writelines(piece.encode("utf-8") for piece in pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def unwritable(path: Path, error: OSError) -> DraftproofError:
    """Return the error of a file that cannot be written, with what to do about it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DraftproofError(
            f"{path}: the disk is full ({error.strerror}); free some space and run the same "
            "command again, answers already given are kept"
        )
    return DraftproofError(f"{path}: cannot be written: {error.strerror or error}")


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Read a file.

    Raises:
        DraftproofError: It cannot be read, or is larger than `largest` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > largest:
        raise DraftproofError(
            f"{path}: larger than {largest:,} bytes, and so not what it should be"
        )
    return content


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """Read a JSON document.

    Raises:
        DraftproofError: It cannot be read, is larger than `largest` bytes, or is no JSON.
    """
    try:
        return json.loads(read_bytes(path, largest))
    except (ValueError, RecursionError) as error:
        raise DraftproofError(f"{path}: not readable as JSON: {error}") from error


def read_json_object(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """Read a JSON document that is an object.

    Raises:
        DraftproofError: As `read_json`, or the document is something else.
    """
    document = read_json(path, largest)
    if not isinstance(document, dict):
        raise DraftproofError(f"{path}: a JSON object is needed, found {type(document).__name__}")
    return document


def read_yaml(path: Path, kind: str, largest: int = LARGEST) -> dict[str, Any]:
    """Read a YAML document that is a mapping.

    Args:
        path: The file.
        kind: What the mapping is, for messages: ``a plan``.
        largest: Bytes.

    Raises:
        DraftproofError: It cannot be read, is larger than `largest` bytes, is no YAML, or is no
            mapping.
    """
    import yaml  # noqa: PLC0415 - slow, and most files are JSON

    try:
        document = yaml.safe_load(read_bytes(path, largest).decode("utf-8"))
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise DraftproofError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(document, dict):
        raise DraftproofError(f"{path}: {kind} is a mapping, found {type(document).__name__}")
    return document
