"""Output files of the OpenAI Batch API: a JSON line a request, with its whole response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from draftproof.recorded.message import (
    FINISH_REASONS,
    MessageError,
    read_message,
)
from draftproof.recorded.recording import Recorded, label_column
from draftproof.records import CHAT_CHANNELS, Completion, DraftproofError


def is_openai_batch_row(row: Mapping[str, Any]) -> bool:
    """Whether a row is a line of a batch's output file.

    >>> is_openai_batch_row({"custom_id": "r0", "response": {"body": {}}, "error": None})
    True
    """
    return "custom_id" in row and "response" in row and "text" not in row


def read_openai_batch(
    path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]], arm: str, columns: Mapping[str, str]
) -> Recorded:
    """Read the chat completions of a batch; a request that failed is an answer with an error.

    Args:
        path: The file, for messages.
        rows: Its lines, each with its number.
        arm: Name of the arm that the answers belong to.
        columns: Nothing may be named: every field has a place of its own.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    if label_column(path, columns, "an OpenAI batch") is not None:
        raise DraftproofError(f"{path}: an OpenAI batch holds no labels; use a scorer")
    completions: dict[str, Completion] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        if not is_openai_batch_row(row):
            raise DraftproofError(f"{where}: fields 'custom_id' and 'response' are needed")
        id_ = str(row["custom_id"])
        if id_ in completions:
            raise DraftproofError(f"{where}: custom_id {id_!r} occurs a second time")
        completions[id_] = _completion(row, arm, id_, where)
    columns_read = {"id": "custom_id", "text": "response.body.choices[0].message.content"}
    return Recorded(completions, {}, {}, columns_read)


def _completion(row: Mapping[str, Any], arm: str, id_: str, where: str) -> Completion:
    response = row.get("response") or {}
    body = response.get("body") if isinstance(response, Mapping) else None
    body = body if isinstance(body, Mapping) else {}
    error = row.get("error") or body.get("error")
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if error or status != 200:
        words = error.get("message", error) if isinstance(error, Mapping) else error
        return Completion(
            arm=arm, id=id_, text="", finish_reason="error", error=f"HTTP {status}: {words}"[:300]
        )
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        count = len(choices) if isinstance(choices, list) else 0
        raise DraftproofError(f"{where}: response.body.choices must hold one choice, found {count}")
    try:
        message = read_message(choices[0].get("message"))
    except MessageError as problem:
        raise DraftproofError(f"{where}: response.body.choices[0]: {problem}") from problem
    return Completion(
        arm=arm,
        id=id_,
        text=message.text,
        reasoning=message.reasoning,
        tool_calls=message.tool_calls,
        refusal=message.refusal,
        channels=CHAT_CHANNELS,
        finish_reason=FINISH_REASONS.get(str(choices[0].get("finish_reason")), "unknown"),
    )
