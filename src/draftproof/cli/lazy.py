"""A group of verbs that imports a verb when it is called, and options that were renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Verbs in sections; a verb's module is imported when the verb is called, not for `--help`.

    After click's documented pattern, "Lazily Loading Subcommands".

    Args:
        sections: First lines of the verbs' help pages, by verb, by section.
        package: Holds a module a verb, which holds the command under the same name.
        options: Of `click.Group`.
    """

    def __init__(
        self, *, sections: Mapping[str, Mapping[str, str]], package: str, **options: Any
    ) -> None:
        super().__init__(**options)
        self.sections, self._package = sections, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs' names in the order of their sections."""
        return [verb for section in self.sections.values() for verb in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb and return it, None if there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(import_module(f"{self._package}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, section by section."""
        width = max(len(verb) for verb in self.list_commands(ctx))
        for title, verbs in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), line) for verb, line in verbs.items()])


class RenamedOption(click.Option):
    """An option that still takes its names of before, which no help page shows.

    Args:
        declarations: Names of today, as of `click.Option`.
        before: Names of the last release.
        attributes: Of `click.Option`.
    """

    def __init__(
        self, declarations: Sequence[str], *, before: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__([*declarations, *before], **attributes)
        self._before = frozenset(before)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return what the help page says of the option, under its names of today."""
        every = self.opts
        self.opts = [name for name in every if name not in self._before]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = every
