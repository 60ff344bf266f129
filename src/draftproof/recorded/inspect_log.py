"""Evaluation logs of inspect_ai: a zip (``.eval``) with a JSON document a sample, or one JSON.

Read as version 2 of the log format is written by inspect_ai 0.3.285. Its members are compressed
with Zstandard, older ones with deflate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from draftproof.recorded.archive import Archive
from draftproof.recorded.message import (
    FINISH_REASONS,
    MessageError,
    read_tool_calls,
)
from draftproof.recorded.recording import Recorded, label_column, read_json
from draftproof.records import CHAT_CHANNELS, Channel, Completion, DraftproofError, ToolCall, digest

_ATTACHED = "attachment://"
_LOG_VERSION = 2
_CHANNELS = tuple(c for c in CHAT_CHANNELS if c is not Channel.REFUSAL)
"""A log has no field for a refusal of its own."""
_T = TypeVar("_T")


def read_inspect_log(path: Path, arm: str, columns: Mapping[str, str]) -> Recorded:
    """Read a ``.eval`` file, or a log in inspect_ai's JSON format.

    A sample that ran more than once (epochs) is kept once an epoch, as ``ID#EPOCH``, in one
    cluster. A sample that ended in an error is an answer with ``finish_reason == "error"``.

    Args:
        path: The log.
        arm: Name of the arm that the answers belong to.
        columns: ``label`` may name a score, whose value is then the label.

    Raises:
        DraftproofError: Naming the file, its member and the field.
    """
    score = label_column(path, columns, "an inspect_ai log")
    task, samples = (_from_json if path.suffix.lower() == ".json" else _from_archive)(path)
    if not samples:
        raise DraftproofError(f"{path}: the log holds no samples")
    epochs = max(_field(sample, "epoch", int, where) for where, sample in samples)
    recorded = Recorded({}, {}, {}, {} if score is None else {"label": score})
    for where, sample in samples:
        number = sample.get("id")
        if not isinstance(number, int | str):
            raise _missing("id", where)
        id_ = str(number)
        cluster = _optional(sample, "metadata", dict, where).get("cluster") if epochs == 1 else id_
        if epochs > 1:
            id_ = f"{id_}#{sample['epoch']}"
        if id_ in recorded.completions:
            raise DraftproofError(f"{where}: sample {id_!r} occurs twice")
        recorded.completions[id_] = _completion(sample, arm, id_, task, score, where)
        recorded.prompts[id_] = _prompt(sample, where)
        if cluster is not None:
            recorded.clusters[id_] = str(cluster)
    return recorded


_Samples = list[tuple[str, dict[str, object]]]
"""Every sample with the place that it was read from."""


def _from_archive(path: Path) -> tuple[str, _Samples]:
    with Archive(path) as archive:
        names = [n for n in archive.names if n.startswith("samples/") and n.endswith(".json")]
        task = _task(path, archive)
        return task, [(f"{path}:{name}", _document(path, archive, name)) for name in names]


def _from_json(path: Path) -> tuple[str, _Samples]:
    document = read_json(path)
    if not isinstance(document, dict) or not is_inspect_document(document):
        raise DraftproofError(f"{path}: no inspect_ai log: it has no 'eval' and 'samples'")
    _require_version(document, str(path))
    samples = [
        (f"{path}: sample {number}", sample)
        for number, sample in enumerate(_field(document, "samples", list, str(path)), start=1)
        if isinstance(sample, dict)
    ]
    return _field(_field(document, "eval", dict, str(path)), "task", str, str(path)), samples


def _require_version(document: Mapping[str, object], where: str) -> None:
    version = document.get("version")
    if version != _LOG_VERSION:
        raise DraftproofError(
            f"{where}: log version {version!r}; only version {_LOG_VERSION} is "
            "known, write the log again with `inspect log convert`"
        )


def _document(path: Path, archive: Archive, name: str) -> dict[str, object]:
    try:
        document = json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise DraftproofError(f"{path}:{name}: broken JSON: {error}") from error
    if not isinstance(document, dict):
        raise DraftproofError(f"{path}:{name}: a JSON object is needed")
    return document


def _task(path: Path, archive: Archive) -> str:
    """Return the task's name: from the header, or from the journal of a run that was cut off."""
    for name in ("header.json", "_journal/start.json"):
        if name in archive.names:
            document = _document(path, archive, name)
            _require_version(document, f"{path}:{name}")
            return str(_field(_field(document, "eval", dict, name), "task", str, f"{path}:{name}"))
    raise DraftproofError(f"{path}: a zip, but no inspect_ai log: it has no header.json")


def _field(document: Mapping[str, object], name: str, kind: type[_T], where: str) -> _T:
    value = document.get(name)
    if not isinstance(value, kind):
        raise _missing(name, where)
    return value


def _optional(document: Mapping[str, object], name: str, kind: type[_T], where: str) -> _T:
    """Return a field, an empty one where there is none."""
    return kind() if document.get(name) is None else _field(document, name, kind, where)


def _missing(name: str, where: str) -> DraftproofError:
    return DraftproofError(f"{where}: field {name!r} is missing or of another kind")


def _completion(
    sample: Mapping[str, object], arm: str, id_: str, task: str, score: str | None, where: str
) -> Completion:
    failed = sample.get("error") is not None
    output = _field(sample, "output", dict, where)
    choices = _field(output, "choices", list, where)
    text, finished, reasoning, calls = "", "error", None, None
    if not failed:
        if len(choices) != 1 or not isinstance(choices[0], dict):
            raise DraftproofError(f"{where}: one choice is needed, found {len(choices)}")
        message = _optional(choices[0], "message", dict, where)
        if "completion" in output:
            text = _resolved(_field(output, "completion", str, where), sample, where)
        elif "content" in message:
            # inspect_ai before 0.3.96 wrote no completion beside the message
            text = _text(message["content"], sample, where)
        else:
            raise _missing("completion", where)
        reasoning = _reasoning(message.get("content"), sample, where)
        calls = _tool_calls(message, where)
        finished = FINISH_REASONS.get(str(choices[0].get("stop_reason")), "unknown")
    return Completion(
        arm=arm,
        id=id_,
        text=text,
        reasoning=reasoning,
        tool_calls=calls,
        channels=_CHANNELS,
        task=task,
        finish_reason=finished,
        prompt_hash=digest(_asked(sample, where)),
        label=None if score is None or failed else _label(sample, score, where),
        error=_field(_field(sample, "error", dict, where), "message", str, where)
        if failed
        else None,
    )


def _label(sample: Mapping[str, object], score: str, where: str) -> str:
    scores = _optional(sample, "scores", dict, where)
    if score not in scores:
        raise DraftproofError(
            f"{where}: has no score {score!r}; it has {', '.join(scores) or 'none'}"
        )
    value = _field(scores, score, dict, where).get("value")
    return value if isinstance(value, str) else json.dumps(value)


def _asked(sample: Mapping[str, object], where: str) -> list[list[str]]:
    """Return role and text of every message before the model's last answer."""
    messages = [m for m in _field(sample, "messages", list, where) if isinstance(m, dict)]
    answered = [i for i, m in enumerate(messages) if m.get("role") == "assistant"]
    before = messages[: answered[-1]] if answered else messages
    return [[str(m.get("role")), _text(m.get("content"), sample, where)] for m in before]


def _prompt(sample: Mapping[str, object], where: str) -> str:
    if isinstance(text := sample.get("input"), str):
        return _resolved(text, sample, where)
    messages = [m for m in _optional(sample, "input", list, where) if isinstance(m, dict)]
    return "\n\n".join(_text(m.get("content"), sample, where) for m in messages)


def _text(content: object, sample: Mapping[str, object], where: str) -> str:
    if isinstance(content, str):
        return _resolved(content, sample, where)
    listed = content if isinstance(content, list) else []
    parts = [p for p in listed if isinstance(p, dict) and p.get("type") == "text"]
    return "".join(_resolved(str(p.get("text")), sample, where) for p in parts)


def _reasoning(content: object, sample: Mapping[str, object], where: str) -> str | None:
    """Return the reasoning parts of a message's content, None where it has none."""
    listed = content if isinstance(content, list) else []
    parts = [p for p in listed if isinstance(p, dict) and p.get("type") == "reasoning"]
    return "".join(_resolved(str(p.get("reasoning")), sample, where) for p in parts) or None


def _tool_calls(message: Mapping[str, object], where: str) -> tuple[ToolCall, ...] | None:
    """Return a message's tool calls, whose function is a name and whose arguments an object."""
    calls = [c for c in _optional(message, "tool_calls", list, where) if isinstance(c, dict)]
    try:
        return read_tool_calls(
            [{"name": c.get("function"), "arguments": c.get("arguments", "")} for c in calls]
        )
    except MessageError as error:
        raise DraftproofError(f"{where}: {error}") from error


def _resolved(text: str, sample: Mapping[str, object], where: str) -> str:
    """Return a text, which the log may keep aside under its hash."""
    if not text.startswith(_ATTACHED):
        return text
    attachments = _optional(sample, "attachments", dict, where)
    attached = attachments.get(text.removeprefix(_ATTACHED))
    if not isinstance(attached, str):
        raise DraftproofError(f"{where}: refers to {text!r}, which the sample does not hold")
    return attached


def is_inspect_log(path: Path) -> bool:
    """Whether a path names a ``.eval`` file.

    >>> is_inspect_log(Path("logs/2026-01-01_task_abc.eval"))
    True
    """
    return path.suffix.lower() == ".eval"


def is_inspect_document(document: Mapping[str, object]) -> bool:
    """Whether a JSON object is a log in inspect_ai's JSON format.

    >>> is_inspect_document({"version": 2, "eval": {"task": "t"}, "samples": []})
    True
    """
    return "eval" in document and "samples" in document
