"""An answer as it comes, in colours, and what speculation did for it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from draftproof.decoding import Generation, Part
    from draftproof.decoding.rules.rule import Rule

_COLOURS = {"d": "green", "c": "bold red", "b": "cyan", "p": "default"}
_MEANINGS = {"d": "drafted", "c": "corrected", "b": "bonus", "p": "plain"}
_UNION = 2
_BAR = 30


def visible(text: str) -> str:
    """Return a text with everything replaced that a terminal might obey.

    >>> visible("a" + chr(27) + "[31mb" + chr(0x202E))
    'a�[31mb�'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def write(part: Part, console: Console) -> None:
    """Write what a round added, each token in the colour of how it came about."""
    answer = part.answer
    styled = zip(part.text, (_style(answer, owner) for owner in part.owners), strict=True)
    for style, run in groupby(styled, key=lambda pair: pair[1]):
        console.out(visible("".join(c for c, _ in run)), style=style, highlight=False, end="")
    console.file.flush()


def _style(answer: Any, position: int) -> str:
    colour = _COLOURS[answer.provenance[position]]
    modes = answer.modes
    return f"{colour} underline" if modes and modes[position] == _UNION else colour


def counters(answer: Generation, seconds: float) -> dict[str, Any]:
    """Return what a finished answer's counters say; None where nothing was drafted."""
    return {
        "tokens": len(answer.tokens),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(len(answer.tokens) / seconds, 1) if seconds else None,
        "rounds": answer.rounds,
        "drafted": answer.drafted,
        "accepted": answer.accepted,
        "acceptance": answer.acceptance,
        "tokens_per_round": answer.tokens_per_round,
        "histogram": list(answer.histogram),
    }


def document(answer: Generation, seconds: float, rule: Rule) -> dict[str, Any]:
    """Return an answer as one JSON document."""
    from draftproof.decoding.rules import SafetyAware  # noqa: PLC0415 - torch
    from draftproof.decoding.rules.timeline import spans, timeline  # noqa: PLC0415

    course = timeline(rule, answer.matches) if isinstance(rule, SafetyAware) else []
    modes = [int(m) for m in answer.modes]
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "token_ids": list(answer.tokens),
        "provenance": answer.provenance,
        "modes": [span._asdict() for span in spans(modes)],
        "timeline": [moment._asdict() for moment in course],
        **counters(answer, seconds),
    }


def write_statistics(answer: Generation, seconds: float, console: Console) -> None:
    """Write how much was drafted and kept, and what each colour means."""
    figures = counters(answer, seconds)
    facts = [f"{figures['tokens']} tokens", f"{figures['tokens_per_second']} tokens/s"]
    if answer.rounds:
        facts.insert(1, f"{answer.tokens_per_round:.2f} a round")
        facts.append(f"{answer.acceptance:.0%} of {answer.drafted} drafted tokens accepted")
    if answer.modes:
        facts.append(f"{answer.modes.count('2')} in union mode (underlined)")
    facts.append(f"ended by {answer.finish_reason or 'you'}")
    console.print(" · ".join(facts), highlight=False, soft_wrap=True)
    letters = [x for x in "dcbp" if x in answer.provenance]
    if letters:
        origins = "  ".join(
            f"[{_COLOURS[x]}]{_MEANINGS[x]}[/] {answer.provenance.count(x)}" for x in letters
        )
        console.print(origins, highlight=False)
    if answer.rounds:
        _write_histogram(answer, console)


def _write_histogram(answer: Generation, console: Console) -> None:
    table = Table("accepted", "rounds", "", box=SIMPLE_HEAD, pad_edge=False)
    most = max(answer.histogram)
    for kept, rounds in enumerate(answer.histogram):
        table.add_row(str(kept), str(rounds), "█" * round(_BAR * rounds / most))
    console.print(table)
