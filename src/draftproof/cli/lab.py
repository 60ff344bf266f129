"""``draftproof lab``: the small models that ship, and a real one that can be fetched."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError

_MOVED = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of a verb that has moved: whatever it is called with, it names the new command."""


@click.group()
def lab() -> None:
    """List the small models that ship, or fetch a real one."""


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print names, digests and paths as JSON.")
@reports_errors
def list_models(as_json: bool) -> None:
    """List the models, heads and adapters that ship, with the digests of their weights."""
    from draftproof.lab.models import (  # noqa: PLC0415 - quick --help
        FETCHABLE,
        fetched_path,
        model_card,
        shipped_models,
    )

    models = list(shipped_models())
    card = str(model_card())
    there = {name: fetched_path(name) for name in FETCHABLE if fetched_path(name).is_dir()}
    if as_json:
        rows = [{**asdict(model), "path": str(model.path)} for model in models]
        fetchable = [
            {**asdict(model), "path": str(there[name]) if name in there else None}
            for name, model in FETCHABLE.items()
        ]
        click.echo(json.dumps({"models": rows, "fetchable": fetchable, "card": card}, indent=1))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("name", "kind", "bytes", "sha256 (first 16)"):
        table.add_column(head, no_wrap=True, justify="right" if head == "bytes" else "left")
    for model in models:
        table.add_row(f"lab:{model.name}", model.kind, f"{model.bytes:,}", model.sha256[:16])
    for name, one in FETCHABLE.items():
        kind = "model, fetched" if name in there else f"draftproof lab fetch {name}"
        table.add_row(f"lab:{name}", kind, f"{one.weights.bytes:,}", one.weights.sha256[:16])
    console = Console()
    console.print(table)
    console.print(f"directory: {models[0].path.parent}", highlight=False, soft_wrap=True)
    console.print(f"model card: {card}", highlight=False, soft_wrap=True)


@lab.command()
@click.argument("name")
@reports_errors
def fetch(name: str) -> None:
    """Download a real model and convert it.

    NAME is smollm2. The sizes of the download and on disk are printed first. The model is kept in
    your cache directory, and is then called lab:NAME wherever a model is named.
    """
    from draftproof.lab.fetch import fetch as fetch_model  # noqa: PLC0415 - quick --help

    def say(line: str) -> None:
        stderr().print(line, markup=False, highlight=False, soft_wrap=True)

    place = fetch_model(name, say)
    click.echo(place)


def _moved(name: str) -> click.Command:
    help_text = f"Moved: in a clone of the repository, run `python -m tools.lab {name}`."

    @click.command(name, context_settings=_MOVED, help=help_text, hidden=True)
    @click.pass_context
    @reports_errors
    def verb(context: click.Context) -> None:
        arguments = " ".join(["python -m tools.lab", name, *context.args])
        raise DraftproofError(
            f"`draftproof lab {name}` has moved out of the package; in a clone of the repository "
            f"run: {arguments}"
        )

    return verb


for _name in ("build", "heads"):
    lab.add_command(_moved(_name))
