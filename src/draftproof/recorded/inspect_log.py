"""Evaluation logs of inspect_ai: ``.eval`` files, a zip with one JSON document a sample.

Read as version 2 of the log format is written by inspect_ai 0.3.285. Its members are compressed
with Zstandard, older ones with deflate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from draftproof.recorded.archive import Archive
from draftproof.recorded.recording import Recorded, label_column
from draftproof.records import Completion, DraftproofError, digest

_FINISHED = {"stop": "stop", "max_tokens": "length", "model_length": "length"}
_ATTACHED = "attachment://"
_LOG_VERSION = 2
_T = TypeVar("_T")


def read_inspect_log(path: Path, arm: str, columns: Mapping[str, str]) -> Recorded:
    """Read a ``.eval`` file.

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
    with Archive(path) as archive:
        names = [n for n in archive.names if n.startswith("samples/") and n.endswith(".json")]
        task = _task(path, archive)
        samples = [(f"{path}:{name}", _document(path, archive, name)) for name in names]
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
            raise DraftproofError(f"{where}: sample {id_!r} occurs a second time")
        recorded.completions[id_] = _completion(sample, arm, id_, task, score, where)
        recorded.prompts[id_] = _prompt(sample, where)
        if cluster is not None:
            recorded.clusters[id_] = str(cluster)
    return recorded


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
            version = document.get("version")
            if version != _LOG_VERSION:
                raise DraftproofError(
                    f"{path}:{name}: log version {version!r}; only version {_LOG_VERSION} is "
                    "known, write the log again with `inspect log convert`"
                )
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
    text, finished = "", "error"
    if not failed:
        if len(choices) != 1 or not isinstance(choices[0], dict):
            raise DraftproofError(f"{where}: one choice is needed, found {len(choices)}")
        text = _resolved(_field(output, "completion", str, where), sample, where)
        finished = _FINISHED.get(str(choices[0].get("stop_reason")), "unknown")
    return Completion(
        arm=arm,
        id=id_,
        text=text,
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
