"""Reading files into configurations, by their kind."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from draftproof.lint.arguments import Place
from draftproof.lint.documents import document_subjects
from draftproof.lint.expansion import Word
from draftproof.lint.knowledge import is_speculative, program_of, programs
from draftproof.lint.launches import Container, command_subjects, container_subject
from draftproof.lint.plans import plan_subjects
from draftproof.lint.settings import node_settings, read_nodes, read_settings, read_text, renamed
from draftproof.lint.shell import read_script
from draftproof.lint.subject import ConfigSetting, Subject
from draftproof.records import DraftproofError

_CHECKPOINT_FILES = ("config.json", "generation_config.json")
_UNREAD = frozenset({".py", ".toml", ".ipynb", ".md", ".go", ".js", ".ts", ".tf", ".hcl", ".nix",
                     ".ps1", ".bat", ".cmd"})  # fmt: skip
_UNITS = frozenset({".service", ".container"})
_FLAG = re.compile(
    r"(?<![\w-])--?(?P<flag>[A-Za-z][\w-]*)|(?P<key>\b[A-Za-z_][\w-]*)[\"']?[ \t]*[:=]"
)
_QUOTED = re.compile(r'"""[\s\S]*?"""')
_COMMENT = re.compile(r"(?m)(^|(?<=\s))#[^\n]*")
_INSTRUCTION = re.compile(r"(?im)^[ \t]*(from|env|entrypoint|cmd)[ \t]+((?:\\\r?\n|[^\n])*)")


def read_subjects(path: Path) -> list[Subject]:
    """Return the configurations that a file, or a checkpoint's directory, holds.

    What speaks of speculation and is in none of them is a subject of its own, with a gap.

    Raises:
        DraftproofError: It cannot be read, at a named line.
    """
    if path.is_dir():
        return [_checkpoint(path)]
    text = read_text(path)
    suffix, name = path.suffix.lower(), path.name.lower()
    as_json = suffix == ".json"
    if suffix in {".yaml", ".yml", ".json"}:
        roots = read_nodes(text, str(path), as_json=as_json)
        if not any(isinstance(root, yaml.MappingNode) for root in roots):
            raise DraftproofError(f"{path}: a mapping of settings is needed")
        if len(roots) == 1 and _has_arms(roots[0]):
            return plan_subjects(text, path)
        if path.name in _CHECKPOINT_FILES:
            settings = node_settings(roots[0], str(path))
            return [Subject(path.name, "checkpoint", str(path), settings=settings)]
        subjects = [s for root in roots for s in document_subjects(root, path)]
        settings = [s for root in roots for s in node_settings(root, str(path))]
    else:
        subjects, settings = _text_subjects(text, path, suffix, name)
    subjects += _unexplained(text if as_json else _COMMENT.sub("", text), str(path), subjects)
    return subjects or [_unknown(path, settings)]


def _text_subjects(
    text: str, path: Path, suffix: str, name: str
) -> tuple[list[Subject], list[ConfigSetting]]:
    """Return the servers of a file that is no document, and its variables."""
    if name.startswith(("dockerfile", "containerfile")) or suffix == ".dockerfile":
        return _image_file(text, path), []
    if name.startswith("modelfile"):
        return [_model_file(text, path)], []
    if suffix == ".ini":
        return _presets(text, path), []
    if suffix in _UNREAD:
        return [], []
    if suffix in _UNITS:
        text = _unit(text)
    elif name == "procfile":
        text = re.sub(r"(?m)^[\w-]+:[ \t]*", "", text)
    variables = read_script(text).variables
    where = str(path)
    settings = [ConfigSetting((n,), w.text, where, w.line) for n, w in variables.items()]
    return command_subjects(text, where, None, path.parent), settings


def _has_arms(root: yaml.Node) -> bool:
    return isinstance(root, yaml.MappingNode) and any(k.value == "arms" for k, _ in root.value)


def _unknown(path: Path, settings: list[ConfigSetting]) -> Subject:
    subject = Subject(path.name, "unknown", str(path), settings=settings)
    subject.gaps.append(ConfigSetting(("server",), None, str(path), 1))
    return subject


def _unexplained(text: str, where: str, subjects: Sequence[Subject]) -> list[Subject]:
    """Return what speaks of speculation oftener than the settings that were read do.

    Where a server has a gap already, this is what the gap is about.
    """
    if any(s.gaps for s in subjects):
        return []
    read = Counter(name for s in subjects for setting in s.settings for name in set(setting.path))
    at: dict[frozenset[str], list[int]] = {}
    for match in _FLAG.finditer(text):
        name = (match["flag"] or match["key"]).replace("-", "_")
        if is_speculative(name):
            names = frozenset({name, *(p.canonical(name) for p in programs())})
            at.setdefault(names, []).append(text.count("\n", 0, match.start()) + 1)
    gaps = [
        ConfigSetting((min(names),), "not read", where, lines[-1])
        for names, lines in at.items()
        if len(lines) > sum(read[name] for name in names)
    ]
    if not gaps:
        return []
    name = f"{Path(where).name}, line {gaps[0].line}"
    return [Subject(name, "unknown", where, gaps[0].line, gaps=gaps[:5])]


def _checkpoint(path: Path) -> Subject:
    subject = Subject(path.name or str(path), "checkpoint", str(path))
    for name in _CHECKPOINT_FILES:
        if (path / name).is_file():
            file = path / name
            subject.settings += read_settings(read_text(file), str(file), as_json=True)
    if not subject.settings:
        raise DraftproofError(
            f"{path}: no checkpoint: it has neither {_CHECKPOINT_FILES[0]} nor "
            f"{_CHECKPOINT_FILES[1]}"
        )
    if (path / "custom_generate").is_dir():
        subject.settings.append(
            ConfigSetting(("custom_generate",), True, str(path / "custom_generate"), 1)
        )
    return subject


def _image_file(text: str, path: Path) -> list[Subject]:
    """Read a Dockerfile: the last image, its environment, entry point and command."""
    container = Container(1)
    entry: list[Word] = []
    command: list[Word] = []
    for match in _INSTRUCTION.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        kind, value = match[1].lower(), match[2]
        if kind == "from":
            container = Container(line, Word(value.split()[0], line))
            entry, command = [], []
        elif kind == "env":
            assignments = value if "=" in value.split()[0] else re.sub(r"\s+", "=", value, count=1)
            held = read_script(assignments, line).variables
            container.variables |= held
        elif kind == "entrypoint":
            entry, command = _form(value, line), []
            container.has_entry_point = True
        else:
            command = _form(value, line)
    container.words = [*entry, *command]
    return container_subject(container, Place(str(path), path.parent))


def _form(value: str, line: int) -> list[Word]:
    """Return a command in Docker's exec form (a JSON list) or as a shell's text."""
    try:
        items = json.loads(value.replace("\\\n", "\n"))
    except ValueError:
        return [w for c in read_script(value, line).commands for w in c.words]
    return [Word(str(i), line, quoted=True) for i in items] if isinstance(items, list) else []


def _unit(text: str) -> str:
    """Return a systemd unit as a script, line by line."""
    lines: list[str] = []
    continued = False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if continued:
            lines.append(line)
        elif key.strip() in {"ExecStart", "ExecStartPre", "Exec"}:
            lines.append(value.strip().lstrip("-@:+!"))
        elif key.strip() == "Environment":
            lines.append(f"export {' '.join(_assignments(value))}")
        elif key.strip() == "EnvironmentFile":
            lines.append(f"source {value.lstrip('-')}")
        else:
            lines.append("")
        continued = line.endswith("\\") and (continued or bool(lines[-1]))
    return "\n".join(lines)


def _assignments(text: str) -> list[str]:
    try:
        parts = shlex.split(text)
    except ValueError:
        parts = text.split()
    split = [part.partition("=") for part in parts]
    return [f"{name}={shlex.quote(value)}" for name, _, value in split]


def _model_file(text: str, path: Path) -> Subject:
    """Read an Ollama Modelfile: one instruction a line."""
    subject = Subject(path.name, "ollama", str(path))
    # a template between triple quotes is text, whatever its lines begin with
    text = _QUOTED.sub(lambda block: "\n" * block[0].count("\n"), text)
    for number, line in enumerate(text.splitlines(), 1):
        word, _, value = line.strip().partition(" ")
        if word.isalpha():
            setting = ConfigSetting((word.lower(),), value.strip(), str(path), number)
            subject.settings.append(setting)
    return subject


def _presets(text: str, path: Path) -> list[Subject]:
    """Read llama.cpp's presets: a model a section, options without their dashes."""
    program = program_of("llama.cpp")
    shared: list[ConfigSetting] = []
    subjects: list[Subject] = []
    settings = shared
    for number, line in enumerate(text.splitlines(), 1):
        section = re.fullmatch(r"\s*\[([^\]]+)\]\s*", line)
        key, equals, value = line.partition("=")
        if section:
            name = section[1].strip()
            subject = Subject(f"{path.name} [{name}]", "llama.cpp", str(path), number)
            settings = shared if name == "*" else subject.settings
            if name != "*":
                subjects.append(subject)
        elif equals and program is not None and not line.lstrip().startswith((";", "#")):
            name = key.strip().replace("-", "_")
            setting = ConfigSetting((name,), value.strip(), str(path), number)
            settings.append(renamed(setting, program))
    for subject in subjects:
        subject.settings = [*shared, *subject.settings]
    known = {"model", "hf_repo", "model_url", "models_dir"}
    return [s for s in subjects if known & {name for x in s.settings for name in x.path}]
