"""The process that stands between draftproof and a server that it started.

Run by its path as ``python -I -S watchdog.py GRACE -- COMMAND``, with nothing but the standard
library. It starts the command in a process group of its own and ends it, with all that it started
in turn, as soon as its standard input closes. A pipe closes however the other end dies, also by
kill -9. Its exit status is the command's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICK = 0.25


def _prctl() -> Callable[[int, int], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[[int, int], object] = ctypes.CDLL(None).prctl
    return function


def _descendants(pid: int) -> list[int]:
    """Return the processes that `pid` started, and theirs (Linux; elsewhere none)."""
    processes: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in file.read_text().split()]
        except OSError:
            continue
        for child in children:
            processes += [child, *_descendants(child)]
    return processes


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Ask the group to end, then make it, then whatever left the group."""
    if child.poll() is None:
        _signal_group(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()
    for _ in range(20):
        left = _descendants(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # a process whose parent died becomes ours to bury
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                return
        time.sleep(0.05)


def watch(grace: float, command: list[str]) -> int:
    """Run a command until it ends or standard input closes; return its status."""
    parent, prctl = os.getppid(), _prctl()
    asked_to_end = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    signal.signal(signal.SIGTERM, ask)
    # the terminal's Ctrl-C is for draftproof, which then closes the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prctl:
        prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def before_the_command() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prctl:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=before_the_command,  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr)
        return 127
    try:
        while child.poll() is None and not asked_to_end and os.getppid() == parent:
            ready, _, _ = select.select([0], [], [], _TICK)
            if ready and not os.read(0, 4096):
                break
    finally:
        ended_by_itself = child.poll()
        _end(child, grace)
    return child.returncode if ended_by_itself is None else ended_by_itself


if __name__ == "__main__":
    _status = watch(float(sys.argv[1]), sys.argv[3:])
    sys.exit(_status if _status >= 0 else 128 - _status)
