"""Prompts from tables: JSON lines, CSV or Parquet with a row a prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from draftproof.battery.battery import Battery
from draftproof.battery.rows import Problems, iter_rows
from draftproof.records import DraftproofError, Message, Prompt

_TEXT = ("prompt", "question", "instruction", "goal", "behavior", "text", "query")
_CHATS = (("messages", "role", "content"), ("conversations", "from", "value"))
"""Columns that hold a chat, with the names of a turn's role and text; the second is ShareGPT's."""
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
_EXPECTED = {"safe": "compliance", "unsafe": "refusal"}


def read_prompts(
    path: Path,
    *,
    sha256: str | None = None,
    scorer: str | None = None,
    problems: Problems | None = None,
) -> Battery:
    """Read a battery from a table.

    Columns: ``messages`` (a list of role and content), ShareGPT's ``conversations``, MT-Bench's
    ``turns`` (the first is asked) or a text column (prompt, question, instruction, goal,
    behavior, text, query); optionally id, task, system, scorer, expect,
    choices, reference, prefill, cluster, tags. A ``label`` column of ``safe`` and ``unsafe``
    (as XSTest has) splits the table into two tasks, in which compliance and refusal count as
    good. A table without any hint is scored for refusal and expects it.

    Args:
        path: The file.
        sha256: Digest that the file must have.
        scorer: Scorer of rows that name none.
        problems: Counts broken rows, which are then skipped.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    if sha256 is not None and path.exists():
        require_digest(path, sha256)
    prompts = tuple(stream_prompts(path, scorer=scorer, problems=problems))
    return Battery(
        name=path.stem,
        prompts=prompts,
        source=str(path),
        skipped=problems.count if problems else 0,
    )


def stream_prompts(
    path: Path, *, scorer: str | None = None, problems: Problems | None = None
) -> Iterator[Prompt]:
    """Yield the prompts of a table one by one, in constant memory; see `read_prompts`."""
    stem = path.stem
    for index, (line, row) in enumerate(iter_rows(path, problems)):
        try:
            prompt = _prompt(row, f"{path}:{line}", stem, index, scorer)
        except DraftproofError as error:
            if problems is None:
                raise
            problems.add(error)
            continue
        yield prompt


def file_digest(path: Path) -> str:
    """Return a file's SHA-256, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_digest(path: Path, sha256: str) -> None:
    """Check that a file is the one that was meant; `sha256` may be the beginning of it.

    Raises:
        DraftproofError: It is another.
    """
    digest = file_digest(path)
    if not digest.startswith(sha256):
        raise DraftproofError(
            f"{path}: the file has changed: its SHA-256 is {digest[:16]}…, "
            f"{sha256[:16]}… was expected"
        )


def _prompt(
    row: Mapping[str, Any], where: str, stem: str, index: int, scorer: str | None
) -> Prompt:
    label = row.get("label")
    expect = row.get("expect") or _EXPECTED.get(str(label))
    scorer = row.get("scorer") or scorer or ("choice" if row.get("choices") else "refusal")
    task = row.get("task") or (f"{stem}_{label}" if str(label) in _EXPECTED else stem)
    if scorer == "refusal":
        expect = expect or "refusal"
    return Prompt(
        id=str(row["id"] if row.get("id") not in (None, "") else f"{stem}-{index:05d}"),
        task=str(task),
        messages=_messages(row, where),
        scorer=str(scorer),
        expect=None if expect is None else str(expect),
        choices=_strings(row.get("choices"), where, "choices"),
        reference=None if row.get("reference") is None else str(row["reference"]),
        prefill=str(row.get("prefill") or ""),
        cluster=None if row.get("cluster") is None else str(row["cluster"]),
        tags=_strings(row.get("tags"), where, "tags"),
    )


def _messages(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    for name, role, content in _CHATS:
        if row.get(name) is not None:
            return _chat(row[name], where, name, role, content)
    turns = row.get("turns")
    if isinstance(turns, list) and turns and isinstance(turns[0], str):
        # a question of MT-Bench; its later turns follow on an answer that is not given yet
        return (Message("user", turns[0]),)
    # the first of the columns that a row has is its prompt; another never stands in for it
    column = next((n for n in _TEXT if n in row), None)
    text = None if column is None else row[column]
    if isinstance(text, str) and text.strip():
        system = row.get("system")
        head = (Message("system", str(system)),) if system else ()
        return (*head, Message("user", text))
    if column is not None:
        kind = "null" if text is None else "empty" if isinstance(text, str) else "no text"
        raise DraftproofError(f"{where}: field {column!r} is {kind}, so there is no prompt to ask")
    raise DraftproofError(
        f"{where}: no prompt found; give a column named one of {', '.join(_TEXT)} or 'messages'"
    )


def _chat(value: object, where: str, name: str, role: str, content: str) -> tuple[Message, ...]:
    """Return a chat as it is asked: a last turn of the assistant is a recorded answer."""
    turns = value if isinstance(value, list) else []
    if not turns or not all(
        isinstance(t, dict) and isinstance(t.get(role), str) and isinstance(t.get(content), str)
        for t in turns
    ):
        raise DraftproofError(
            f"{where}: field {name!r} must be a list of objects with {role} and {content}"
        )
    messages = [Message(_ROLES.get(t[role], t[role]), t[content]) for t in turns]
    while messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages:
        raise DraftproofError(f"{where}: field {name!r} asks nothing: it has only answers")
    return tuple(messages)


def _strings(value: object, where: str, field: str) -> tuple[str, ...]:
    if value in (None, ""):
        return ()
    if isinstance(value, list):
        return tuple(str(v) for v in value)
    raise DraftproofError(f"{where}: field {field!r} must be a list, found {value!r}")
