"""``draftproof serve``: our decoder behind the OpenAI-compatible protocol."""

from __future__ import annotations

import ipaddress
from typing import Any

import click

from draftproof.cli.options import (
    device_option,
    draft_option,
    dtype_option,
    gamma_option,
    generation_config_option,
    rule_option,
    rule_options_option,
    target_help,
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


@click.command()
@click.option("--target", required=True, help=f"{target_help}.")
@draft_option
@gamma_option
@rule_option
@rule_options_option
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
    help="Allow a host that other machines can reach. There is no authentication and "
    "no encryption.",
)
@click.option(
    "--served-name", help="Name of the model in requests and responses (default: the target's)."
)
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
    help="Requests that may wait; further ones get status 429.",
)
@generation_config_option
@dtype_option
@device_option
@trust_option
@reports_errors
def serve(
    target: str, host: str, port: int, expose: bool, served_name: str | None, **options: Any
) -> None:
    """Serve a target, with or without a draft, over OpenAI's protocol.

    Serves chat and text completions, streamed or not. Requests are decoded one at a time. Every
    response says how many tokens were drafted and accepted; /metrics has the totals.
    """
    if not expose and not _is_loopback(host):
        raise DraftproofError(
            f"--host {host}: other machines can reach this address, and the server has no "
            "authentication; give --expose to allow it, or use 127.0.0.1"
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
