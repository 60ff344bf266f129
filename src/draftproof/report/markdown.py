"""The verdict as Markdown for a pull request: no answer text, nothing that pings or links."""

from __future__ import annotations

from draftproof.records import Comparison, Reason, State, Verdict
from draftproof.report import wording
from draftproof.report.escape import markdown_text
from draftproof.report.findings import findings, parts_by_profile

_REASONS = 12
"""Most reasons listed for one comparison."""


def to_markdown(verdict: Verdict) -> str:
    """Return the verdict, its table and its reasons as GitHub Markdown."""
    glyph = wording.STATE_GLYPH[verdict.state]
    lines = [
        f"## {glyph} {verdict.state.value}: {markdown_text(verdict.name, limit=80)}",
        "",
        f"**{markdown_text(verdict.sentence)}**",
        "",
        markdown_text(wording.resolution(verdict)),
        "",
        *_table(verdict),
    ]
    for comparison in wording.comparisons(verdict):
        lines += _reasons(comparison)
    if verdict.relations:
        lines += ["", "**Metamorphic relations**", ""]
        lines += [
            f"- {'held' if r.held else '**violated**'}: {markdown_text(r.text)}"
            for r in verdict.relations
        ]
    gaps = wording.unmeasured(verdict)
    if gaps:
        lines += ["", "**Not measured**", "", *(f"- {markdown_text(gap)}" for gap in gaps)]
    if verdict.warnings:
        lines += ["", "**Warnings**", ""]
        lines += [f"- {markdown_text(warning)}" for warning in verdict.warnings]
    version = markdown_text(verdict.draftproof_version, limit=40)
    created = markdown_text(verdict.created, limit=40)
    lines += ["", f"<sub>draftproof {version}, {created}, exit code {verdict.exit_code}</sub>"]
    return "\n".join(lines) + "\n"


def _table(verdict: Verdict) -> list[str]:
    heading = "| arm | role | state | n | identical | differ because "
    lines = [
        heading + "| regressions | improvements | accepted |",
        "| --- | --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for comparison in wording.comparisons(verdict):
        counts, activation = comparison.counts, comparison.activation
        lost, gained = wording.flips(comparison)
        note = wording.expectation(comparison)
        why = ", ".join(wording.tally(*entry) for entry in wording.causes(counts).items())
        cells = (
            markdown_text(comparison.name, limit=60),
            comparison.role.value,
            f"**{comparison.state.value}**" + (f" ({note})" if note else ""),
            wording.number(counts.n),
            wording.percent(wording.share(counts.identical, counts.n)),
            why or "-",
            lost,
            gained,
            wording.percent(activation.acceptance_rate, 0)
            if activation.acceptance_rate is not None
            else "-",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _reasons(comparison: Comparison) -> list[str]:
    reasons = [*comparison.reasons]
    for task in comparison.tasks:
        reasons += [reason for reason in task.reasons if reason.state is not State.PASS]
    unique = list(dict.fromkeys(reasons))
    lines = ["", f"**{comparison.state.value}** {markdown_text(comparison.sentence)}", ""]
    lines += [f"- {_reason(reason)}" for reason in unique[:_REASONS]]
    hidden = len(unique) - _REASONS
    lines += [f"- {heading}: {markdown_text(text)}" for heading, text in findings(comparison)]
    if parts_by_profile(comparison):
        lines += ["", "| profile | says | because |", "| --- | --- | --- |"]
        lines += [
            f"| {r.profile} | {r.state.value} | {markdown_text(r.text, limit=200) or '-'} |"
            for r in comparison.profiles
        ]
    if hidden > 0:
        lines.append(f"- and {hidden} more {wording.plural('reason', hidden)} in the report")
    return lines


def _reason(reason: Reason) -> str:
    task = f"{markdown_text(reason.task, limit=60)}: " if reason.task else ""
    return f"{reason.state.value}, {task}{markdown_text(reason.text)}"
