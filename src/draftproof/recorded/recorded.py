"""Answers that somebody else recorded: a table with a row an answer, or another tool's log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from draftproof.battery.rows import iter_rows
from draftproof.recorded.inspect_log import (
    is_inspect_document,
    is_inspect_log,
    read_inspect_log,
)
from draftproof.recorded.lm_eval import is_lm_eval_row, read_lm_eval_log
from draftproof.recorded.message import FINISH_REASONS, read_tool_calls
from draftproof.recorded.openai_batch import is_openai_batch_row, read_openai_batch
from draftproof.recorded.recording import Recorded, read_json
from draftproof.recorded.shapes import rows_of_document, table_of
from draftproof.records import (
    Channel,
    Completion,
    DraftproofError,
    Speculation,
    ToolCall,
    digest,
)

ANSWERED_AT = "answered_at"
"""Column that says when an answer was given, in our own files of answers."""
_USUAL = {
    "id": ("id", "prompt_id", "example_id", "sample_id", "doc_id"),
    "text": ("text", "completion", "response", "answer", "output"),
    "task": ("task",),
    "prompt": ("prompt", "question", "instruction"),
    "label": (),
    "token_ids": ("token_ids", "output_token_ids", "tokens"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "prompt_hash": ("prompt_hash",),
    "cluster": ("cluster",),
    "reasoning": ("reasoning", "reasoning_content"),
    "tool_calls": ("tool_calls",),
    "refusal": ("refusal",),
}
_GENERATED = {
    "reasoning": Channel.REASONING,
    "text": Channel.TEXT,
    "refusal": Channel.REFUSAL,
    "tool_calls": Channel.TOOL_CALLS,
    "finish_reason": Channel.FINISH_REASON,
}
"""Fields that hold something generated, in the order of generation."""
FIELDS = tuple(_USUAL)


def read_answers(path: Path, arm: str, columns: Mapping[str, str] | None = None) -> Recorded:
    """Read a file of answers.

    Args:
        path: ``.jsonl``, ``.csv``, ``.parquet``, or ``.json`` with an array; ``.eval`` or
            ``.json`` of inspect_ai; ``samples_….jsonl`` of the lm-evaluation-harness; a batch's
            output file of the OpenAI API; a log of a tool that `shapes` knows.
        arm: Name of the arm that the answers belong to.
        columns: Column of each field, where it has an unusual name. Labels are read only from a
            column that is named here.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    if is_inspect_log(path):
        return read_inspect_log(path, arm, columns or {})
    document = read_json(path) if path.suffix.lower() == ".json" else None
    if isinstance(document, dict) and is_inspect_document(document):
        return read_inspect_log(path, arm, columns or {})
    rows = list(iter_rows(path)) if document is None else _rows_of_array(path, document)
    if not rows:
        raise DraftproofError(f"{path}: holds no answers")
    if is_lm_eval_row(rows[0][1]):
        return read_lm_eval_log(path, rows, arm, columns or {})
    if is_openai_batch_row(rows[0][1]):
        return read_openai_batch(path, rows, arm, columns or {})
    rows = rows if _is_table(rows[0][1], columns or {}) else table_of(rows) or rows
    column_of = find_columns(path, rows[0][1], columns or {})
    completions: dict[str, Completion] = {}
    prompts: dict[str, str] = {}
    clusters: dict[str, str] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        if row.get(column_of["id"]) is None:
            raise DraftproofError(f"{where}: field {column_of['id']!r} (id) is missing")
        id_ = str(row[column_of["id"]])
        if id_ in completions:
            raise DraftproofError(
                f"{where}: id {id_!r} occurs a second time; answers are joined by id, "
                "so every id must be unique"
            )
        completions[id_] = _completion(row, column_of, arm, id_, where)
        if row.get(column_of.get("prompt", "")) is not None:
            prompts[id_] = str(row[column_of["prompt"]])
        if row.get(column_of.get("cluster", "")) not in (None, ""):
            clusters[id_] = str(row[column_of["cluster"]])
    return Recorded(completions, prompts, clusters, column_of)


def _is_table(row: Mapping[str, object], columns: Mapping[str, str]) -> bool:
    """Whether a row has its id and its text in columns, by name or by what is usual."""
    named = bool(columns.keys() & {"id", "text"})
    text = any(isinstance(row.get(name), str) for name in _USUAL["text"])
    return named or (text and any(name in row for name in _USUAL["id"]))


def _rows_of_array(path: Path, document: object) -> list[tuple[int, dict[str, Any]]]:
    """Return the answers of a JSON document, each with its number, counted from 1."""
    document = rows_of_document(document) or document
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise DraftproofError(
            f"{path}: holds neither a JSON array of objects nor a log of a known tool"
        )
    return list(enumerate(document, start=1))


def find_columns(path: Path, row: Mapping[str, object], named: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each field that a table has.

    Args:
        path: The table, for messages.
        row: Anything that is keyed by its columns.
        named: Column of each field, where it has an unusual name.

    Raises:
        DraftproofError: A named field or column is not there, or the table has no id or no text.
    """
    unknown = named.keys() - _USUAL.keys()
    if unknown:
        raise DraftproofError(
            f"--columns: {sorted(unknown)[0]!r} is no field; fields are {', '.join(FIELDS)}"
        )
    column_of = {}
    for field, usual in _USUAL.items():
        if field in named:
            if named[field] not in row:
                raise DraftproofError(
                    f"{path}: has no column {named[field]!r}; it has {', '.join(map(str, row))}"
                )
            column_of[field] = named[field]
            continue
        column = next((name for name in usual if name in row), None)
        if column is not None:
            column_of[field] = column
        elif field in {"id", "text"}:
            raise DraftproofError(
                f"{path}: has no {field} column (looked for {', '.join(usual)}); it has "
                f"{', '.join(map(str, row))}; name it with --columns {field}=COLUMN"
            )
    return column_of


def _completion(
    row: Mapping[str, object], column_of: Mapping[str, str], arm: str, id_: str, where: str
) -> Completion:
    def value(field: str) -> Any:
        column = column_of.get(field)
        return None if column is None else row.get(column)

    text, prompt, hashed = value("text"), value("prompt"), value("prompt_hash")
    others = {field: value(field) for field in ("reasoning", "tool_calls", "refusal")}
    if text is None and any(others.values()):
        # a tool call, a refusal or reasoning without content is a whole answer
        text = ""
    if text is None:
        raise DraftproofError(f"{where}: field {column_of['text']!r} (text) is missing")
    if not isinstance(text, str):
        raise DraftproofError(
            f"{where}: field {column_of['text']!r} (text) must be a string, "
            f"found {type(text).__name__}"
        )
    label, task = value("label"), value("task")
    if "label" in column_of and label is None:
        # an answer that was not labelled is one that nobody read
        label = ""
    if hashed is None and prompt is not None:
        hashed = digest(prompt)
    return Completion(
        arm=arm,
        id=id_,
        text=text,
        finish_reason=_finish_reason(value("finish_reason")),
        reasoning=_optional_text(others["reasoning"], "reasoning", where),
        tool_calls=tool_calls_of(others["tool_calls"], where),
        refusal=_optional_text(others["refusal"], "refusal", where),
        channels=tuple(channel for field, channel in _GENERATED.items() if field in column_of),
        token_ids=_token_ids(value("token_ids"), where),
        prompt_hash=None if hashed is None else str(hashed),
        label=None if label is None else str(label),
        task=None if task in (None, "") else str(task),
        speculation=_speculation(row.get("speculation"), where),
        answered_at=_optional_text(row.get(ANSWERED_AT), ANSWERED_AT, where),
    )


def _finish_reason(value: object) -> str:
    """Return our word for why an answer ended; a recorder's own word stays as it is."""
    word = str(value or "unknown")
    return FINISH_REASONS.get(word, word)


def _optional_text(value: object, field: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise DraftproofError(
        f"{where}: field {field!r} must be a string, found {type(value).__name__}"
    )


def tool_calls_of(value: object, where: str) -> tuple[ToolCall, ...] | None:
    """Return the tool calls of a cell: a list, or a list written as JSON; None without any.

    Raises:
        DraftproofError: Not a list of calls, with the place.
    """
    try:
        return read_tool_calls(json.loads(value) if isinstance(value, str) and value else value)
    except ValueError as error:
        raise DraftproofError(f"{where}: field 'tool_calls': {error}") from error


def _token_ids(value: object, where: str) -> tuple[int, ...] | None:
    if value in (None, ""):
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DraftproofError(f"{where}: field 'token_ids' is not a JSON list") from error
    if not isinstance(value, list) or not all(isinstance(v, int) for v in value):
        raise DraftproofError(f"{where}: field 'token_ids' must be a list of integers")
    return tuple(value)


def _speculation(value: object, where: str) -> Speculation | None:
    if value is None:
        return None
    try:
        if not isinstance(value, dict):
            raise TypeError("no object")
        return Speculation(
            rounds=_figure(value["rounds"]),
            drafted=_figure(value["drafted"]),
            accepted=_figure(value["accepted"]),
            histogram=tuple(_figure(v) for v in value.get("histogram", ())),
            drafted_at_least=value.get("drafted_at_least") is True,
        )
    except (TypeError, KeyError, ValueError) as error:
        raise DraftproofError(
            f"{where}: field 'speculation' must hold rounds, drafted and accepted"
        ) from error


def _figure(value: Any) -> int:
    """Return a count as it was recorded: one that cannot be is judged, not mended or dropped."""
    number = float(value)
    return int(number) if number.is_integer() else number  # type: ignore[return-value]


__all__ = ["FIELDS", "Recorded", "find_columns", "read_answers"]
