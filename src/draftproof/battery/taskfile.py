"""Declared tasks: where rows come from, how they become prompts, and how answers are scored.

One YAML document a task. Places ``{{ field }}`` are filled by plain replacement; nothing in a
file is evaluated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from draftproof.battery.prepare import PREPARE
from draftproof.battery.rows import Problems
from draftproof.records import DraftproofError, Message, Prompt, digest

_PLACE = re.compile(r"\{\{\s*([\w .]+?)\s*\}\}")
_LETTERS = "ABCDEFGHIJ"


class Source(BaseModel):
    """Where rows come from: a local file, or a data set of the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    """A file beside the task file, or several of them as a pattern such as ``*.jsonl``."""
    sha256: str | None = None
    """Digest of the file, or its beginning; not with a pattern."""
    hub: str | None = None
    config: str | None = None
    split: str = "test"
    revision: str | None = None
    """Commit of the data set; without one the hub's newest is read, and the digest says which."""


class Turn(BaseModel):
    """One message of a conversation, with places."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


class Variant(BaseModel):
    """The same prompts asked in another setting; its prompts share clusters with the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    system: str | None = None
    prefill: str | None = None


class TaskFile(BaseModel):
    """One declared task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = "1"
    licence: str = "unknown"
    source: Source = Source()
    samples: tuple[dict[str, Any], ...] = ()
    """Rows in the file itself, instead of a source."""
    prepare: str | None = None
    where: dict[str, Any] = Field(default_factory=dict)
    """Only rows whose fields have these values."""
    template: str = ""
    turns: tuple[Turn, ...] = ()
    """A conversation, instead of a template; the last turn is the user's."""
    system: str | None = None
    prefill: str = ""
    choices: str | None = None
    """Field with the list of options; they follow the template as ``A) ...`` lines."""
    answer: str | None = None
    """Field with the right option: its index, its letter, or its text."""
    reference: str | None = None
    """Field with the right answer where there are no options."""
    shuffle: int | None = None
    """Seed; every item's options are shuffled by its own draw."""
    instruction: str = ""
    """Follows the options."""
    scorer: str | None = None
    expect: str | None = None
    id: str = "{{ index }}"
    cluster: str | None = None
    tags: tuple[str, ...] = ()
    """Templates; a tag with a field that is None is left out."""
    variants: tuple[Variant, ...] = ()
    gated: bool = True

    @model_validator(mode="after")
    def _whole(self) -> TaskFile:
        if bool(self.template) == bool(self.turns):
            raise ValueError("give a template or turns, one of them")
        if self.turns and self.turns[-1].role != "user":
            raise ValueError("the last turn must be the user's")
        if self.prepare is not None and self.prepare not in PREPARE:
            raise ValueError(f"prepare: known are {', '.join(sorted(PREPARE))}")
        if self.prepare == "bbq" and self.shuffle is not None:
            raise ValueError("bbq's keys name letters: its options cannot be shuffled")
        if (self.choices is None) != (self.answer is None):
            raise ValueError("choices and answer go together")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the declaration."""
        return digest(self.model_dump(mode="json"))

    def prompts(
        self, rows: Iterable[tuple[str, Mapping[str, object]]], problems: Problems | None = None
    ) -> Iterator[Prompt]:
        """Yield the prompts of rows, each row with the place it came from.

        Raises:
            DraftproofError: Naming the place and the field, unless `problems` counts it.
        """
        for index, (where, row) in enumerate(rows):
            try:
                fields = PREPARE[self.prepare](row) if self.prepare else dict(row)
                fields.setdefault("index", f"{index:05d}")
                if any(fields.get(k) != v for k, v in self.where.items()):
                    continue
                yield from self._asked(fields)
            except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
                what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
                failure = DraftproofError(f"{where}: {what}")
                if problems is None:
                    raise failure from error
                problems.add(failure)

    def _asked(self, fields: Mapping[str, object]) -> Iterator[Prompt]:
        id_ = f"{self.name}-{_fill(self.id, fields)}"
        choices, reference = self._options(fields, id_)
        options = "\n".join(f"{_LETTERS[i]}) {c}" for i, c in enumerate(choices))
        cluster = _fill(self.cluster, fields) if self.cluster else None
        for variant in self.variants or (None,):
            system = variant.system if variant and variant.system else self.system
            prefill = variant.prefill if variant and variant.prefill else self.prefill
            yield Prompt(
                id=f"{id_}@{variant.name}" if variant else id_,
                task=self.name,
                messages=tuple(self._messages(fields, options, system)),
                scorer=self.scorer,
                expect=None if self.expect is None else _fill(self.expect, fields),
                choices=choices,
                reference=reference,
                prefill=_fill(prefill, fields),
                cluster=cluster or (id_ if len(self.variants) > 1 else None),
                tags=tuple(_fill(t, fields) for t in self.tags if _known(t, fields)),
            )

    def _messages(
        self, fields: Mapping[str, object], options: str, system: str | None
    ) -> Iterator[Message]:
        if system:
            yield Message("system", _fill(system, fields))
        for turn in self.turns[:-1]:
            yield Message(turn.role, _fill(turn.content, fields))
        last = self.turns[-1].content if self.turns else self.template
        parts = (_fill(last, fields).strip(), options, self.instruction.strip())
        yield Message("user", "\n\n".join(p for p in parts if p))

    def _options(self, fields: Mapping[str, Any], id_: str) -> tuple[tuple[str, ...], str | None]:
        if self.choices is None or self.answer is None:
            return (), None if self.reference is None else str(fields[self.reference])
        options = [str(c) for c in fields[self.choices]]
        right = _index(fields[self.answer], options)
        order = list(range(len(options)))
        if self.shuffle is not None:
            random.Random(f"{self.shuffle}:{id_}").shuffle(order)
        return tuple(options[i] for i in order), _LETTERS[order.index(right)]


def read_task_document(document: Mapping[str, object], where: str) -> TaskFile:
    """Return the declaration that a mapping holds.

    Raises:
        DraftproofError: Naming every field that is wrong.
    """
    try:
        return TaskFile.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'task'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise DraftproofError(f"{where}: {wrong}") from error


def _fill(template: str, fields: Mapping[str, object]) -> str:
    return _PLACE.sub(lambda match: str(fields[match.group(1)]), template)


def _known(template: str, fields: Mapping[str, object]) -> bool:
    return all(fields[name] is not None for name in _PLACE.findall(template))


def _index(answer: Any, options: list[str]) -> int:
    """Return which option is right, told by index, by letter, or by its text."""
    if isinstance(answer, int) and 0 <= answer < len(options):
        return answer
    text = str(answer).strip()
    if options.count(text) == 1:
        return options.index(text)
    if len(text) == 1 and text.upper() in _LETTERS[: len(options)]:
        return _LETTERS.index(text.upper())
    if text.isdecimal() and int(text) < len(options):
        return int(text)
    raise ValueError(f"answer {answer!r} names no option")
