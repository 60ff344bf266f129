"""``draftproof serve``: our decoder behind the OpenAI-compatible protocol."""

from __future__ import annotations

import ipaddress
from typing import Any

import click

from draftproof.cli.options import (
    device_option,
    dtype_option,
    gamma_option,
    generation_config_option,
    trust_option,
)
from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def rule_options(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
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


@click.command()
@click.option("--target", required=True, help="Directory or hub name (lab:target for ours).")
@click.option("--draft", help="Directory or hub name of the draft (default: plain decoding).")
@gamma_option
@click.option("--rule", default="exact", show_default=True, help="Acceptance rule.")
@click.option(
    "--rule-option",
    "rule_options",
    multiple=True,
    callback=rule_options,
    metavar="NAME=VALUE",
    help="A parameter of the rule; may be repeated.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
@click.option(
    "--expose",
    is_flag=True,
    help="Allow a host that other machines can reach. There is no key and no encryption.",
)
@click.option("--served-name", help="Name of the model in the protocol (default: the target's).")
@click.option(
    "--max-length",
    type=click.IntRange(8),
    default=4096,
    show_default=True,
    help="Most tokens of prompt and answer together.",
)
@click.option(
    "--queue",
    "waiting",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Requests that may wait; more are turned away with 429.",
)
@generation_config_option
@dtype_option
@device_option
@trust_option
@reports_errors
def serve(
    target: str, host: str, port: int, expose: bool, served_name: str | None, **options: Any
) -> None:
    """Serve a target over the OpenAI-compatible protocol.

    With or without a draft. Chat and text completions, streamed or not; one request is decoded at a
    time. Every response says how much was drafted and accepted, and /metrics adds it up.
    """
    if not expose and not _is_loopback(host):
        raise DraftproofError(
            f"{host} can be reached by other machines, and the server asks for no key; "
            "give --expose if that is meant"
        )
    try:
        import uvicorn  # noqa: PLC0415 - an extra

        from draftproof.serve import Service, create_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"serving needs {error.name}; run: pip install 'draftproof[serve]'"
        ) from error
    service = Service(target, name=served_name, **options)
    hosts = ("*",) if expose else ("127.0.0.1", "localhost", "[::1]")
    stderr().print(
        f"serving {service.name} at http://{host}:{port} "
        f"({'γ=' + str(service.gamma) if service.gamma else 'plain decoding'}, "
        f"{service.capacity} tokens)",
        markup=False,
        highlight=False,
    )
    uvicorn.run(
        create_app(service, hosts),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
