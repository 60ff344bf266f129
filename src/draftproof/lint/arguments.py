"""Reading the arguments of a server's command into settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from draftproof.lint.expansion import Word
from draftproof.lint.knowledge import Program, is_speculative, program_of, words
from draftproof.lint.settings import read_settings, read_text, renamed
from draftproof.lint.subject import GROUP, ConfigSetting, Subject


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands are read.

    Attributes:
        file: Name of the file.
        folder: Where files that a command names lie; None if they are out of reach.
        written: Files that the script itself writes, by name.
    """

    file: str
    folder: Path | None = None
    written: Mapping[str, str] = field(default_factory=dict)


def read_arguments(subject: Subject, program: Program, line: Sequence[Word], place: Place) -> None:
    """Add the settings of a command line to a subject, and what of it could not be read."""
    subject.lines |= {w.line for w in line}
    index = 0
    model_may_follow = program.takes_model
    while index < len(line):
        word = line[index]
        index += 1
        if not word.text.startswith("-") or word.text.strip("-") == "" or _is_number(word.text):
            named = model_may_follow and word.quoted
            if word.unresolved and not named:
                subject.gaps.append(gap_at("argument", word, place))
            if not word.text.startswith("-"):
                model_may_follow = False
                subject.settings.append(
                    ConfigSetting(("model_argument",), word.text, place.file, word.line)
                )
            continue
        name, equals, text = word.text.lstrip("-").partition("=")
        path = tuple(part.replace("-", "_") for part in name.split("."))
        value: object = text if equals else True
        held = word
        if not equals and index < len(line):
            following = line[index]
            if not following.text.startswith("-") or _is_number(following.text):
                value, held = following.text, following
                index += 1
        canonical = program.canonical(path[0])
        if held.unresolved and (
            is_speculative(canonical)
            or canonical in program.files
            or not (held.quoted or equals or canonical in words().valued)
        ):
            subject.gaps.append(gap_at(canonical, held, place))
        subject.settings += _expanded(path, value, place.file, word.line)
    settle(subject, place)


def settle(subject: Subject, place: Place | None = None) -> None:
    """Give settings their usual names and add those of the files that they name."""
    program = program_of(subject.stack)
    if program is None:
        return
    subject.settings = [renamed(s, program) for s in subject.settings]
    if place is None:
        return
    for setting in [s for s in subject.settings if s.key in program.files]:
        _add_file(subject, setting, program, place)
    if program.stack == "vllm":
        _add_checkpoint(subject, place)


def _add_file(subject: Subject, setting: ConfigSetting, program: Program, place: Place) -> None:
    name = str(setting.value)
    as_json = name.lower().endswith(".json")
    text = place.written.get(name)
    file = place.folder / name if place.folder is not None else None
    if text is None and file is not None and file.is_file():
        text = read_text(file)
    if text is None or not name.lower().endswith((".yaml", ".yml", ".json")):
        word = Word(name, setting.line, name)
        subject.gaps.append(gap_at(setting.key, word, place))
        return
    where = str(file) if file is not None and name not in place.written else place.file
    subject.settings += [renamed(s, program) for s in read_settings(text, where, as_json=as_json)]


def _add_checkpoint(subject: Subject, place: Place) -> None:
    """Add what a checkpoint says that speculates by itself: `vllm serve` obeys it."""
    model = subject.find("model_argument") or subject.find("model")
    if model is None:
        return
    file = place.folder / str(model.value) / "config.json" if place.folder is not None else None
    if file is not None and file.is_file():
        settings = read_settings(read_text(file), str(file), as_json=True)
        subject.settings += [
            replace(s, stack="checkpoint") for s in settings if s.path[0] == "speculators_config"
        ]
    elif "speculator" in model.word:
        subject.gaps.append(model)


def gap_at(name: str, word: Word | None, place: Place, line: int = 1) -> ConfigSetting:
    """Return what could not be read, with its place."""
    text = (word.unresolved or word.text) if word is not None else None
    return ConfigSetting((name,), text, place.file, word.line if word is not None else line)


def _is_number(text: str) -> bool:
    return text[1:].replace(".", "", 1).isdigit()


def _expanded(
    path: tuple[str, ...], value: object, file: str, line: int
) -> Iterator[ConfigSetting]:
    """Yield a setting, and those inside it where its value is a JSON object."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            # a placeholder like {port} is no JSON and need not be; a rule sees the text
            yield ConfigSetting(path, value, file, line)
            return
    if isinstance(value, dict):
        yield ConfigSetting(path, GROUP if value else None, file, line)
        for key, inner in value.items():
            yield from _expanded((*path, str(key).replace("-", "_")), inner, file, line)
    else:
        yield ConfigSetting(path, value, file, line)
