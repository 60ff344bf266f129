"""Reading shell scripts into commands. Nothing is run; variables are replaced where it is safe.

A variable is replaced where the script sets it once (or appends to it), outside conditions and
loops. Any other expansion stays in its word and is named as unresolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from draftproof.lint.expansion import Expansions, Word, all_nodes

_DEPTH = 6


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


class _Reader:
    def __init__(
        self,
        text: str,
        line: int,
        depth: int = 0,
        outer: _Reader | None = None,
        inherited: dict[str, Word] | None = None,
    ) -> None:
        source = text.encode()
        self._depth = depth
        self.script = Script()
        nodes = list(all_nodes(_parser().parse(source).root_node))
        enclosing: Expansions | None = outer._expansions if outer is not None else None
        self._expansions: Expansions = Expansions(source, line, nodes, enclosing)
        exported = dict(inherited or {})
        for node in nodes:
            if node.is_error or node.is_missing:
                self.script.broken = self.script.broken or self._expansions.line_of(node)
            elif node.type == "comment":
                self.script.comments.append(
                    (self._expansions.line_of(node), self._expansions.text_of(node))
                )
            elif node.type == "declaration_command":
                exported |= self._exported(node)
            elif node.type == "command":
                self._command(node, exported)
        self.script.variables = self._expansions.variables()

    def _exported(self, node: Node) -> dict[str, Word]:
        if not self._expansions.text_of(node).startswith("export"):
            return {}
        names = [
            self._expansions.text_of(child.child_by_field_name("name") or child)
            for child in node.named_children
            if child.type in {"variable_assignment", "variable_name"}
        ]
        return {
            name: self._expansions.variable(name, self._expansions.line_of(node)) for name in names
        }

    def _command(self, node: Node, exported: dict[str, Word]) -> None:
        words: list[Word] = []
        variables = dict(exported)
        for child in node.named_children:
            if child.type == "variable_assignment":
                name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
                if name is not None:
                    held = Word("", self._expansions.line_of(child))
                    held = (
                        self._expansions.single(value, self._expansions.line_of(child))
                        if value is not None
                        else held
                    )
                    variables[self._expansions.text_of(name)] = held
            elif child.type == "command_name":
                words += (
                    self._expansions.words(child.named_children[0]) if child.named_children else []
                )
            elif not child.type.endswith("redirect") and child.type != "comment":
                words += self._expansions.words(child)
        if not words:
            return
        here = self._here_document(node, words)
        self.script.commands.append(Command(tuple(words), variables, here))
        self._nested(words, variables)

    def _here_document(self, node: Node, words: list[Word]) -> Word | None:
        parent = node.parent
        while parent is not None and parent.type in {"pipeline", "command"}:
            parent = parent.parent
        if parent is None or parent.type != "redirected_statement":
            return None
        body = next((n for n in all_nodes(parent) if n.type == "heredoc_body"), None)
        if body is None:
            return None
        word = self._expansions.joined(body, self._expansions.line_of(body))
        file = next((c for c in parent.named_children if c.type == "file_redirect"), None)
        target = file.child_by_field_name("destination") if file is not None else None
        if words[0].text == "cat" and target is not None:
            self.script.files[self._expansions.single(target, 0).text] = word.text
        return word

    def _nested(self, words: list[Word], variables: dict[str, Word]) -> None:
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
        script = _Reader(inner.text, inner.line, self._depth + 1, self, variables).script
        self.script.commands += script.commands
        self.script.files |= script.files
        self.script.sourced += script.sourced
        self.script.broken = self.script.broken or script.broken
