"""What lint looks at: one configuration, as settings with the place each one was read from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

GROUP = "…"
"""Value of a setting that holds others, which are settings of their own."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class ConfigSetting:
    """One value of a configuration.

    Attributes:
        path: Names from the outside in, with ``_`` for ``-``.
        value: As declared.
        file: Where it was read.
        line: Line in that file, 1-based.
        stack: Whose setting it is, where not its subject's: a plan's arm has settings of ours
            beside those of the server that it starts.
    """

    path: tuple[str, ...]
    value: Any
    file: str
    line: int
    stack: str | None = None

    @property
    def key(self) -> str:
        """The innermost name."""
        return self.path[-1]

    @property
    def number(self) -> float | None:
        """The value as a number, None where it is none."""
        value = self.value
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            return float(value)
        return None

    @property
    def on(self) -> bool:
        """Whether the value switches something on."""
        if isinstance(self.value, str):
            return self.value.strip().lower() not in {"", "0", "false", "no", "off", "none", "null"}
        return self.value not in (None, False, 0)

    @property
    def word(self) -> str:
        """The value as a lower-case word."""
        return str(self.value).strip().lower()


@dataclass(slots=True)
class Subject:
    """One configuration of one stack.

    Attributes:
        name: What to call it.
        stack: One of programs.toml, or ``unknown``.
        file: Where it was read.
        line: Its first line.
        settings: In the order of the file.
        control: Whether it is meant to be bad.
        promise: What it promises by itself, before any finding; None without speculation.
        gaps: Places that could not be read; with one, ``plain`` and L2 are never said.
        lines: Lines that were read for it, those of variables included.
    """

    name: str
    stack: str
    file: str
    line: int = 1
    settings: list[ConfigSetting] = field(default_factory=list)
    control: bool = False
    promise: str | None = None
    gaps: list[ConfigSetting] = field(default_factory=list)
    lines: set[int] = field(default_factory=set)

    def find(self, key: str) -> ConfigSetting | None:
        """Return the last setting of that name: it is the one that counts."""
        return next((s for s in reversed(self.settings) if s.key == key), None)

    def under(self, name: str) -> Iterator[ConfigSetting]:
        """Yield the settings inside a group."""
        return (s for s in self.settings if name in s.path[:-1])


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing that a configuration says about its answers.

    Attributes:
        rule: Id of the rule.
        kind: ``lossy``, ``history``, ``load``, ``width``, ``version``, ``unknown`` or ``note``.
        severity: ``error`` (lossy), ``warning`` or ``note``.
        subject: Name of the configuration.
        file: Where.
        line: Line in it.
        setting: The setting at fault, as ``name=value``.
        text: What follows from it.
        mend: What to do.
        source: Where this is known from.
        versions: For which versions.
    """

    rule: str
    kind: str
    severity: str
    subject: str
    file: str
    line: int
    setting: str
    text: str
    mend: str
    source: str
    versions: str
