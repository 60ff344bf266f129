"""Sample logs of the lm-evaluation-harness: ``samples_TASK_DATE.jsonl``.

Read as version 0.4.13 writes them with ``--log_samples``; versions before 0.4.3 wrote the
arguments of a request as a list, which is read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from draftproof.recorded.recording import Recorded, label_column
from draftproof.records import Channel, Completion, DraftproofError

_NAME = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d{2}-\d{2}T[\d.:-]+)?\.jsonl")


def is_lm_eval_row(row: Mapping[str, object]) -> bool:
    """Whether a row has the shape of a sample log, whatever its file is called.

    >>> is_lm_eval_row({"doc_id": 0, "arguments": {}, "resps": [["red"]], "filter": "none"})
    True
    >>> is_lm_eval_row({"id": "a", "text": "red"})
    False
    """
    return {"doc_id", "arguments", "resps"} <= row.keys()


def read_lm_eval_log(
    path: Path, rows: Sequence[tuple[int, dict[str, object]]], arm: str, columns: Mapping[str, str]
) -> Recorded:
    """Read the rows of a sample log.

    The answer is the response as it was generated, before any filter. A document that was
    answered more than once (``repeats``) is kept once a response, as ``ID#NUMBER``, in one cluster.

    Args:
        path: The log, for its task's name and for messages.
        rows: Its rows with their lines.
        arm: Name of the arm that the answers belong to.
        columns: ``label`` may name a metric, whose value is then the label.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    metric = label_column(path, columns, "a sample log")
    named = _NAME.fullmatch(path.name)
    task = named["task"] if named else path.stem
    recorded = Recorded({}, {}, {}, {} if metric is None else {"label": metric})
    for line, row in rows:
        where = f"{path}:{line}"
        if "doc_id" not in row:
            raise DraftproofError(f"{where}: field 'doc_id' is missing")
        document = f"{task}/{row['doc_id']}"
        prompt, texts = _prompt(row, where), _texts(row, where)
        for number, text in enumerate(texts, start=1):
            id_ = document if len(texts) == 1 else f"{document}#{number}"
            completion = Completion(
                arm=arm,
                id=id_,
                text=text,
                channels=(Channel.TEXT,),
                task=task,
                prompt_hash=None if row.get("prompt_hash") is None else str(row["prompt_hash"]),
                label=None if metric is None else _label(row, metric, where),
            )
            before = recorded.completions.get(id_)
            if before is None:
                recorded.completions[id_] = completion
            # every filter of a task writes the same response again
            elif before.text != text or row.get("filter") in {None, "none"}:
                raise DraftproofError(f"{where}: document {row['doc_id']} occurs a second time")
            recorded.prompts[id_] = prompt
            if len(texts) > 1:
                recorded.clusters[id_] = document
    return recorded


def _arguments(row: Mapping[str, object], where: str) -> list[list[Any]]:
    """Return the arguments of every request that the document led to."""
    arguments = row.get("arguments")
    if isinstance(arguments, str):
        # a table that was made of a log holds the list as its text
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = [[arguments]]
    if isinstance(arguments, list) and arguments and isinstance(arguments[0], str):
        arguments = [arguments]
    if isinstance(arguments, dict):
        arguments = [list(a.values()) if isinstance(a, dict) else a for a in arguments.values()]
    if (
        not isinstance(arguments, list)
        or not arguments
        or not all(isinstance(a, list) for a in arguments)
    ):
        raise DraftproofError(f"{where}: field 'arguments' is missing or of another kind")
    return arguments


def _prompt(row: Mapping[str, object], where: str) -> str:
    requests = _arguments(row, where)
    first = requests[0]
    if len(first) > 1 and isinstance(first[1], str):
        raise DraftproofError(
            f"{where}: the task asks how likely given answers are, nothing was generated; "
            "speculation can change only generated text: log a generate_until task"
        )
    prompt = first[0] if first else None
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
        return _conversation(prompt[0])
    if not isinstance(prompt, str):
        raise DraftproofError(f"{where}: field 'arguments' holds no prompt text")
    return prompt


def _conversation(text: str) -> str:
    """Return the contents of messages that were sent to a chat API, which are logged as JSON."""
    try:
        messages = json.loads(text)
        return "\n\n".join(str(message["content"]) for message in messages)
    except (ValueError, TypeError, KeyError, RecursionError):
        return text


def _texts(row: Mapping[str, object], where: str) -> list[str]:
    responses = row.get("resps")
    if (
        not isinstance(responses, list)
        or len(responses) != 1
        or not isinstance(responses[0], list)
        or not responses[0]
        or not all(isinstance(text, str) for text in responses[0])
    ):
        raise DraftproofError(
            f"{where}: field 'resps' must hold one list of generated texts; "
            "a task that generates nothing cannot be compared"
        )
    return responses[0]


def _label(row: Mapping[str, object], metric: str, where: str) -> str:
    if metric not in row:
        named = row.get("metrics")
        known = ", ".join(map(str, named)) if isinstance(named, list) else "none"
        raise DraftproofError(f"{where}: has no metric {metric!r}; it has {known}")
    value = row[metric]
    return value if isinstance(value, str) else json.dumps(value)
