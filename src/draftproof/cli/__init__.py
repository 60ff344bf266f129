"""The command line: one file a verb, each of which parses, calls and prints."""

from __future__ import annotations

import gc

import click

from draftproof.cli.lazy import LazyGroup

SECTIONS = {
    "Screen": {
        "demo": "Screen the shipped lab models: two must pass, one must fail.",
        "screen": "Screen a draft: does speculation change what the target says?",
        "compare": "Judge recorded answers of a candidate against a baseline's.",
        "audit": "Audit one deployment: do its answers follow this target up to rounding?",
        "rejudge": "Score and judge the answers of a finished run again.",
        "verify": "Verify a run against its receipt and its signature.",
        "sign": "Sign the receipt of a finished run, or make a key.",
        "plan": "Price a plan before it runs: answers, tokens, hours, power.",
    },
    "Answers": {
        "score": "Label the answers of a run with a scorer or a judge.",
        "calibrate": "Measure a run's scorers against people.",
        "battery": "List, show and check batteries.",
        "lint": "Check what a configuration promises, without running it.",
    },
    "Decoder": {
        "generate": "Answer one prompt and show how every token came about.",
        "serve": "Serve a target over the OpenAI-compatible protocol.",
        "rules": "List the acceptance rules with the promise each one makes.",
        "acceptance": "Measure how often a draft is accepted, and which tree pays.",
        "check": "Check that the local decoder computes what a model says.",
        "noise": "Measure how far rounding moves a model's logits.",
        "mutants": "Test the decoder's checks on copies with planted defects.",
    },
    "Models": {
        "export": "Export a model as another stack reads it.",
        "lab": "List the small models that ship; fetch a real one.",
    },
    "Study": {
        "study": "Run a published experiment, on the shipped models or yours.",
    },
}
"""Verbs by section, each with its first line, which its own help page begins with as well."""


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from draftproof import __version__  # noqa: PLC0415 - slow

        click.echo(f"draftproof, version {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    package="draftproof.cli",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExit codes of demo, screen, compare, audit and rejudge:\n"
    "  0 PASS   3 FAIL   4 INVALID   5 INCONCLUSIVE   2 something could not be done\n\n"
    "What the words mean (target, arm, leak, tie, ...): docs/glossary.md",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Does speculative decoding still refuse what your model refused?"""
    # importing torch and transformers makes millions of objects that stay; looking through them
    # for garbage all the while took a seventh of the start
    gc.set_threshold(100_000, 10, 10)


__all__ = ["main"]
