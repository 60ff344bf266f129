"""Servers inside YAML and JSON documents: containers, commands, argument lists and settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from draftproof.lint.arguments import Place
from draftproof.lint.expansion import Word
from draftproof.lint.knowledge import is_speculative, program_of, programs, stack_of
from draftproof.lint.launches import Container, command_subjects, container_subject
from draftproof.lint.settings import node_settings, pairs, renamed, scalar
from draftproof.lint.shell import read_script
from draftproof.lint.subject import ConfigSetting, Subject

_MAX_NODES = 20_000
_ENTRY = ("entrypoint", "entry_point")
_COMMAND = ("command", "cmd", "args", "arguments")
_IN_CONTAINER = frozenset({*_ENTRY, *_COMMAND, "env", "environment"})
_EXPANDED = re.compile(r"\$[({]?[A-Za-z_]|\{\{")
_DEFAULTED = re.compile(r"\$\{[A-Za-z_]\w*:?-([^{}$]+)\}")


def document_subjects(root: yaml.Node, path: Path) -> list[Subject]:
    """Return the servers that a document starts, or the one whose settings it holds.

    Args:
        root: The document.
        path: Its file.

    Raises:
        DraftproofError: Larger than any configuration.
    """
    settings = node_settings(root, str(path))
    place = Place(str(path), path.parent)
    subjects = [s for node in _mappings(root) for s in _of_mapping(node, place)]
    for subject in subjects:
        if subject.name.endswith((" container", " command")):
            subject.name = f"{path.name}, line {subject.line}: {subject.name}"
    return subjects or _configuration(settings, path)


def _configuration(settings: list[ConfigSetting], path: Path) -> list[Subject]:
    """Return a file of settings as one subject, or none where no stack shows itself."""
    stack = stack_of(sorted({name for s in settings for name in s.path}))
    program = program_of(stack)
    if program is None:
        return []
    named = [renamed(s, program) for s in settings]
    return [Subject(path.name, stack, str(path), settings=named)]


def _mappings(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield a document's nodes from the outside in, each once however often it is named."""
    visited: set[int] = set()
    waiting = [root]
    while waiting and len(visited) < _MAX_NODES:
        node = waiting.pop(0)
        if id(node) in visited:
            continue
        visited.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            # fields of compose that begin with x- are only there to be merged elsewhere
            waiting += [v for k, v in pairs(node) if not str(k.value).startswith("x-")]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _of_mapping(node: yaml.Node, place: Place) -> list[Subject]:
    if not isinstance(node, yaml.MappingNode):
        return []
    fields = {str(key.value).lower(): value for key, value in pairs(node)}
    subjects: list[Subject] = []
    inside: frozenset[str] = frozenset()
    if "image" in fields or fields.keys() & {*_ENTRY, "command", "cmd"}:
        container = _container(node, fields)
        subjects += container_subject(container, place)
        if subjects:
            inside = _IN_CONTAINER
            for subject in subjects:
                subject.gaps += _other_environment(fields, place)
    for name, value in fields.items():
        if name in inside:
            continue
        if isinstance(value, yaml.ScalarNode) and isinstance(value.value, str):
            subjects += _of_text(value, place, joined=name in _COMMAND)
        elif isinstance(value, yaml.SequenceNode):
            subjects += _of_arguments(value, place)
    return subjects


def _container(node: yaml.Node, fields: dict[str, yaml.Node]) -> Container:
    container = Container(node.start_mark.line + 1)
    image = fields.get("image")
    if isinstance(image, yaml.ScalarNode):
        container.image = _word(image)
    elif isinstance(image, yaml.MappingNode):
        named = {str(key.value): value for key, value in pairs(image)}
        repository = named.get("repository", named.get("name"))
        if isinstance(repository, yaml.ScalarNode):
            container.image = _word(repository)
    # in Kubernetes `command` replaces the entry point, in compose it follows it
    pod = "args" in fields and "command" in fields
    container.has_entry_point = pod or bool(fields.keys() & set(_ENTRY))
    for name in (*_ENTRY, *_COMMAND):
        if name in fields:
            container.words += _words(fields[name])
    for name in ("env", "environment"):
        if name in fields:
            container.variables |= _variables(fields[name])
    return container


def _other_environment(fields: dict[str, yaml.Node], place: Place) -> Iterator[ConfigSetting]:
    """Yield what sets variables from elsewhere, secrets aside."""
    for name in ("envfrom", "env_file"):
        node = fields.get(name)
        if node is not None and "secretRef" not in str(yaml.serialize(node)):
            yield ConfigSetting((name,), "elsewhere", place.file, node.start_mark.line + 1)


def _words(node: yaml.Node) -> list[Word]:
    """Return a command given as a list of words, or as one text of a shell."""
    if isinstance(node, yaml.SequenceNode):
        return [_word(item) for item in node.value if isinstance(item, yaml.ScalarNode)]
    if not isinstance(node, yaml.ScalarNode):
        return []
    script = read_script(_one_line(str(node.value)), node.start_mark.line + 1)
    return [word for command in script.commands for word in command.words]


def _one_line(text: str) -> str:
    """Join the lines of a command that no shell reads; lines of comments are left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return " ".join(line.rstrip().removesuffix("\\") for line in lines)


def _word(node: yaml.Node) -> Word:
    value = scalar(node)
    text = str(node.value) if not isinstance(value, str) else value
    text = _DEFAULTED.sub(lambda match: match[1], text)
    expanded = _EXPANDED.search(text)
    unresolved = text[:80] if expanded else None
    return Word(text, node.start_mark.line + 1, unresolved, quoted=True)


def _variables(node: yaml.Node) -> dict[str, Word]:
    """Return an environment given as a mapping, as NAME=value, or as names with values."""
    variables: dict[str, Word] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in pairs(node):
            if isinstance(value, yaml.ScalarNode):
                variables[str(key.value)] = _word(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                name, _, text = str(item.value).partition("=")
                variables[name] = Word(text, item.start_mark.line + 1)
            elif isinstance(item, yaml.MappingNode):
                named = {str(key.value): value for key, value in pairs(item)}
                name_node, held = named.get("name"), named.get("value")
                if isinstance(name_node, yaml.ScalarNode):
                    name = str(name_node.value)
                    elsewhere = Word(f"${name}", item.start_mark.line + 1, f"${name}")
                    scalar_held = isinstance(held, yaml.ScalarNode)
                    variables[name] = _word(held) if held is not None and scalar_held else elsewhere
    return variables


def _of_text(node: yaml.Node, place: Place, *, joined: bool) -> list[Subject]:
    """Return the servers that a text inside a document starts, as a script or one command."""
    text = str(node.value)
    if not _names_program(text):
        return []
    line = node.start_mark.line + 1
    block = getattr(node, "style", None) in {"|", ">"}
    script = _one_line(text) if joined else text
    return command_subjects(script, place.file, None, place.folder, line + block)


def _names_program(text: str) -> bool:
    """Whether a text could start a server; a cheap test in front of reading it as a script."""
    starts = {c.partition(" ")[0] for p in programs() for c in p.commands}
    images = [i for p in programs() for i in p.images]
    return any(start in text for start in starts) or any(image in text for image in images)


def _of_arguments(node: yaml.SequenceNode, place: Place) -> list[Subject]:
    """Return the server whose arguments a list holds, where they say which one it is."""
    items = [_word(item) for item in node.value if isinstance(item, yaml.ScalarNode)]
    flags = [w.text.partition("=")[0].lstrip("-").replace("-", "_") for w in items
             if w.text.startswith("-")]  # fmt: skip
    if not any(is_speculative(flag.partition(".")[0]) for flag in flags):
        return []
    stack = stack_of([flag.partition(".")[0] for flag in flags])
    program = program_of(stack)
    if program is None or not program.commands:
        return []
    command = [Word(part, items[0].line) for part in program.commands[0].split()]
    container = Container(node.start_mark.line + 1, words=[*command, *items])
    return container_subject(container, place)
