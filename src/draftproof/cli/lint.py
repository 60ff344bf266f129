"""``draftproof lint``: what a configuration promises, without running it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from draftproof.cli.options import json_option
from draftproof.cli.output import reports_errors

_MEANING = {
    "L0": "lossy by declaration",
    "L1": "keeps the distribution of answers; the random numbers differ",
    "L2": "equal to greedy decoding up to rounding",
    "L3": "equal bit for bit",
    "unknown": "the settings that decide it cannot be read from here",
    None: "nothing speculates",
}


@click.command(
    epilog="\b\nExit codes:\n"
    "  0 nothing is lossy   3 something is lossy by declaration   2 it could not be read"
)
@click.argument("path", required=False)
@click.option("--command", help="Command line to check, in place of a PATH.")
@json_option
@click.option(
    "--sarif", is_flag=True, help="Print a SARIF log, which code hosts show beside the lines."
)
@reports_errors
def lint(path: str | None, command: str | None, as_json: bool, sarif: bool) -> None:
    """Find the settings of a configuration that are lossy by design.

    Nothing is started and no model is loaded. PATH is a plan, a serving configuration (YAML or
    JSON), a checkpoint (its directory or one of its JSON files), a script that starts servers, or
    the http:// address of a running server, which is asked for its settings only.
    """
    from draftproof.lint.lint import (  # noqa: PLC0415 - quick --help
        as_document,
        lint_command,
        lint_path,
        lint_server,
    )
    from draftproof.lint.sarif import as_sarif  # noqa: PLC0415

    if (path is None) == (command is None):
        raise click.UsageError("give either a PATH or --command")
    if as_json and sarif:
        raise click.UsageError("give --json or --sarif, not both")
    if path is None:
        judged = lint_command(command or "")
    elif path.startswith(("http://", "https://")):
        judged = lint_server(path)
    else:
        judged = lint_path(Path(path))
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
    sys.exit(3 if any(one.lossy for one in judged) else 0)


def _shown(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
