"""An audit as sentences on a terminal and as Markdown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftproof.files import write_whole
from draftproof.records import AuditDocument, DraftproofError
from draftproof.report import wording
from draftproof.report.document import to_json
from draftproof.report.escape import markdown_text, printable
from draftproof.report.terminal import STATE_STYLE

_ON_TERMINAL = 10
"""Most named tokens that a terminal shows."""
_HEADS = ("prompt", "token", "said", "target's choice", "nats behind")


def facts(audit: AuditDocument) -> list[tuple[str, str]]:
    """Return what was measured, as names and values."""
    scored = f"{audit.positions:,} in {audit.answers:,} answers"
    if audit.respelled:
        scored += f", {audit.respelled:,} of them spelled again from text"
    if audit.unexplained:
        scored += f"; {audit.unexplained:,} more without a usable log-probability"
    rows = [("target", audit.instrument), ("tokens scored", scored)]
    rows += [("not scored", f"{n} answers: {reason}") for reason, n in audit.left_out]
    if audit.epsilon is None or audit.epsilon_interval is None:
        return rows
    low, high = audit.epsilon_interval
    bound = "nothing bounds it" if audit.sigma_upper is None else f"at most {audit.sigma_upper:.2g}"
    margin = "none" if audit.margin is None else f"{audit.margin:.2g} nats"
    return [
        *rows,
        ("deviations from the target's choice", f"{audit.deviations:,}"),
        ("σ, scale of the rounding", f"{audit.sigma or 0:.2g} nats ({bound})"),
        ("ε, share that deviates whatever the gap",
         f"{audit.epsilon:.2%} (95 % interval {low:.2%} to {high:.2%})"),
        ("named", f"{audit.named:,} tokens beyond {margin}"),
        ("smallest share of leaked tokens that would be found", f"{audit.smallest_share:.2%}"),
    ]  # fmt: skip


def print_audit(audit: AuditDocument, console: Console) -> None:
    """Print what was measured, the named tokens and the state."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts(audit):
        grid.add_row(Text(name, "dim"), Text(printable(value, limit=400)))
    console.print(Text(f"audit of {printable(audit.name, limit=160)}", "bold"))
    console.print(grid)
    if audit.tokens:
        table = Table(*_HEADS, box=None, pad_edge=False)
        for row in _rows(audit)[:_ON_TERMINAL]:
            table.add_row(*(Text(printable(cell, limit=60)) for cell in row))
        console.print()
        console.print(table)
        if audit.named > _ON_TERMINAL:
            console.print(f"and {audit.named - _ON_TERMINAL:,} more", highlight=False)
    console.print()
    for reason in audit.reasons:
        console.print(Text(printable(reason, limit=2000)))
    style = STATE_STYLE[audit.state]
    console.print(Text.assemble((audit.state.value, style), "  ", (audit.sentence, "bold")))


def audit_markdown(audit: AuditDocument) -> str:
    """Return the audit as GitHub Markdown: nothing in it pings, links or acts."""
    glyph = wording.STATE_GLYPH[audit.state]
    lines = [
        f"## {glyph} {audit.state.value}: audit of {markdown_text(audit.name, limit=160)}",
        "",
        f"**{markdown_text(audit.sentence)}**",
        "",
        *(f"- {markdown_text(reason)}" for reason in audit.reasons),
        "",
        *(f"- {markdown_text(name)}: {markdown_text(value)}" for name, value in facts(audit)),
    ]
    if audit.tokens:
        lines += ["", f"| {' | '.join(_HEADS)} |", "| --- | ---: | --- | --- | ---: |"]
        for row in _rows(audit):
            lines.append(f"| {' | '.join(markdown_text(cell, limit=60) for cell in row)} |")
    version = markdown_text(audit.draftproof_version)
    note = f"draftproof {version}, {audit.created}, exit code {audit.exit_code}"
    lines += ["", f"<sub>{note}</sub>"]
    return "\n".join(lines) + "\n"


def write_audit(audit: AuditDocument, directory: Path) -> Path:
    """Write audit.json and audit.md into a directory; returns the latter.

    Raises:
        DraftproofError: The directory cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DraftproofError(f"report: cannot write to {directory}: {reason}") from error
    write_whole(directory / "audit.json", to_json(audit))
    return write_whole(directory / "audit.md", audit_markdown(audit))


def _rows(audit: AuditDocument) -> list[tuple[str, ...]]:
    return [
        (t.id, str(t.position), repr(t.token), repr(t.best), f"{t.deviation:.2f}")
        for t in audit.tokens
    ]
