"""Reading the command lines that start servers. Nothing is expanded, nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from draftproof.lint.subject import GROUP, ConfigSetting, Subject
from draftproof.records import DraftproofError

_PROGRAMS = {
    "vllm": "vllm",
    "vllm.entrypoints.openai.api_server": "vllm",
    "vllm-serve": "vllm",
    "sglang": "sglang",
    "sglang.launch_server": "sglang",
    "llama-server": "llama.cpp",
    "trtllm-serve": "trtllm",
    "draftproof": "draftproof",
}
_SHORT = {"md": "spec_draft_model", "m": "model", "np": "parallel", "sc": "speculative_config"}
_TOKEN = re.compile(
    r"""(?P<continued>\\\n)|(?P<end>[\n;|&])|(?P<space>\s)|(?P<comment>\#[^\n]*)
    |(?P<word>(?:[^\s;|&'"\\]|\\[^\n]|'[^']*'|"(?:[^"\\]|\\[\s\S])*")+)|(?P<open>['"\\])""",
    re.VERBOSE,
)
_PIECE = re.compile(r"""'[^']*'|"(?:[^"\\]|\\[\s\S])*"|\\.""")
_ESCAPED = re.compile(r'\\(["\\$`\n])')
_FILES = frozenset({"config", "extra_llm_api_options", "config_file"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line."""

    text: str
    line: int


def commands(text: str, where: str) -> Iterator[list[Word]]:
    r"""Yield the commands of a shell script as words, quotes removed.

    Commands end at a line's end, at ``;``, ``|`` and ``&``. Variables stay as they are written.

    >>> [[w.text for w in words] for words in commands("A='1 2' run \\\n  --x # why", "f")]
    [['A=1 2', 'run', '--x']]

    Raises:
        DraftproofError: A quotation does not end.
    """
    words: list[Word] = []
    line = 1
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "open":
            raise DraftproofError(f"{where}:{line}: a quotation that begins here does not end")
        if found.lastgroup == "word":
            words.append(Word(_PIECE.sub(_unquoted, found[0]), line))
        elif found.lastgroup == "end" and words:
            yield words
            words = []
        line += found[0].count("\n")
    if words:
        yield words


def _unquoted(piece: re.Match[str]) -> str:
    text = piece[0]
    if text.startswith("'"):
        return text[1:-1]
    if text.startswith('"'):
        return _ESCAPED.sub(lambda found: found[1].replace("\n", ""), text[1:-1])
    return text[1:]


def command_subjects(text: str, where: str, name: str | None = None) -> list[Subject]:
    """Return the servers that a script starts; variables it exports hold for those after.

    Raises:
        DraftproofError: A quotation does not end.
    """
    exported: list[ConfigSetting] = []
    found = []
    for words in commands(text, where):
        own = list(exported)
        index = 0
        exporting = words[0].text == "export"
        while index < len(words):
            variable, equals, value = words[index].text.partition("=")
            if equals and variable.isidentifier():
                own.append(ConfigSetting((variable,), value, where, words[index].line))
            elif words[index].text not in {"export", "env", "exec"}:
                break
            index += 1
        if exporting or index == len(words):
            exported = own
            continue
        stack = _stack(words[index:])
        if stack is None:
            continue
        subject = Subject(
            name=name or f"{stack} command",
            stack=stack,
            file=where,
            line=words[index].line,
            # docker passes variables as words of its own
            settings=[*own, *_variables(words[index:], where)],
        )
        subject.settings += _arguments(words[index:], where)
        found.append(subject)
    return found


def _stack(words: Sequence[Word]) -> str | None:
    for word in words:
        stack = _PROGRAMS.get(word.text.rpartition("/")[2])
        if stack is not None:
            return stack
    return None


def _variables(words: Sequence[Word], where: str) -> list[ConfigSetting]:
    found = []
    for flag, word in pairwise(words):
        name, equals, value = word.text.partition("=")
        if flag.text in {"-e", "--env"} and equals and name.isidentifier():
            found.append(ConfigSetting((name,), value, where, word.line))
    return found


def _arguments(words: Sequence[Word], where: str) -> Iterator[ConfigSetting]:
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.text.startswith("-") or word.text.strip("-") == "" or _is_number(word.text):
            continue
        name, equals, value = word.text.lstrip("-").partition("=")
        given: Any = value if equals else True
        if not equals and index < len(words):
            following = words[index].text
            if not following.startswith("-") or _is_number(following):
                given = following
                index += 1
        path = tuple(part.replace("-", "_") for part in name.split("."))
        path = (_SHORT.get(path[0], path[0]), *path[1:])
        yield from _expanded(path, given, where, word.line)


def _is_number(text: str) -> bool:
    return text[1:].replace(".", "", 1).isdigit()


def _expanded(path: tuple[str, ...], value: Any, where: str, line: int) -> Iterator[ConfigSetting]:
    """Yield a setting, and those inside it where its value is a JSON object."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            # a placeholder like {port} is no JSON and need not be
            if path[-1].endswith("_config"):
                raise DraftproofError(f"{where}:{line}: {path[-1]} is no JSON: {error}") from error
    if isinstance(value, dict):
        yield ConfigSetting(path, GROUP if value else None, where, line)
        for key, inner in value.items():
            yield from _expanded((*path, str(key).replace("-", "_")), inner, where, line)
    else:
        yield ConfigSetting(path, value, where, line)


def named_files(subject: Subject) -> Iterator[ConfigSetting]:
    """Yield the settings of a command that name a configuration file."""
    return (s for s in subject.settings if s.key in _FILES and isinstance(s.value, str))
