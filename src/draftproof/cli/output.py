"""What every verb shares: where words go, how progress looks, how errors end."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from draftproof.cli.lazy import RenamedOption
from draftproof.records import DraftproofError, Verdict

_PLAIN_EVERY = 10.0


def stderr() -> Console:
    """Return the console for progress and errors; stdout is for results alone."""
    return Console(stderr=True)


def fail(message: str) -> NoReturn:
    """Print an error and end with exit code 2."""
    stderr().print(f"[bold red]error:[/] {plain(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)


def plain(text: str) -> str:
    """Return a text that a terminal and rich's markup take as it is."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    return shown.replace("[", r"\[")


def reports_errors(verb: Callable[..., None]) -> Callable[..., None]:
    """Turn expected failures of a verb into one line and exit code 2."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
        except DraftproofError as error:
            fail(str(error))
        except KeyboardInterrupt:
            stderr().print("stopped; answers already given are kept, the same command resumes")
            sys.exit(130)
        except BrokenPipeError:
            # the reader went away; nothing more can be said to it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    return wrapped


@contextmanager
def progress_of_arms(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a listener that shows a bar an arm, or plain lines where there is no terminal."""
    console = stderr()
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, TaskID] = {}

            def show(arm: str, done: int, total: int) -> None:
                if arm not in tasks:
                    tasks[arm] = bars.add_task(arm, total=total)
                bars.update(tasks[arm], completed=done)

            yield show
    else:
        yield _plain_lines(console)


def _plain_lines(console: Console) -> Callable[[str, int, int], None]:
    last: dict[str, float] = {}

    def say(arm: str, done: int, total: int) -> None:
        now = time.monotonic()
        if arm in last and done < total and now - last[arm] < _PLAIN_EVERY:
            return
        if arm in last and done == total and last[arm] == float("inf"):
            return
        last[arm] = float("inf") if done == total else now
        console.print(f"{arm}: {done} of {total}", highlight=False, markup=False)

    return say


def _key(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        from draftproof.runs.signature import read_private_key  # noqa: PLC0415 - an extra

        try:
            # before hours of answers, not after them
            read_private_key(value)
        except DraftproofError as error:
            raise click.BadParameter(str(error)) from error
    return value


sign_option = click.option(
    "--sign-key",
    "sign",
    cls=RenamedOption,
    before=("--sign",),
    type=click.Path(path_type=Path),
    callback=_key,
    metavar="KEYFILE",
    help="Private key (PEM, Ed25519) to sign the receipt with (default: no signature).",
)


def finish(
    verdict: Verdict,
    directory: Path | None,
    *,
    as_json: bool,
    detail: bool = False,
    sign: Path | None = None,
) -> None:
    """Write the reports, print the verdict, make the receipt of the directory."""
    from draftproof.report import print_verdict, to_json, write_all  # noqa: PLC0415 - matplotlib
    from draftproof.runs.receipt import write_receipt  # noqa: PLC0415

    written = write_all(verdict, directory) if directory is not None else {}
    if as_json:
        click.echo(to_json(verdict))
    else:
        print_verdict(verdict, Console(), detail=detail, report=written.get("html"))
    if directory is not None:
        write_receipt(directory, sign)
