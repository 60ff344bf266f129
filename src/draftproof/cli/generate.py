"""``draftproof generate``: one answer, streamed, with how each token came about."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from draftproof.cli.answering import document, write, write_statistics
from draftproof.cli.options import (
    device_option,
    draft_option,
    dtype_option,
    gamma_option,
    generation_config_option,
    named_values,
    rule_option,
    rule_options_option,
    target_help,
    trust_option,
)
from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.decoding import SpeculativeDecoder

_INTERRUPTED = 130


@click.command()
@click.argument("prompt")
@click.option("--target", help=f"{target_help} (default: lab:target with lab:draft).")
@draft_option
@gamma_option
@click.option("--drafter", help="What proposes tokens: see docs/drafters.md (default: the draft).")
@click.option(
    "--drafter-option",
    "drafter_options",
    multiple=True,
    callback=named_values,
    metavar="NAME=VALUE",
    help="An option of the drafter, such as heads=lab:medusa; may be repeated (default: the "
    "drafter's own values).",
)
@rule_option
@rule_options_option
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0 is greedy.",
)
@click.option(
    "--top-p",
    type=float,
    help="Sample from the likeliest tokens with this total probability (default: all).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--max-new-tokens", type=int, default=256, show_default=True, help="Longest answer, in tokens."
)
@click.option(
    "--stop", multiple=True, help="String that ends the answer; may be repeated (default: none)."
)
@click.option("--raw", is_flag=True, help="Continue PROMPT as it is, without the chat template.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end.")
@click.option("--no-color", is_flag=True, help="Print plain text, also on a terminal.")
@generation_config_option
@dtype_option
@device_option
@trust_option
@reports_errors
def generate(prompt: str, raw: bool, as_json: bool, no_color: bool, **options: Any) -> None:
    """Answer one prompt and show where every token came from.

    PROMPT is a user's message; - reads it from stdin. The answer goes to stdout, the statistics to
    stderr. On a terminal, accepted tokens are green, corrected ones red and bonus tokens cyan;
    tokens of the union mode (rule safety_aware) are underlined.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise DraftproofError("the prompt is empty")
    decoder = _decoder(options)
    asked: Any = text if raw else [{"role": "user", "content": text}]
    wishes = {name: options[name] for name in ("temperature", "seed", "max_new_tokens", "stop")}
    wishes |= {"top_p": options["top_p"]} if options["top_p"] is not None else {}
    _answer(decoder, asked, wishes, as_json=as_json, no_color=no_color)


def _decoder(options: dict[str, Any]) -> SpeculativeDecoder:
    try:
        from draftproof.decoding import SpeculativeDecoder  # noqa: PLC0415 - quick --help
        from draftproof.stacks import models  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"the decoder needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    target, draft = options["target"], options["draft"]
    if target is None:
        target, draft = "lab:target", draft or (None if options["drafter"] else "lab:draft")
    place = (options["dtype"], options["device"], options["trust_remote_code"])
    return SpeculativeDecoder.from_pair(
        models.load(target, *place),
        models.load(draft, *place) if draft else None,
        gamma=options["gamma"],
        drafter=options["drafter"],
        rule=options["rule"],
        drafter_options=options["drafter_options"],
        rule_options=options["rule_options"],
        ignore_generation_config=options["ignore_generation_config"],
    )


def _answer(
    decoder: SpeculativeDecoder,
    asked: Any,
    wishes: dict[str, Any],
    *,
    as_json: bool,
    no_color: bool,
) -> None:
    """Stream the answer; after Ctrl-C, say what there was until then."""
    from draftproof.decoding.generation import finished  # noqa: PLC0415 - torch

    console, errors = Console(), stderr()
    if no_color:
        console, errors = Console(color_system=None), Console(stderr=True, color_system=None)
    generation, text, interrupted, begun = None, "", False, time.perf_counter()
    try:
        with closing(decoder.stream(asked, **wishes)) as parts:
            for part in parts:
                text += part.text
                generation = part.generation or finished(part.answer, text)
                if not as_json:
                    write(part, console)
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.perf_counter() - begun
    if generation is not None and generation.error:
        raise DraftproofError(generation.error)
    if as_json and generation is not None:
        click.echo(json.dumps(document(generation, seconds, decoder.rule), indent=1))
    elif generation is not None:
        console.out("", highlight=False)
        write_statistics(generation, seconds, errors)
    if interrupted:
        errors.print("stopped")
        sys.exit(_INTERRUPTED)
