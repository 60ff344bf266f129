"""Options that several verbs have: one name, one help text and one default each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from draftproof.cli.lazy import RenamedOption

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
verdict_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the verdict document only."
)
margin_option = click.option(
    "--margin",
    type=SHARE,
    default=0.03,
    show_default=True,
    help="Largest change of a rate that still counts as none.",
)
gamma_option = click.option(
    "--gamma",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Tokens drafted in each round.",
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Type of the weights; auto is float32 on a CPU, elsewhere the checkpoint's.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="Where the models run: cpu, cuda, cuda:1, …"
)
trust_option = click.option(
    "--trust-remote-code", is_flag=True, help="Run Python code that a checkpoint contains."
)
target_help = "Model of the target: directory, hub name or lab:NAME"
draft_option = click.option(
    "--draft", help="Model of the draft: directory, hub name or lab:NAME (default: no speculation)."
)
rule_option = click.option(
    "--rule",
    default="exact",
    show_default=True,
    help="Acceptance rule; `draftproof rules` lists them.",
)


def named_values(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE pairs, the values as YAML.

    Raises:
        click.BadParameter: A pair is none, or its value cannot be read.
    """
    import yaml  # noqa: PLC0415 - quick --help

    named: dict[str, Any] = {}
    for part in value:
        key, equals, text = part.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{part!r} is not NAME=VALUE, like epsilon=0.09")
        try:
            named[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"{part!r}: the value cannot be read") from error
    return named


rule_options_option = click.option(
    "--rule-option",
    "rule_options",
    multiple=True,
    callback=named_values,
    metavar="NAME=VALUE",
    help="An option of the rule; may be repeated (default: the rule's own values).",
)
generation_config_option = click.option(
    "--ignore-generation-config",
    is_flag=True,
    help="Ignore the checkpoint's generation_config, such as penalties (default: apply it).",
)
limit_option = click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Ask the first N prompts of every task only (default: all).",
)


def subset_option(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of ``--subset``, which was called ``--half``."""
    return click.option(
        "--subset",
        "subset",
        cls=RenamedOption,
        before=("--half",),
        type=click.Choice(["full", "quick"]),
        default=default,
        show_default=True,
        help="Which prompts of a bundled battery: all, or the quick part of them.",
    )


unread_option = click.option(
    "--unread",
    multiple=True,
    metavar="LABEL",
    help="Label of answers that could not be read; may be repeated (always among them: unparsed, "
    "unknown, error, the empty label).",
)

accept_change_option = click.option(
    "--accept-change",
    is_flag=True,
    help="Go on although an arm has changed since it answered; the verdict says so.",
)

profile_option = click.option(
    "--profile",
    type=click.Choice(["exact", "tais", "tais-published"]),
    help="Rule that decides: exact; tais, the published criteria with the test repaired; "
    "tais-published, as they are printed (default: exact, or the plan's).",
)

require_option = click.option(
    "--require",
    type=click.Choice(["L3", "L2", "L1", "LS"]),
    help="Exit with 0 only for a PASS at this level or better: L3 bit for bit, L2 up to rounding, "
    "L1 in distribution, LS equal labels (default: LS, or the plan's).",
)
