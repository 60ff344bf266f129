"""What the words of a shell script stand for: quotes removed, variables replaced where safe."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tree_sitter import Node

_CONDITIONAL = frozenset(
    {"if_statement", "case_statement", "while_statement", "for_statement", "c_style_for_statement",
     "function_definition", "subshell", "list", "command_substitution", "process_substitution"}
)  # fmt: skip
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


def all_nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.children))


class Expansions:
    """The variables of a script, and the words that its nodes stand for.

    Args:
        source: The script as bytes, which the nodes' places are counted in.
        line: Line of the file on which it begins.
        nodes: All nodes of its tree.
        outer: The script that hands this one to another shell; None for a whole file.
    """

    def __init__(
        self, source: bytes, line: int, nodes: Sequence[Node], outer: Expansions | None = None
    ) -> None:
        self._bytes = source
        self._line = line
        self._outer = outer
        self._resolving: set[str] = set()
        self._assigned: dict[str, list[Node] | None] = {}
        self._collect_assignments(nodes)

    def line_of(self, node: Node) -> int:
        """Return the line of the file on which a node begins, 1-based."""
        return node.start_point[0] + self._line

    def text_of(self, node: Node) -> str:
        """Return a node as it is written."""
        return self._bytes[node.start_byte : node.end_byte].decode()

    def variables(self) -> dict[str, Word]:
        """Return all variables that the script assigns."""
        return {name: self.variable(name, 0) for name in self._assigned}

    def _collect_assignments(self, nodes: Sequence[Node]) -> None:
        """Keep the assignments of each variable; None where it may have several values."""
        for node in nodes:
            name = node.child_by_field_name("name") if node.type == "variable_assignment" else None
            if name is None or (node.parent is not None and node.parent.type == "command"):
                continue
            known = self._assigned.get(self.text_of(name), [])
            appends = any(self.text_of(child) == "+=" for child in node.children)
            conditional = self._is_conditional(node)
            if known is None or conditional or (known and not appends):
                self._assigned[self.text_of(name)] = None
            else:
                self._assigned[self.text_of(name)] = [*known, node]

    @staticmethod
    def _is_conditional(node: Node) -> bool:
        parent = node.parent
        while parent is not None:
            if parent.type in _CONDITIONAL:
                return True
            parent = parent.parent
        return False

    def variable(self, name: str, line: int) -> Word:
        """Return the value of a variable as one word."""
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
                    words += self.words(part)
                if len(words) > _MAX_WORDS:
                    words = [Word(f"${name}", line, f"${name}")]
                    break
        self._resolving.discard(name)
        return words or [Word("", line, quoted=True)]

    def words(self, node: Node) -> list[Word]:
        """Return the words that a node of the grammar stands for."""
        at = self.line_of(node)
        if node.type in {"simple_expansion", "expansion"}:
            words: list[Word] = []
            for word in self._expansion(node):
                words += _split(word)
            return words
        if node.type == "string":
            inner = [c for c in node.named_children if c.type != "string_content"]
            if (
                len(inner) == 1
                and "[@]" in self.text_of(inner[0])
                and not self._around(node, inner)
            ):
                return [replace(w, quoted=not w.unresolved) for w in self._expansion(inner[0])]
        if node.type == "string" and self.text_of(node) == '"$@"':
            return [Word("$@", at, "$@")]
        return [self.single(node, at)]

    def _around(self, node: Node, inner: list[Node]) -> str:
        start, end = inner[0].start_byte, inner[0].end_byte
        return self._bytes[node.start_byte + 1 : start].decode() + (
            self._bytes[end : node.end_byte - 1].decode()
        )

    def single(self, node: Node, at: int) -> Word:
        """Return a node as one word."""
        kind = node.type
        text = self.text_of(node)
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
            return self.joined(node, at)
        return Word(_unescaped(text), at)

    def joined(self, node: Node, at: int) -> Word:
        """Return the parts of a node, and what stands between them, as one word."""
        inside = node.type == "string"
        pieces: list[str] = []
        unresolved = None
        position = node.start_byte + inside
        for child in node.named_children:
            pieces.append(self._bytes[position : child.start_byte].decode())
            if child.type == "string_content":
                pieces.append(_unescaped(self.text_of(child), quoted=True))
            else:
                word = self.single(child, at)
                pieces.append(word.text)
                unresolved = unresolved or word.unresolved
            position = child.end_byte
        pieces.append(self._bytes[position : node.end_byte - inside].decode())
        return Word("".join(pieces), at, unresolved, quoted=inside)

    def _expansion(self, node: Node) -> list[Word]:
        """Return what ``$NAME``, ``${NAME}``, ``${NAME[@]}`` or ``${NAME:-word}`` stands for."""
        text = self.text_of(node)
        at = self.line_of(node)
        names = [c for c in all_nodes(node) if c.type in {"variable_name", "special_variable_name"}]
        if not names or names[0].type != "variable_name":
            return [Word(text, at, text)]
        values = self._values(self.text_of(names[0]), at)
        if any(w.unresolved for w in values) and ":-" in text and node.named_child_count > 1:
            usual = self.single(node.named_children[-1], at)
            if usual.text:
                return [usual]
        plain = {f"${self.text_of(names[0])}", f"${{{self.text_of(names[0])}}}"}
        array = {f"${{{self.text_of(names[0])}[{every}]}}" for every in "@*"}
        if text not in plain | array and ":-" not in text:
            return [Word(text, at, text)]
        return [replace(w, unresolved=w.unresolved and text) for w in values]


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
