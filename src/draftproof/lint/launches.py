"""Reading the commands and containers that start servers into settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from draftproof.lint.expansion import Word
from draftproof.lint.knowledge import Program, is_speculative, program_of, programs, words
from draftproof.lint.settings import read_settings, read_text, renamed
from draftproof.lint.shell import Command, Script, read_script
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


@dataclass(slots=True)
class Container:
    """A container as a file describes it.

    Attributes:
        line: Its first line.
        image: Name of its image; None where it is not said.
        words: Entry point, command and arguments that the file gives.
        has_entry_point: Whether the file replaces the entry point of the image.
        variables: Its environment.
    """

    line: int
    image: Word | None = None
    words: list[Word] = field(default_factory=list)
    has_entry_point: bool = False
    variables: dict[str, Word] = field(default_factory=dict)


def command_subjects(
    text: str, file: str, name: str | None = None, folder: Path | None = None, line: int = 1
) -> list[Subject]:
    """Return the servers that a script starts; variables it exports hold for those after.

    Args:
        text: The script.
        file: What to call the place.
        name: What to call the subjects.
        folder: Where files that a command names lie.
        line: Line of the file on which the script begins.
    """
    script = read_script(text, line)
    place = Place(file, folder, script.files)
    subjects = []
    for command in script.commands:
        subject = _started(command, place)
        if subject is not None:
            subject.name = name or subject.name
            subject.gaps += _unread(script, place)
            subjects.append(subject)
    return subjects


def container_subject(container: Container, place: Place) -> list[Subject]:
    """Return the servers that a container starts."""
    program = _of_image(container.image)
    line, folder = container.line, place.folder
    first = container.words[0].text.rpartition("/")[2] if container.words else ""
    flags = [w.text for w in container.words[1:3]]
    if first in {"sh", "bash", "zsh", "ash"} and flags and flags[0].endswith("c"):
        script = "\n".join(w.text for w in container.words[2:3])
        subjects = command_subjects(script, place.file, None, folder, container.words[-1].line)
        for subject in subjects:
            subject.settings = [*_environment(container.variables, place), *subject.settings]
            _settle(subject)
        return subjects
    started = _started(Command(tuple(container.words), container.variables), place)
    if started is not None:
        return [started]
    if program is not None and program.entry_point and not container.has_entry_point:
        settings = _environment(container.variables, place)
        subject = Subject(f"{program.stack} container", program.stack, place.file, line, settings)
        _read_arguments(subject, program, container.words, place)
        return [subject]
    if program is not None:
        subject = Subject(f"{program.stack} container", program.stack, place.file, line)
        subject.settings = _environment(container.variables, place)
        subject.gaps.append(_gap("image", container.image, place, line))
        _settle(subject)
        return [subject]
    return []


def _started(command: Command, place: Place) -> Subject | None:
    """Return the server that a command starts, None where it starts none."""
    line = command.words
    if not line:
        return None
    if line[0].text.rpartition("/")[2] in words().containers:
        return _run_container(command, place)
    program, after = _program(line)
    if program is None:
        return None
    settings = _environment(command.variables, place)
    subject = Subject(f"{program.stack} command", program.stack, place.file, line[0].line, settings)
    subject.lines |= {w.line for w in (*line, *command.variables.values())}
    _read_arguments(subject, program, line[after:], place)
    return subject


def _program(line: Sequence[Word]) -> tuple[Program | None, int]:
    """Return the server's program in a command and the index behind it."""
    if not line or line[0].text.rpartition("/")[2] in words().not_launchers:
        return None, 0
    for index, word in enumerate(line):
        name = word.text.rpartition("/")[2]
        following = line[index + 1].text if index + 1 < len(line) else ""
        for program in programs():
            if name in program.commands:
                return program, index + 1
            if f"{name} {following}" in program.commands:
                return program, index + 2
    return None, 0


def _run_container(command: Command, place: Place) -> Subject | None:
    """Return the server of ``docker run IMAGE …``."""
    line = command.words
    if not any(w.text in {"run", "create", "exec"} for w in line[:4]):
        return None
    program, after = _program([Word("run", 0), *line[1:]])
    image = next((w for w in line[2:] if _of_image(w) is not None), None)
    container = Container(line[0].line, image, variables=dict(command.variables))
    options = list(line[1 : after or None]) if image is None else list(line[1 : line.index(image)])
    for option, value in pairwise([*options, Word("", 0)]):
        name, equals, inline = option.text.partition("=")
        held = Word(inline, option.line, option.unresolved) if equals else value
        if name in {"-e", "--env"}:
            key, given, text = held.text.partition("=")
            container.variables[key] = Word(text, held.line, None if given else f"${key}")
        elif name == "--env-file":
            container.variables["--env-file"] = Word(held.text, held.line, held.text)
        elif name == "--entrypoint":
            container.has_entry_point = True
            container.words.append(held)
    if image is not None:
        container.words += line[line.index(image) + 1 :]
    elif program is not None:
        container.words = list(line[max(after - 2, 1) :])
    subjects = container_subject(container, place)
    for subject in subjects:
        subject.lines |= {w.line for w in line}
        if "--env-file" in container.variables:
            subject.gaps.append(_gap("env_file", container.variables["--env-file"], place))
    return subjects[0] if subjects else None


def _of_image(image: Word | None) -> Program | None:
    if image is None:
        return None
    name = image.text.partition("@")[0]
    head, _, last = name.rpartition("/")
    name = f"{head}/{last.partition(':')[0]}".lstrip("/")
    return next(
        (p for p in programs() if any(name == i or name.endswith(f"/{i}") for i in p.images)), None
    )


def _environment(variables: Mapping[str, Word], place: Place) -> list[ConfigSetting]:
    return [ConfigSetting((n,), w.text, place.file, w.line) for n, w in variables.items()]


def _read_arguments(subject: Subject, program: Program, line: Sequence[Word], place: Place) -> None:
    """Add the settings of a command line to a subject, and what of it could not be read."""
    subject.lines |= {w.line for w in line}
    index = 0
    model_may_follow = True
    while index < len(line):
        word = line[index]
        index += 1
        if not word.text.startswith("-") or word.text.strip("-") == "" or _is_number(word.text):
            named = model_may_follow and word.quoted
            if word.unresolved and not named:
                subject.gaps.append(_gap("argument", word, place))
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
            subject.gaps.append(_gap(canonical, held, place))
        subject.settings += _expanded(path, value, place.file, word.line)
    _settle(subject, place)


def _settle(subject: Subject, place: Place | None = None) -> None:
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
        subject.gaps.append(_gap(setting.key, word, place))
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


def _gap(name: str, word: Word | None, place: Place, line: int = 1) -> ConfigSetting:
    text = (word.unresolved or word.text) if word is not None else None
    return ConfigSetting((name,), text, place.file, word.line if word is not None else line)


def _unread(script: Script, place: Place) -> Iterator[ConfigSetting]:
    """Yield what of a script could not be read, which its commands may rest on."""
    if script.broken is not None:
        yield ConfigSetting(("shell",), "no shell grammar", place.file, script.broken)
    for word in script.sourced:
        yield _gap("source", Word(word.text, word.line, word.text), place)


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
