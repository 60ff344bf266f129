"""What lint knows: programs that serve models (programs.toml) and rules (rules.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from draftproof.lint.subject import ConfigSetting, LintFinding, Subject
from draftproof.records import DraftproofError

_MAX_FILE = 1024 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Program(_Strict):
    """A program that serves models. Fields: see the head of programs.toml."""

    stack: str
    commands: tuple[str, ...]
    images: tuple[str, ...] = ()
    entry_point: bool = True
    files: tuple[str, ...] = ()
    abbreviates: bool = False
    takes_model: bool = False
    environment: str | None = None
    switches: tuple[str, ...]
    options: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    signs: tuple[str, ...] = ()

    def canonical(self, name: str) -> str:
        """Return the usual name of a setting: aliases and unambiguous beginnings are resolved.

        Args:
            name: With ``_`` for ``-``.
        """
        if self.environment and name.startswith(self.environment):
            name = name.removeprefix(self.environment).lower()
        name = self.aliases.get(name, name)
        known = (*self.switches, *self.options)
        if not self.abbreviates or name in known or len(name) < 4:
            return name
        longer = [k for k in (*known, *self.aliases) if k.startswith(name)]
        names = {self.aliases.get(k, k) for k in longer}
        return names.pop() if len(names) == 1 else name

    def knows(self, name: str) -> bool:
        """Whether a setting about speculation is one that is known for this program."""
        return name in self.switches or name in self.options or name in self.inner


class When(_Strict):
    """What a setting must be for a rule to apply; all that is named must hold."""

    is_: tuple[str, ...] | None = Field(default=None, alias="is")
    is_not: tuple[str, ...] | None = None
    on: bool | None = None
    above: float | None = None
    below: float | None = None
    matches: str | None = None
    speculates: bool | None = None
    beside: str | None = None

    def holds(self, setting: ConfigSetting, subject: Subject) -> bool:
        """Whether a setting of a configuration is meant."""
        words = {setting.word, *(part.strip() for part in setting.word.split(","))}
        number = setting.number
        other = subject.find(self.beside) if self.beside else None
        return (
            (self.is_ is None or bool(words & set(self.is_)))
            and (self.is_not is None or setting.word not in self.is_not)
            and (self.on is None or setting.on == self.on)
            and (self.above is None or (number is not None and number > self.above))
            and (self.below is None or (number is not None and number < self.below))
            and (self.matches is None or re.search(self.matches, str(setting.value)) is not None)
            and (self.speculates is None or (subject.promise is not None) == self.speculates)
            and (self.beside is None or (other is not None and other.on))
        )


class LintRule(_Strict):
    """Knowledge about one setting. Fields: see the head of rules.toml."""

    id: str = Field(pattern=r"^[A-Z]+\d+$")
    kind: Literal["lossy", "history", "load", "width", "version", "unknown", "note"]
    stacks: tuple[str, ...]
    keys: tuple[str, ...]
    when: When = When()
    text: str
    mend: str
    source: str
    versions: str

    @property
    def severity(self) -> str:
        """How grave it is."""
        return {"lossy": "error", "note": "note"}.get(self.kind, "warning")

    def findings(self, subject: Subject) -> Iterator[LintFinding]:
        """Yield what the rule says about a configuration."""
        for setting in subject.settings:
            stack = setting.stack or subject.stack
            applies = stack == "unknown" or stack in self.stacks
            named = {setting.key, ".".join(setting.path[-2:])} & set(self.keys)
            if applies and named and self.when.holds(setting, subject):
                yield self.finding(subject, setting)

    def finding(self, subject: Subject, setting: ConfigSetting) -> LintFinding:
        """Return the finding at one setting. A control is meant to be lossy, which is noted."""
        return LintFinding(
            rule=self.id,
            kind=self.kind,
            severity="note" if subject.control else self.severity,
            subject=subject.name,
            file=setting.file,
            line=setting.line,
            setting=f"{setting.key}={setting.value!r:.80}",
            text=self.text,
            mend=self.mend,
            source=self.source,
            versions=self.versions,
        )


class Words(_Strict):
    """Words that are read alike for every program."""

    not_launchers: frozenset[str]
    containers: frozenset[str]
    valued: frozenset[str]
    speculative: str
    not_speculative: frozenset[str]


class _Programs(_Strict):
    program: tuple[Program, ...]
    words: Words


class _Rules(_Strict):
    rule: tuple[LintRule, ...]


@cache
def _programs() -> _Programs:
    return _Programs.model_validate(tomllib.loads(_data("programs.toml")))


def programs() -> tuple[Program, ...]:
    """Return the programs that lint knows, those with telling settings first."""
    return _programs().program


def program_of(stack: str) -> Program | None:
    """Return the program of a stack, None for one that is not known."""
    return next((p for p in programs() if p.stack == stack), None)


def words() -> Words:
    """Return the words that are read alike for every program."""
    return _programs().words


@cache
def rules() -> tuple[LintRule, ...]:
    """Return the rules that ship."""
    return _Rules.model_validate(tomllib.loads(_data("rules.toml"))).rule


def rule(rule_id: str) -> LintRule:
    """Return a rule that ships by its id."""
    return next(r for r in rules() if r.id == rule_id)


def added_rules(path: Path) -> tuple[LintRule, ...]:
    """Read rules of the user's own, in the format of rules.toml.

    Raises:
        DraftproofError: Not there, no TOML, a field that no rule has, or an id that ships.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise DraftproofError(f"{path}: larger than {_MAX_FILE:,} bytes")
        added = _Rules.model_validate(tomllib.loads(path.read_text("utf-8"))).rule
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DraftproofError(f"{path}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise DraftproofError(f"{path}: no TOML: {error}") from error
    taken = {r.id for r in rules()} & {r.id for r in added}
    if taken:
        raise DraftproofError(f"{path}: {min(taken)} is the id of a rule that ships")
    return added


def is_speculative(name: str) -> bool:
    """Whether a setting's name says that it is about speculation."""
    lower = name.lower()
    return _pattern().match(name) is not None and lower not in words().not_speculative


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(words().speculative)


def stack_of(names: Sequence[str]) -> str:
    """Return the stack whose signs are among the names of settings, else ``unknown``.

    Args:
        names: With ``_`` for ``-``, of any depth.
    """
    for program in programs():
        settings = {program.canonical(name) for name in names if is_speculative(name)} | set(names)
        if any(set(sign.split("+")) <= settings for sign in program.signs):
            return program.stack
    return "unknown"


def _data(name: str) -> str:
    return files("draftproof.lint").joinpath(name).read_text("utf-8")
