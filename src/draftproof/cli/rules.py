"""``draftproof rules``: the acceptance rules and what they promise."""

from __future__ import annotations

import inspect
import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from draftproof.cli.options import json_option
from draftproof.cli.output import plain, reports_errors
from draftproof.records import DraftproofError

_MEANING = {
    "L0": "lossy by design",
    "L1": "keeps the distribution of answers",
    "L2": "equal to greedy decoding up to rounding",
    "L3": "equal bit for bit",
}
_REQUIRED = "required"


@click.command()
@json_option
@reports_errors
def rules(as_json: bool) -> None:
    """List the acceptance rules, and what each one promises."""
    try:
        from draftproof.decoding.rules import RULES, TreeRule  # noqa: PLC0415 - needs torch
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"the decoder needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    rows: list[dict[str, Any]] = [
        {
            "rule": name,
            "promise": str(rule.facts.promise),
            "means": _MEANING[rule.facts.promise],
            "what": (inspect.getdoc(rule) or "").splitlines()[0],
            "trees": issubclass(rule, TreeRule),
            "needs_draft_rows": rule.dense,
            "options": _options(rule),
        }
        for name, rule in sorted(RULES.items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "promise", "works on"):
        table.add_column(name, no_wrap=True)
    table.add_column("what it is, and its options")
    for row in rows:
        options = [name if value == _REQUIRED else f"{name}={value}"
                   for name, value in row["options"].items()]  # fmt: skip
        table.add_row(
            row["rule"],
            row["promise"],
            "chains, trees" if row["trees"] else "chains",
            plain(row["what"]) + (f"\n[dim]{plain(', '.join(options))}[/]" if options else ""),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print()
    for level, meaning in _MEANING.items():
        console.print(f"{level}  {meaning}")
    console.print("An option without a value has no default and must be given.")


def _options(rule: type) -> dict[str, Any]:
    """Return the rule's parameters with their defaults, `_REQUIRED` where there is none."""
    parameters = inspect.signature(rule).parameters.values()
    return {p.name: _REQUIRED if p.default is p.empty else p.default for p in parameters}
