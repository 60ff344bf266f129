"""Reading shell scripts into commands. Nothing is run; variables are replaced where it is safe.

A variable is replaced where the script sets it once (or appends to it), outside conditions and
loops. Any other expansion stays in its word and is named as unresolved.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

_CONDITIONAL = frozenset(
    {"if_statement", "case_statement", "while_statement", "for_statement", "c_style_for_statement",
     "function_definition", "subshell", "list", "command_substitution", "process_substitution"}
)  # fmt: skip
_DEPTH = 6
_MAX_WORDS = 20_000


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line.

    Attributes:
        text: Quotes removed and variables replaced, where they are known.
        line: Line of the file, 1-based.
        unresolved: The first expansion in it that is not known, as written.
        quoted: Whether it is one word whatever its expansions hold.
    """

    text: str
    line: int
    unresolved: str | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command with the variables that hold for it.

    Attributes:
        words: Program first.
        variables: Exported before it, or set in front of it, by name.
        here_document: Text that is handed to it, with its first line; None without one.
    """

    words: tuple[Word, ...]
    variables: dict[str, Word]
    here_document: Word | None = None


@dataclass(slots=True)
class Script:
    """What a shell script holds.

    Attributes:
        commands: In the order of the text, those handed to ``bash -c`` or ``eval`` included.
        variables: All that it assigns once, exported or not, by name.
        files: Texts that it writes by a here-document, by the file's name.
        sourced: Files that it reads with ``source``.
        comments: Line and text of its comments.
        broken: First line that is no shell; None where all is read.
    """

    commands: list[Command] = field(default_factory=list)
    variables: dict[str, Word] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    sourced: list[Word] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)
    broken: int | None = None


def read_script(text: str, line: int = 1) -> Script:
    """Read a shell script.

    Args:
        text: The script.
        line: Line of the file on which it begins.
    """
    return _Reader(text, line).script


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def _nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.children))


class _Reader:
    def __init__(self, text: str, line: int, depth: int = 0, outer: _Reader | None = None) -> None:
        self._bytes = text.encode()
        self._line = line
        self._depth = depth
        self._resolving: set[str] = set()
        self.script = Script()
        self._assigned: dict[str, list[Node] | None] = {}
        root = _parser().parse(self._bytes).root_node
        nodes = list(_nodes(root))
        self._collect_assignments(nodes)
        self._outer = outer
        exported = dict(outer.script.variables) if outer else {}
        for node in nodes:
            if node.is_error or node.is_missing:
                self.script.broken = self.script.broken or self._at(node)
            elif node.type == "comment":
                self.script.comments.append((self._at(node), self._text(node)))
            elif node.type == "declaration_command":
                exported |= self._exported(node)
            elif node.type == "command":
                self._command(node, exported)
        self.script.variables = {name: self._variable(name, 0) for name in self._assigned}

    def _at(self, node: Node) -> int:
        return node.start_point[0] + self._line

    def _text(self, node: Node) -> str:
        return self._bytes[node.start_byte : node.end_byte].decode()

    def _collect_assignments(self, nodes: list[Node]) -> None:
        """Keep the assignments of each variable; None where it may have several values."""
        for node in nodes:
            name = node.child_by_field_name("name") if node.type == "variable_assignment" else None
            if name is None or (node.parent is not None and node.parent.type == "command"):
                continue
            known = self._assigned.get(self._text(name), [])
            appends = any(self._text(child) == "+=" for child in node.children)
            conditional = self._is_conditional(node)
            if known is None or conditional or (known and not appends):
                self._assigned[self._text(name)] = None
            else:
                self._assigned[self._text(name)] = [*known, node]

    @staticmethod
    def _is_conditional(node: Node) -> bool:
        parent = node.parent
        while parent is not None:
            if parent.type in _CONDITIONAL:
                return True
            parent = parent.parent
        return False

    def _exported(self, node: Node) -> dict[str, Word]:
        if not self._text(node).startswith("export"):
            return {}
        names = [
            self._text(child.child_by_field_name("name") or child)
            for child in node.named_children
            if child.type in {"variable_assignment", "variable_name"}
        ]
        return {name: self._variable(name, self._at(node)) for name in names}

    def _variable(self, name: str, line: int) -> Word:
        words = self._values(name, line)
        text = " ".join(w.text for w in words)
        unresolved = next((w.unresolved for w in words if w.unresolved), None)
        return Word(text, words[0].line if words else line, unresolved, quoted=True)

    def _values(self, name: str, line: int) -> list[Word]:
        """Return the words that a variable holds, or one that names it as unresolved."""
        nodes = self._assigned.get(name, [])
        if not nodes and name not in self._assigned and self._outer is not None:
            return self._outer._values(name, line)
        if not nodes or name in self._resolving:
            return [Word(f"${name}", line, f"${name}")]
        self._resolving.add(name)
        words: list[Word] = []
        for node in nodes:
            value = node.child_by_field_name("value")
            if value is None:
                continue
            parts = value.named_children if value.type == "array" else [value]
            for part in parts:
                if part.type != "comment":
                    words += self._words(part)
                if len(words) > _MAX_WORDS:
                    words = [Word(f"${name}", line, f"${name}")]
                    break
        self._resolving.discard(name)
        return words or [Word("", line, quoted=True)]

    def _words(self, node: Node) -> list[Word]:
        """Return the words that a node of the grammar stands for."""
        at = self._at(node)
        if node.type in {"simple_expansion", "expansion"}:
            words: list[Word] = []
            for word in self._expansion(node):
                words += _split(word)
            return words
        if node.type == "string":
            inner = [c for c in node.named_children if c.type != "string_content"]
            if len(inner) == 1 and "[@]" in self._text(inner[0]) and not self._around(node, inner):
                return [replace(w, quoted=True) for w in self._expansion(inner[0])]
        return [self._single(node, at)]

    def _around(self, node: Node, inner: list[Node]) -> str:
        start, end = inner[0].start_byte, inner[0].end_byte
        return self._bytes[node.start_byte + 1 : start].decode() + (
            self._bytes[end : node.end_byte - 1].decode()
        )

    def _single(self, node: Node, at: int) -> Word:
        """Return a node as one word."""
        kind = node.type
        text = self._text(node)
        if kind == "raw_string":
            return Word(text[1:-1], at, quoted=True)
        if kind == "ansi_c_string":
            return Word(text[2:-1].replace("\\n", "\n").replace("\\'", "'"), at, quoted=True)
        if kind in {"simple_expansion", "expansion"}:
            words = self._expansion(node)
            unresolved = next((w.unresolved for w in words if w.unresolved), None)
            return Word(" ".join(w.text for w in words), at, unresolved)
        if kind in {"command_substitution", "process_substitution", "arithmetic_expansion"}:
            return Word(text, at, text)
        if kind in {"string", "concatenation"}:
            return self._joined(node, at)
        return Word(_unescaped(text), at)

    def _joined(self, node: Node, at: int) -> Word:
        inside = node.type == "string"
        pieces: list[str] = []
        unresolved = None
        position = node.start_byte + inside
        for child in node.named_children:
            pieces.append(self._bytes[position : child.start_byte].decode())
            if child.type == "string_content":
                pieces.append(_unescaped(self._text(child), quoted=True))
            else:
                word = self._single(child, at)
                pieces.append(word.text)
                unresolved = unresolved or word.unresolved
            position = child.end_byte
        pieces.append(self._bytes[position : node.end_byte - inside].decode())
        return Word("".join(pieces), at, unresolved, quoted=inside)

    def _expansion(self, node: Node) -> list[Word]:
        """Return what ``$NAME``, ``${NAME}``, ``${NAME[@]}`` or ``${NAME:-word}`` stands for."""
        text = self._text(node)
        at = self._at(node)
        names = [c for c in _nodes(node) if c.type in {"variable_name", "special_variable_name"}]
        if not names or names[0].type != "variable_name":
            return [Word(text, at, text)]
        values = self._values(self._text(names[0]), at)
        if any(w.unresolved for w in values) and ":-" in text and node.named_child_count > 1:
            usual = self._single(node.named_children[-1], at)
            if usual.text:
                return [usual]
        plain = {f"${self._text(names[0])}", f"${{{self._text(names[0])}}}"}
        array = {f"${{{self._text(names[0])}[{every}]}}" for every in "@*"}
        if text not in plain | array and ":-" not in text:
            return [Word(text, at, text)]
        return [replace(w, unresolved=w.unresolved and text) for w in values]

    def _command(self, node: Node, exported: dict[str, Word]) -> None:
        words: list[Word] = []
        variables = dict(exported)
        for child in node.named_children:
            if child.type == "variable_assignment":
                name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
                if name is not None:
                    held = Word("", self._at(child))
                    held = self._single(value, self._at(child)) if value is not None else held
                    variables[self._text(name)] = held
            elif child.type == "command_name":
                words += self._words(child.named_children[0]) if child.named_children else []
            elif not child.type.endswith("redirect") and child.type != "comment":
                words += self._words(child)
        if not words:
            return
        here = self._here_document(node, words)
        self.script.commands.append(Command(tuple(words), variables, here))
        self._nested(words)

    def _here_document(self, node: Node, words: list[Word]) -> Word | None:
        parent = node.parent
        while parent is not None and parent.type in {"pipeline", "command"}:
            parent = parent.parent
        if parent is None or parent.type != "redirected_statement":
            return None
        body = next((n for n in _nodes(parent) if n.type == "heredoc_body"), None)
        if body is None:
            return None
        word = self._joined(body, self._at(body))
        file = next((c for c in parent.named_children if c.type == "file_redirect"), None)
        target = file.child_by_field_name("destination") if file is not None else None
        if words[0].text == "cat" and target is not None:
            self.script.files[self._single(target, 0).text] = word.text
        return word

    def _nested(self, words: list[Word]) -> None:
        """Read the script that a command hands to another shell."""
        program = words[0].text.rpartition("/")[2]
        if program in {"source", "."} and len(words) > 1:
            self.script.sourced.append(words[1])
        inner = None
        if program == "eval":
            inner = Word(" ".join(w.text for w in words[1:]), words[0].line)
        else:
            for index, word in enumerate(words[:-2]):
                shell = word.text.rpartition("/")[2] in {"bash", "sh", "zsh", "dash"}
                flag = words[index + 1].text
                if shell and flag.startswith("-") and flag.endswith("c"):
                    inner = words[index + 2]
        if inner is None or self._depth >= _DEPTH:
            return
        script = _Reader(inner.text, inner.line, self._depth + 1, self).script
        self.script.commands += script.commands
        self.script.files |= script.files
        self.script.sourced += script.sourced
        self.script.broken = self.script.broken or script.broken


def _split(word: Word) -> list[Word]:
    """Split the value of an unquoted variable as a shell does, quotes in it respected."""
    if word.unresolved or word.quoted:
        return [word] if word.unresolved or " " not in word.text else _parts(word)
    return _parts(word)


def _parts(word: Word) -> list[Word]:
    try:
        parts = shlex.split(word.text)
    except ValueError:
        parts = word.text.split()
    return [Word(part, word.line) for part in parts]


def _unescaped(text: str, *, quoted: bool = False) -> str:
    """Remove the backslashes that a shell removes."""
    if "\\" not in text:
        return text
    out: list[str] = []
    index = 0
    while index < len(text):
        char = text[index]
        following = text[index + 1 : index + 2]
        if char == "\\" and following and (not quoted or following in '"\\$`\n'):
            out.append("" if following == "\n" else following)
            index += 2
        else:
            out.append(char)
            index += 1
    return "".join(out)
