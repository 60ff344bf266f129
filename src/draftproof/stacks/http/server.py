"""A server that draftproof starts, waits for, watches and stops."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import httpx

from draftproof.records import DraftproofError
from draftproof.stacks.http import watchdog
from draftproof.stacks.http.options import command_words

_LOG = logging.getLogger(__name__)
_SAID_AFTER = 5.0
"""Seconds of waiting before a progress line is shown."""
GRACE = 10.0
"""Seconds between asking a server to end and making it."""
_PYTHON = (sys.executable, "-I", "-S")
_TAIL_LINES = 20
_TAIL_BYTES = 8192


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """One server process, stopped with everything it started on any end of this process.

    Args:
        arm: The arm's name, for messages and the log's name.
        command: Command line; ``{port}`` becomes a free port, ``{python}`` the Python that runs
            this. No shell reads it.
        url: Where it will listen, if not at ``http://127.0.0.1:{port}``.
        logs: Directory for its output; a temporary one if None.

    Raises:
        DraftproofError: The command cannot be read or the log cannot be written.
    """

    def __init__(self, arm: str, command: str, url: str | None, logs: Path | None) -> None:
        port = free_port()
        self.arm = arm
        self.url = url or f"http://127.0.0.1:{port}"
        folder = logs or Path(tempfile.mkdtemp(prefix="draftproof-"))
        self.log = folder / f"{arm}.log"
        try:
            words = command_words(command, port)
        except ValueError as error:
            raise DraftproofError(f"arm {arm!r}: serve cannot be read: {error}") from error
        if not words:
            raise DraftproofError(f"arm {arm!r}: serve is empty")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._start = log.tell()
                self._watchdog = subprocess.Popen(
                    [*_PYTHON, str(Path(watchdog.__file__)), str(GRACE), "--", *words],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise DraftproofError(
                f"arm {arm!r}: the server cannot be started: {error.strerror or error}"
            ) from error
        self._finalizer = weakref.finalize(self, _stop, self._watchdog)

    def stop(self) -> None:
        """End the server and everything it started; returns when all are gone."""
        self._finalizer()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return not self._finalizer.alive

    def check(self) -> None:
        """Raise if the server has ended.

        Raises:
            DraftproofError: With its exit status and the end of its log.
        """
        status = self._watchdog.poll()
        if status is not None:
            raise DraftproofError(
                f"arm {self.arm!r}: the server ended with status {status}; the end of "
                f"{self.log}:\n{self._tail()}"
            )

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the server says that it is healthy and lists a model.

        Raises:
            DraftproofError: It ended, or did not get that far in time.
        """
        begun = time.monotonic()
        deadline, told = begun + seconds, False
        pause = 0.05
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while True:
                self.check()
                if _is_ready(http, self.url):
                    return
                if time.monotonic() > deadline:
                    raise DraftproofError(
                        f"arm {self.arm!r}: the server was not ready after {seconds:g} s "
                        f"(ready_timeout); the end of {self.log}:\n{self._tail()}"
                    )
                if not told and time.monotonic() > begun + _SAID_AFTER:
                    told = True
                    _LOG.warning(
                        "arm %r: waiting for %s, up to %g s (ready_timeout); its output is in %s",
                        self.arm, self.url, seconds, self.log,
                    )  # fmt: skip
                time.sleep(pause)
                pause = min(pause * 1.5, 2.0)

    def _tail(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._start, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(the log is empty)"


def _is_ready(http: httpx.Client, url: str) -> bool:
    try:
        # a server without /health is asked for its models alone
        if http.get(f"{url}/health").status_code not in {200, 404, 405}:
            return False
        models = http.get(f"{url}/v1/models")
        return models.status_code == 200 and bool(models.json().get("data"))
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(GRACE + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
