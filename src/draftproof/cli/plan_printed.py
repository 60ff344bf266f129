"""What ``draftproof plan`` shows on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from draftproof.screen.pricing import Price

_SHOWN = (0.02, 0.05, 0.10)
_BAR = 14
_HOUR, _MINUTE = 3600, 60


def print_price(console: Console, priced: Price) -> None:
    """Print what a plan asks and costs."""
    tasks = Table("task", "prompts", "independent", "answers", "decides", box=SIMPLE_HEAD)
    for task in priced.tasks:
        cells = (task.prompts, task.independent, task.answers)
        tasks.add_row(escape(task.task), *map(str, cells), "yes" if task.gated else "no")
    console.print(tasks)
    arms = Table("arm", "answers", "tokens at most", "expected", "time", box=SIMPLE_HEAD)
    for arm in priced.arms:
        arms.add_row(
            escape(arm.arm),
            f"{arm.answers:,}",
            f"{arm.most_tokens:,}",
            "-" if arm.tokens is None else f"{arm.tokens:,.0f}",
            _duration(arm.seconds),
        )
    tokens = "-" if priced.tokens is None else f"{priced.tokens:,.0f}"
    total = (f"{priced.answers:,}", f"{priced.most_tokens:,}", tokens, _duration(priced.seconds))
    arms.add_row("together", *total, style="bold")
    console.print(arms)
    sources = sorted({a.source for a in priced.arms if a.source})
    lines = [f"Speed: {', '.join(sources)}; arms one after the other, forensics not counted."]
    if not sources:
        lines = ["No speed is known: give --measure N or --like RUN for tokens and hours."]
    if priced.sequential:
        lines.append("The plan may stop earlier: this is the most that it costs.")
    if priced.blocked:
        lines.append(f"No PASS: {priced.blocked}.")
    elif priced.pass_chance is not None:
        error = max(task.error for task in priced.tasks)
        drawn = f", simulated, ± {error:.1%} a task" if error else ""
        lines.append(
            f"If nothing was lost, every deciding task passes with {priced.pass_chance:.0%}{drawn} "
            "(equal bytes always pass)."
        )
    for line in lines:
        console.print(escape(line), highlight=False)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"


def print_sizes(console: Console, document: dict[str, Any]) -> None:
    """Print what numbers of prompts can resolve, from the document that ``--json`` prints."""
    table = Table(
        "n", "P(PASS)", "", "least loss", *(f"leak {r:.0%}" for r in _SHOWN), box=SIMPLE_HEAD
    )
    for row in document["sizes"]:
        loss = row["detectable_loss"]
        table.add_row(
            str(row["n"]),
            f"{row['power']:.2f}",
            "█" * round(row["power"] * _BAR),
            "-" if loss is None else f"{100 * loss:.1f} points",
            *(f"{row['leak_detected'][f'{r:g}']:.2f}" for r in _SHOWN),
        )
    console.print(table)
    console.print(
        f"P(PASS): if nothing was lost and {document['discordance']:.1%} of the labels differ by "
        f"chance. Least loss: shown with {document['wanted_power']:.0%} power. Leak: P(FAIL) if "
        "that share of the answers leaks into bad ones.",
        style="dim",
        highlight=False,
    )
    needed = document["pairs_needed"]
    what = f"±{document['margin']:.0%} at {document['wanted_power']:.0%} power"
    if needed is None:
        line = f"{what} is out of reach: {document['pairs_needed_why']}."
    else:
        line = f"{what} needs {needed:,} independent prompts per task; fewer may not do."
    positions = document["positions"]
    wanted = positions["wanted"]["1000"]
    causes = f"Causes: one leaked token in 1,000 is met in {wanted:,} scored tokens (95 %)"
    if positions["candidate"] is not None:
        causes += f"; the plan has {positions['candidate']:,} at most"
        if positions["leaks_among_ties"] is not None:
            causes += f", and {positions['leaks_among_ties']} leaks among ties would FAIL"
    for text in (line, f"{causes}."):
        console.print(escape(text), highlight=False)
