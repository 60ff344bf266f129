"""``draftproof battery``: what can be asked, what it holds, and what it could resolve."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from draftproof.cli.options import SHARE, json_option
from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.battery.contents import Contents, TaskContents

_UNRESOLVED = 5


@click.group()
def battery() -> None:
    """List the batteries of prompts, show one, or check one."""


@battery.command("list")
@json_option
@reports_errors
def list_(as_json: bool) -> None:
    """List the batteries that ship and those that are read from your copies."""
    from draftproof.battery import BUNDLED, COMPOSED  # noqa: PLC0415 - quick --help
    from draftproof.battery.catalogue import catalogue  # noqa: PLC0415

    entries = catalogue()
    if as_json:
        rows = [e.model_dump(mode="json", exclude={"tasks"}) for e in entries.values()]
        click.echo(json.dumps({"bundled": BUNDLED, "composed": COMPOSED, "catalogue": rows}))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("how to name it", no_wrap=True)
    for heading in ("what", "items", "licence"):
        table.add_column(heading, overflow="fold")
    for name in BUNDLED:
        table.add_row(name, "ships with draftproof", "", "Apache-2.0")
    for name in COMPOSED:
        table.add_row(f"{name}=FOLDER", "from your copies of its parts", "", "")
    for entry in entries.values():
        hub = all(t.source.hub for t in entry.tasks)
        how = f"{entry.name}=FOLDER" + (f"\nhub:{entry.name}" if hub else "")
        gated = " (gated)" if entry.access == "gated" else ""
        table.add_row(how, entry.title + gated, entry.items, entry.licence)
    Console().print(table)


@battery.command()
@click.argument("name")
@json_option
@reports_errors
def show(name: str, as_json: bool) -> None:
    """Show the source, licence, tasks and known defects of a public battery."""
    from draftproof.battery import BUNDLED, COMPOSED  # noqa: PLC0415 - quick --help
    from draftproof.battery.catalogue import entry_named  # noqa: PLC0415
    from draftproof.battery.tais import ORIGIN  # noqa: PLC0415

    ready = dict.fromkeys(BUNDLED, "ships with draftproof") | {n: ORIGIN[n] for n in COMPOSED}
    if name in ready:
        source = name if name in BUNDLED else f"{name}=FOLDER"
        document = {"name": name, "from": ready[name], "source": source}
        text = f"{name}: {ready[name]}\ncount its prompts: draftproof battery check {source}"
        click.echo(json.dumps(document, indent=1) if as_json else text)
        return
    entry = entry_named(name)
    if as_json:
        click.echo(json.dumps(entry.model_dump(mode="json"), indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(f"[bold]{escape(entry.title)}[/] ({escape(entry.items)})")
    for what, value in (
        ("from", entry.home),
        ("licence", entry.licence),
        ("access", entry.access),
        ("files", ", ".join(entry.files)),
        ("known SHA-256", ", ".join(f"{k} {' '.join(v)}" for k, v in entry.sha256.items())),
        ("tasks", ", ".join(t.name for t in entry.tasks)),
    ):
        console.print(f"{what}: {escape(value) or 'none'}", highlight=False, soft_wrap=True)
    for pitfall in entry.pitfalls:
        console.print(f"- {escape(pitfall)}", highlight=False, soft_wrap=True)


@battery.command()
@click.argument("source")
@click.option(
    "--margin",
    type=SHARE,
    default=0.03,
    show_default=True,
    help="Largest change of a rate that still counts as none.",
)
@click.option("--skip-bad", is_flag=True, help="Skip broken rows, and count them.")
@json_option
@reports_errors
def check(source: str, margin: float, skip_bad: bool, as_json: bool) -> None:
    """Count the prompts of a battery and say what their number can show.

    SOURCE is what `draftproof screen --battery` takes. The exit code is 5 if a gated task is too
    small for the margin, and 2 if ids repeat. A single table is read as a stream.
    """
    from draftproof.battery import Problems  # noqa: PLC0415 - quick --help

    problems = Problems() if skip_bad else None
    contents, about, ungated = _read(source, problems)
    if problems is not None and problems.count:
        about["skipped"] = problems.count
        for line in problems.first:
            stderr().print(f"skipped: {line}", markup=False, highlight=False, soft_wrap=True)
    tasks = [_resolution(t, margin, gated=t.task not in ungated) for t in contents.tasks]
    if as_json:
        document = {**about, "digest": contents.digest, "prompts": contents.n, "margin": margin}
        document |= {"repeated_ids": contents.repeated_ids, "tasks": tasks}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print(about, contents, tasks, margin)
    if contents.repeated_ids:
        raise DraftproofError(
            f"{source}: {contents.repeated_ids} ids occur more than once; answers are joined by id"
        )
    if any(t["gated"] and not t["resolves"] for t in tasks):
        sys.exit(_UNRESOLVED)


def _read(source: str, problems: Any) -> tuple[Contents, dict[str, Any], frozenset[str]]:
    from draftproof.battery import load_battery, stream_prompts  # noqa: PLC0415
    from draftproof.battery.contents import count_contents  # noqa: PLC0415
    from draftproof.battery.rows import SUFFIXES  # noqa: PLC0415

    path = Path(source)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        contents = count_contents(stream_prompts(path, problems=problems))
        if not contents.n:
            raise DraftproofError(f"{path}: the battery holds no prompts")
        return contents, {"name": path.stem, "source": source}, frozenset()
    loaded = load_battery(source, problems=problems)
    about = {
        "name": loaded.name,
        "source": loaded.source,
        "version": loaded.version,
        "licence": loaded.licence,
        "withheld": loaded.withheld,
    }
    return count_contents(loaded.prompts), about, loaded.ungated


def _resolution(task: TaskContents, margin: float, *, gated: bool) -> dict[str, Any]:
    from draftproof.stats.flips import flip_upper, flips_tolerated  # noqa: PLC0415

    tolerated = flips_tolerated(task.units, margin)
    return {
        **asdict(task),
        "largest_key": task.largest_key,
        "gated": gated,
        # the exact one-sided 95 % bound when not one pair flips
        "finest_margin": flip_upper(0, task.units),
        "flips_tolerated": max(tolerated, 0) if tolerated >= 0 else None,
        "resolves": tolerated >= 0,
    }


def _print(
    about: dict[str, Any], contents: Contents, tasks: list[dict[str, Any]], margin: float
) -> None:
    console = Console()
    known = ", ".join(f"{k} {v}" for k, v in about.items() if k not in {"name", "source"})
    console.print(f"{about['name']}: {contents.n} prompts, digest {contents.digest[:12]}",
                  markup=False, highlight=False)  # fmt: skip
    if known:
        console.print(known, markup=False, highlight=False)
    table = Table(
        *(Column(heading, no_wrap=True) for heading in ("task", "n", "units", "twice")), "keys",
        "finest margin, points", f"flips at ±{margin:.0%}", box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for task in tasks:
        keys = " ".join(f"{k}{v}" for k, v in task["keys"].items())
        flips = str(task["flips_tolerated"]) if task["resolves"] else "[red]cannot resolve[/]"
        table.add_row(
            escape(task["task"]) + ("" if task["gated"] else "\n  (not gated)"),
            str(task["n"]),
            str(task["units"]),
            str(task["duplicates"]),
            keys,
            f"±{math.ceil(task['finest_margin'] * 1000) / 10:.1f}",
            flips,
        )
    console.print(table)
