"""The verdict as tables and sentences on a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.box import ASCII2, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftproof.records import Comparison, Role, State, TaskEvidence, Verdict
from draftproof.report import wording
from draftproof.report.escape import printable
from draftproof.report.findings import not_compared, parts_by_profile

STATE_STYLE = {
    State.PASS: "bold green",
    State.FAIL: "bold red",
    State.INCONCLUSIVE: "bold yellow",
    State.INVALID: "bold magenta",
}
_ROOMY = 116
"""From this width on, role and token rate get columns of their own."""


_NAMES_WHOLE = 88
"""From this width on, a name of up to 18 characters fits beside the longest state."""


class _Printer:
    """Makes cells that are safe to print and that this console's encoding can carry."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.unicode = console.encoding.lower().startswith("utf")

    def text(self, value: str, style: str = "", limit: int = 400) -> Text:
        safe = printable(value, limit=limit)
        if not self.unicode:
            safe = safe.encode(self.console.encoding, "replace").decode(self.console.encoding)
        return Text(safe, style=style)

    def table(self, title: str) -> Table:
        box: Box = SIMPLE_HEAD if self.unicode else ASCII2
        heading = self.text(title, "bold", limit=160)
        return Table(
            title=heading, title_justify="left", box=box, pad_edge=False, padding=(0, 1, 0, 0)
        )

    def state(self, comparison: Comparison) -> Text:
        note = wording.expectation(comparison)
        wanted = comparison.role is Role.CONTROL and comparison.expected
        style = "bold green" if wanted else STATE_STYLE[comparison.state]
        cell = self.text(comparison.state.value, style)
        if note:
            cell.append(f"\n{note}", style="dim" if comparison.expected else style)
        return cell

    def say(self, *parts: Text) -> None:
        self.console.print(Text.assemble(*parts), soft_wrap=False)


def print_verdict(
    verdict: Verdict, console: Console, *, detail: bool = False, report: Path | None = None
) -> None:
    """Print the table of arms, the tasks behind it and the verdict sentences.

    Args:
        verdict: What to print.
        console: Where to; colour and width are the console's own business.
        detail: Show the tasks of every comparison, not only of the first candidate.
        report: Where the full report was written, printed as the last line.
    """
    printer = _Printer(console)
    console.print(_arms(verdict, printer))
    shown = list(wording.comparisons(verdict)) if detail else list(verdict.candidates[:1])
    for comparison in shown:
        if comparison.tasks:
            console.print(_tasks(comparison, verdict, printer))
    for comparison in verdict.candidates:
        _sentence(comparison, printer)
    measured = (c.stack_noise for c in verdict.candidates if c.stack_noise)
    for text in dict.fromkeys(n.text for n in measured if n.instrument):
        printer.say(printer.text(f"rounding: {text}", "dim", limit=1000))
    for line in dict.fromkeys(not_compared(c) for c in verdict.candidates):
        printer.say(printer.text(line, "dim", limit=1000))
    for comparison in verdict.controls:
        _sentence(comparison, printer)
    for comparison in verdict.noise:
        if not comparison.expected:
            _sentence(comparison, printer)
    for broken in (r for r in verdict.relations if not r.held):
        printer.say(
            printer.text("relation violated: ", "bold yellow"), printer.text(broken.text, limit=400)
        )
    for candidate in filter(parts_by_profile, verdict.candidates):
        states = ", ".join(f"{r.profile} {r.state.value}" for r in candidate.profiles)
        printer.say(printer.text(f"{candidate.name} under other profiles: {states}", limit=400))
    for warning in verdict.warnings:
        printer.say(printer.text("warning: ", "bold yellow"), printer.text(warning, limit=2000))
    console.print()
    printer.say(
        printer.text(verdict.state.value, STATE_STYLE[verdict.state]),
        printer.text("  "),
        printer.text(verdict.sentence, "bold", limit=2000),
    )
    if report is not None:
        # never wrapped: a path broken over two lines cannot be opened
        console.print(printer.text(f"Report: {report}", limit=4000), soft_wrap=True)


def _sentence(comparison: Comparison, printer: _Printer) -> None:
    state = printer.state(comparison)
    printer.say(
        printer.text(state.plain.split("\n")[0], str(state.style)),
        printer.text("  "),
        printer.text(comparison.sentence, limit=2000),
    )


def _arms(verdict: Verdict, printer: _Printer) -> Table:
    roomy = printer.console.width >= _ROOMY
    table = printer.table(f"{verdict.name}: every arm against {verdict.baseline}")
    # a name is not broken while everything else still fits
    longest = max((len(c.name) for c in wording.comparisons(verdict)), default=0)
    least = min(longest, 18) if printer.console.width >= _NAMES_WHOLE else None
    table.add_column("arm", overflow="fold", max_width=None if roomy else 18, min_width=least)
    if roomy:
        table.add_column("role", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("identical", justify="right", no_wrap=True)
    table.add_column("differ because", overflow="fold")
    table.add_column(
        "regressions" if roomy else "regressed\n/improved", justify="right", no_wrap=True
    )
    if roomy:
        table.add_column("improvements", justify="right", no_wrap=True)
    table.add_column("accepted" if roomy else "accepted\n/per round", justify="right", no_wrap=True)
    if roomy:
        table.add_column("tokens/round", justify="right", no_wrap=True)
    for comparison in (
        *verdict.noise, *verdict.candidates, *verdict.variants, *verdict.controls
    ):  # fmt: skip
        table.add_row(*_arm_row(comparison, printer, roomy))
    return table


def _arm_row(comparison: Comparison, printer: _Printer, roomy: bool) -> list[Text]:
    counts, activation = comparison.counts, comparison.activation
    name = printer.text(comparison.name, "bold", limit=60)
    role = printer.text(comparison.role.value, "dim")
    causes = wording.causes(counts)
    separator = ", " if roomy else "\n"
    why = separator.join(wording.tally(*entry) for entry in causes.items()) or "-"
    identical = wording.percent(wording.share(counts.identical, counts.n))
    lost, gained = wording.flips(comparison)
    rate = (
        wording.percent(activation.acceptance_rate, 0)
        if activation.acceptance_rate is not None
        else "-"
    )
    rounds = wording.number(activation.tokens_per_round, 1) if activation.rounds else "-"
    head = [name, role] if roomy else [Text("\n").join([name, role])]
    middle = [printer.state(comparison)]
    middle += [printer.text(cell) for cell in (wording.number(counts.n), identical)]
    middle.append(Text("\n").join([printer.text(line) for line in why.split("\n")]))
    if roomy:
        return head + middle + [printer.text(cell) for cell in (lost, gained, rate, rounds)]
    speed = rate if rate == rounds == "-" else f"{rate} / {rounds}"
    return head + middle + [printer.text(f"{lost} / {gained}"), printer.text(speed)]


def _tasks(comparison: Comparison, verdict: Verdict, printer: _Printer) -> Table:
    margin = wording.points(wording.margin_of(verdict), signed=False)
    table = printer.table(
        f"{comparison.name}: tasks, net loss in percentage points, margin {margin}"
    )
    table.add_column("task", overflow="fold", max_width=24)
    table.add_column("state", no_wrap=True)
    for heading in ("n", "regressed\n/improved", "net loss", "90% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in comparison.tasks:
        table.add_row(*_task_row(task, printer))
    return table


def _task_row(task: TaskEvidence, printer: _Printer) -> list[Text]:
    state = printer.text(task.state.value, STATE_STYLE[task.state])
    if not task.gated:
        state = printer.text("not deciding", "dim")
    cells = (
        wording.number(task.n),
        f"{task.loss} / {task.gain}",
        wording.points(task.difference),
        wording.interval(task.interval),
        wording.probability(task.p_equivalence),
    )
    return [printer.text(task.task, limit=60), state, *(printer.text(cell) for cell in cells)]
