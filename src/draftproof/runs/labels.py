"""Labels that a judge gave the answers of a run, kept in the run beside the answers.

``labels/NAME.jsonl``: the first line says who judged and how, every other line holds the label of
one answer. An answer is named by its prompt and its own digest, not by the arm that gave it, so
identical answers of two arms share a line and cannot differ in label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from draftproof.files import unwritable, write_whole
from draftproof.records import Completion, Construct, DraftproofError, Label, digest

FOLDER = "labels"
STATES = ("unparsed", "empty", "error", "unlabelled")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_LINE = 1024 * 1024
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who gave a set of labels, and what became of the asking.

    Attributes:
        scorer: Name, version and contract of the judge, as every label carries it.
        construct: What it measures.
        labels: Every value that it can return, states included.
        contract: The judge's input contract.
        model: The model that judged, as it was named.
        endpoint: Server that it was asked at, None for a model loaded here.
        seed: Of the order in which it was asked.
        battery: Digest of the battery.
        asked: Distinct exchanges that it was asked about.
        unparsed: Those of them whose judgement was not in the documented form.
        errors: Those that it could not be asked about.
        cut: Those with a longer response than it is shown.
        repeated: Those that it was asked about twice.
        agreed: Those of the repeated with the same label both times.
        kept: Version of this file's form.
    """

    scorer: str
    construct: Construct
    labels: tuple[str, ...]
    contract: dict[str, Any]
    model: str | None
    endpoint: str | None
    seed: int
    battery: str
    asked: int
    unparsed: int
    errors: int
    cut: int
    repeated: int
    agreed: int
    kept: str = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    id: str
    answer: str
    label: str
    good: bool | None
    said: str | None = None


_ORIGIN, _LINE = TypeAdapter(Origin), TypeAdapter(_Line)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of one judge, as they were kept.

    Attributes:
        name: Under which they were kept.
        origin: Who gave them.
        labels: By prompt id and digest of the answer.
    """

    name: str
    origin: Origin
    labels: Mapping[tuple[str, str], Label]

    def of(self, completion: Completion) -> Label:
        """Return an answer's label, ``unlabelled`` where it was never judged."""
        found = self.labels.get((completion.id, answer_digest(completion)))
        if found is not None:
            return found
        return Label(
            id=completion.id,
            construct=self.origin.construct,
            value="unlabelled",
            good=None,
            scorer=self.origin.scorer,
        )


def answer_digest(completion: Completion) -> str:
    """Return what names an answer: a digest of its words and of whether it failed."""
    return digest([completion.finish_reason == "error", completion.text])


def checked_name(name: str) -> str:
    """Return a name under which labels can be kept.

    Raises:
        DraftproofError: It could not be the name of a file.
    """
    if not _NAME.fullmatch(name):
        raise DraftproofError(
            f"labels cannot be kept as {name!r}: use letters, digits, dots, dashes, underscores"
        )
    return name


def label_names(run: Path) -> list[str]:
    """Return the names of the labels that a run keeps."""
    return sorted(p.stem for p in (run / FOLDER).glob("*.jsonl"))


def write_labels(
    run: Path,
    name: str,
    origin: Origin,
    labelled: Iterable[tuple[Completion, Label, str | None]],
) -> Path:
    """Keep labels in a run, in place of those of the same name.

    Args:
        run: The run directory.
        name: To keep them under.
        origin: Who gave them.
        labelled: Answers with their labels and what the judge said, word for word.

    Raises:
        DraftproofError: The name is none, or the run cannot be written.
    """
    path = run / FOLDER / f"{checked_name(name)}.jsonl"
    lines = {}
    for completion, label, said in labelled:
        key = (completion.id, answer_digest(completion))
        lines[key] = {
            "id": key[0],
            "answer": key[1],
            "label": label.value,
            "good": label.good,
            # half a surrogate pair is no text
            "said": None if said is None else said.encode("utf-8", "replace").decode("utf-8"),
        }
    documents = [asdict(origin), *lines.values()]
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return write_whole(path, (json.dumps(d) + "\n" for d in documents))


def read_labels(run: Path, name: str) -> LabelSet:
    """Read labels that a run keeps.

    Raises:
        DraftproofError: There are none of that name, or a line is broken, with its number.
    """
    path = run / FOLDER / f"{checked_name(name)}.jsonl"
    if not path.is_file():
        known = label_names(run)
        there = f"it keeps {', '.join(known)}" if known else "it keeps none"
        raise DraftproofError(
            f"{run}: keeps no labels called {name!r} ({there}); draftproof score RUN --judge makes "
            "some"
        )
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise DraftproofError(f"{path}: the file is empty; score the run again")
    origin = _read(_ORIGIN, first[1], path, 1)
    labels: dict[tuple[str, str], Label] = {}
    for number, line in lines:
        row = _read(_LINE, line, path, number)
        if row.label not in origin.labels:
            raise DraftproofError(
                f"{path}:{number}: {row.label!r} is no label of {origin.scorer}; "
                f"labels are {', '.join(origin.labels)}"
            )
        if row.label in STATES and row.good is not None:
            raise DraftproofError(f"{path}:{number}: {row.label!r} is neither good nor bad")
        label = Label(
            id=row.id,
            construct=origin.construct,
            value=row.label,
            good=row.good,
            scorer=origin.scorer,
        )
        if labels.setdefault((row.id, row.answer), label) != label:
            raise DraftproofError(f"{path}:{number}: a second label of the same answer")
    return LabelSet(name, origin, labels)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE + 1):
                number += 1
                if len(line) > _MAX_LINE:
                    raise DraftproofError(f"{path}:{number}: the line is longer than 1 MiB")
                yield number, line
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(kind: TypeAdapter[_Record], line: bytes, path: Path, number: int) -> _Record:
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise DraftproofError(
            f"{path}:{number}: not a label: {field}: {first['msg']}; score the run again"
        ) from error
