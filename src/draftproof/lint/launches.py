"""Reading the commands and containers that start servers into settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from draftproof.lint.arguments import Place, gap_at, read_arguments, settle
from draftproof.lint.expansion import Word
from draftproof.lint.knowledge import Program, programs, words
from draftproof.lint.shell import Command, Script, read_script
from draftproof.lint.subject import ConfigSetting, Subject

_READ_ALREADY = frozenset({"bash", "sh", "zsh", "dash", "eval"})
"""Commands whose scripts are read with the script that they stand in."""


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
        started = [subject] if subject is not None else _handed_on(command, place)
        for each in started:
            each.name = name or each.name
            each.gaps += _unread(script, place)
        subjects += started
    return subjects


def _handed_on(command: Command, place: Place) -> list[Subject]:
    """Return the servers in a script that a command hands to a shell elsewhere, as ssh does."""
    programs_named = {word.text.rpartition("/")[2] for word in command.words}
    first = command.words[0].text.rpartition("/")[2]
    if first in words().not_launchers or programs_named & _READ_ALREADY:
        return []
    return [
        subject
        for word in command.words[1:]
        if word.quoted and " " in word.text
        for subject in command_subjects(word.text, place.file, None, place.folder, word.line)
    ]


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
            settle(subject)
        return subjects
    started = _started(Command(tuple(container.words), container.variables), place)
    if started is not None:
        return [started]
    if program is not None and program.entry_point and not container.has_entry_point:
        settings = _environment(container.variables, place)
        subject = Subject(f"{program.stack} container", program.stack, place.file, line, settings)
        read_arguments(subject, program, container.words, place)
        return [subject]
    if program is not None:
        subject = Subject(f"{program.stack} container", program.stack, place.file, line)
        subject.settings = _environment(container.variables, place)
        subject.gaps.append(gap_at("image", container.image, place, line))
        settle(subject)
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
    read_arguments(subject, program, line[after:], place)
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
            subject.gaps.append(gap_at("env_file", container.variables["--env-file"], place))
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


def _unread(script: Script, place: Place) -> Iterator[ConfigSetting]:
    """Yield what of a script could not be read, which its commands may rest on."""
    if script.broken is not None:
        yield ConfigSetting(("shell",), "no shell grammar", place.file, script.broken)
    for word in script.sourced:
        yield gap_at("source", Word(word.text, word.line, word.text), place)
