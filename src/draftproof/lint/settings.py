"""Reading YAML and JSON documents into settings with their lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from draftproof.lint.knowledge import Program, is_speculative
from draftproof.lint.subject import GROUP, ConfigSetting
from draftproof.records import DraftproofError

_MAX_FILE = 4 * 1024 * 1024
_MAX_SETTINGS = 20_000


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        DraftproofError: Not there, not text, or larger than any configuration.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise DraftproofError(f"{path}: larger than {_MAX_FILE:,} bytes; no configuration is")
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DraftproofError(f"{path}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_settings(text: str, where: str, *, as_json: bool) -> list[ConfigSetting]:
    """Return all values of the documents of a YAML or JSON text, with their lines.

    Raises:
        DraftproofError: Broken at a named line, or larger than any configuration.
    """
    roots = [r for r in read_nodes(text, where, as_json=as_json) if r is not None]
    if not any(isinstance(root, yaml.MappingNode) for root in roots):
        raise DraftproofError(f"{where}: a mapping of settings is needed")
    return [setting for root in roots for setting in node_settings(root, where)]


def read_nodes(text: str, where: str, *, as_json: bool) -> list[yaml.Node]:
    """Return the documents of a YAML or JSON text, merge keys resolved.

    Raises:
        DraftproofError: Broken at a named line.
    """
    try:
        if as_json:
            json.loads(text)
            # JSON is YAML but for tabs between its tokens
            text = text.replace("\t", " ")
        return [root for root in yaml.compose_all(text, yaml.SafeLoader) if root is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if as_json else "YAML"
        hint = "; it is a template: render it first" if "{{" in text else ""
        raise DraftproofError(f"{where}: broken {kind}: {error}{hint}") from error


def node_settings(node: yaml.Node, where: str) -> list[ConfigSetting]:
    """Return the values below a node of a document.

    Raises:
        DraftproofError: More than any configuration has, as anchors may make of a few lines.
    """
    settings: list[ConfigSetting] = []
    try:
        for setting in _walk(node, (), where):
            settings.append(setting)
            if len(settings) > _MAX_SETTINGS:
                raise DraftproofError(f"{where}: holds more than {_MAX_SETTINGS:,} values")
    except RecursionError as error:
        raise DraftproofError(f"{where}: nested deeper than any configuration") from error
    return settings


def pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys and values of a mapping, those of its merge keys first."""
    merged: list[tuple[yaml.Node, yaml.Node]] = []
    direct: list[tuple[yaml.Node, yaml.Node]] = []
    for key, value in node.value:
        if key.tag != "tag:yaml.org,2002:merge":
            direct.append((key, value))
            continue
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for source in sources:
            if isinstance(source, yaml.MappingNode) and source is not node:
                merged += source.value
    return merged + direct


def scalar(node: yaml.Node) -> object:
    """Return a scalar's value; its text where it has a tag of its own."""
    loader = yaml.SafeLoader("")
    try:
        value: object = loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        return str(node.value)
    return value


def renamed(setting: ConfigSetting, program: Program) -> ConfigSetting:
    """Return a setting under the usual names of a program."""
    path = tuple(
        program.canonical(part)
        if part in program.aliases or part.startswith(program.environment or "\0")
        or is_speculative(part)
        else part
        for part in setting.path
    )  # fmt: skip
    return replace(setting, path=path)


def _walk(node: yaml.Node, path: tuple[str, ...], where: str) -> Iterator[ConfigSetting]:
    if isinstance(node, yaml.MappingNode):
        for key, value in pairs(node):
            line = key.start_mark.line + 1
            name = str(scalar(key)) if isinstance(key, yaml.ScalarNode) else "?"
            inner = (*path, name.replace("-", "_"))
            if isinstance(value, yaml.ScalarNode):
                yield from _scalar(value, inner, where, line)
            else:
                yield ConfigSetting(inner, GROUP if value.value else None, where, line)
                yield from _walk(value, inner, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _walk(value, path or ("list",), where)
    else:
        yield from _scalar(node, path or ("value",), where, node.start_mark.line + 1)


def _scalar(
    node: yaml.Node, path: tuple[str, ...], where: str, line: int
) -> Iterator[ConfigSetting]:
    """Yield a scalar, and the settings inside it where it is a JSON object."""
    value = scalar(node)
    inner: object = None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            inner = None
    if isinstance(inner, dict):
        yield ConfigSetting(path, GROUP if inner else None, where, line)
        document = yaml.compose(json.dumps(inner), yaml.SafeLoader)
        for setting in _walk(document or node, path, where):
            yield replace(setting, line=line)
    else:
        yield ConfigSetting(path, value, where, line)
