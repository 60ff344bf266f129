"""The command line: one file a verb, each of which parses, calls and prints."""

from __future__ import annotations

import gc

import click

from draftproof.cli.lazy import LazyGroup

SECTIONS = {
    "Screen": {
        "demo": "Screen the models that ship: two candidates must pass, the control must fail.",
        "screen": "Ask prompts with and without speculation, and judge the differences.",
        "compare": "Judge two files of recorded answers, a baseline's and a candidate's.",
        "audit": "Score the answers of one deployment with the model that it should be.",
        "rejudge": "Score and judge the answers of a run again, without generating.",
        "verify": "Verify a run against its receipt and its signature.",
        "sign": "Sign the receipt of a run, or make a key to sign with.",
        "plan": "Compute what a plan costs, and what its number of prompts can show.",
    },
    "Answers": {
        "score": "Label the answers of a run with a scorer or a judge.",
        "calibrate": "Measure a run's scorers against labels that people give.",
        "battery": "List the batteries of prompts, show one, or check one.",
        "lint": "Find the settings of a configuration that are lossy by design.",
    },
    "Decoder": {
        "generate": "Answer one prompt and show where every token came from.",
        "serve": "Serve a target, with or without a draft, over OpenAI's protocol.",
        "rules": "List the acceptance rules, and what each one promises.",
        "acceptance": "Measure how often a draft is accepted, and predict the fastest tree.",
        "check": "Check that the local decoder computes a model's own logits.",
        "noise": "Measure how far rounding moves a model's logits.",
        "mutants": "Check that every planted defect of the decoder is detected.",
    },
    "Models": {
        "export": "Export a model in the format of another stack.",
        "lab": "List the small models that ship, or fetch a real one.",
    },
    "Study": {
        "study": "Run the study of safety-aware decoding on the shipped models or yours.",
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
    "A model is a directory, a hub name, or lab:NAME for one that ships "
    "(`draftproof lab list`).\n\n"
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
    """Test whether speculative decoding changes the answers of a model."""
    # importing torch and transformers makes millions of objects that stay; looking through them
    # for garbage all the while took a seventh of the start
    gc.set_threshold(100_000, 10, 10)


__all__ = ["main"]
