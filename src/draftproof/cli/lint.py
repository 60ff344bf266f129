"""``draftproof lint``: what a configuration promises, without running it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from draftproof.cli.options import json_option
from draftproof.cli.output import reports_errors

if TYPE_CHECKING:
    from draftproof.lint.knowledge import LintRule

_MEANING = {
    "L0": "lossy by declaration",
    "L1": "keeps the distribution of answers; the random numbers differ",
    "L2": "equal to greedy decoding up to rounding",
    "L3": "equal bit for bit",
    "unknown": "nothing can be concluded, see below",
    None: "all of it was read and nothing speculates",
}


@click.command(
    epilog="\b\nExit codes:\n"
    "  0 all was read and nothing is lossy\n"
    "  3 something is lossy by declaration\n"
    "  5 nothing is known to be lossy, and something could not be read or is not known\n"
    "  2 the file could not be read at all"
)
@click.argument("path", required=False)
@click.option("--command", help="Command line to check, in place of a PATH.")
@click.option("--rules", "list_rules", is_flag=True, help="List what lint knows, and stop.")
@click.option(
    "--add-rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file with rules of your own, in the format that docs/lint.md shows.",
)
@json_option
@click.option(
    "--sarif", is_flag=True, help="Print a SARIF log, which code hosts show beside the lines."
)
@reports_errors
def lint(
    path: str | None,
    command: str | None,
    list_rules: bool,
    add_rules: Path | None,
    as_json: bool,
    sarif: bool,
) -> None:
    """Find the settings of a configuration that are lossy by design.

    Nothing is started and no model is loaded. PATH is a plan, a serving configuration (YAML or
    JSON, Kubernetes and compose files included), a checkpoint (its directory or one of its JSON
    files), a shell script, Dockerfile, systemd unit or Procfile that starts servers, or the http://
    address of a running server, which is asked for its settings only.
    """
    from draftproof.lint.knowledge import added_rules, rules  # noqa: PLC0415 - quick --help
    from draftproof.lint.lint import (  # noqa: PLC0415 - quick --help
        as_document,
        lint_command,
        lint_path,
        lint_server,
    )
    from draftproof.lint.sarif import as_sarif  # noqa: PLC0415

    added = added_rules(add_rules) if add_rules is not None else ()
    if list_rules:
        _list_rules((*rules(), *added), as_json=as_json)
        return
    if (path is None) == (command is None):
        raise click.UsageError("give either a PATH or --command")
    if as_json and sarif:
        raise click.UsageError("give --json or --sarif, not both")
    if path is None:
        judged = lint_command(command or "", added)
    elif path.startswith(("http://", "https://")):
        judged = lint_server(path, added)
    else:
        judged = lint_path(Path(path), added)
    if as_json or sarif:
        document = as_sarif(judged) if sarif else as_document(judged)
        click.echo(json.dumps(document, indent=1, ensure_ascii=True))
    else:
        for one in judged:
            level = one.promise or "plain"
            click.echo(_shown(f"{one.subject.name}: {level}, {_MEANING[one.promise]}"))
            for f in one.findings:
                head = f"  {f.file}:{f.line}: {f.severity} {f.rule} ({f.kind}) {f.setting}"
                click.echo(_shown(head))
                click.echo(_shown(f"    {f.text}; {f.mend}"))
                click.echo(_shown(f"    known from {f.source}; versions: {f.versions}"))
    lossy = any(one.lossy for one in judged)
    sys.exit(3 if lossy else 5 if any(one.unknown for one in judged) else 0)


def _list_rules(listed: Sequence[LintRule], *, as_json: bool) -> None:
    if as_json:
        documents = [r.model_dump(mode="json", exclude_none=True, by_alias=True) for r in listed]
        click.echo(json.dumps(documents, indent=1))
        return
    for r in listed:
        click.echo(f"{r.id} ({r.kind}) {', '.join(r.stacks)}: {', '.join(r.keys) or 'any'}")
        click.echo(f"    {r.text}; {r.mend}")
        click.echo(f"    known from {r.source}; versions: {r.versions}")


def _shown(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
