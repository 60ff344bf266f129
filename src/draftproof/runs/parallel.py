"""Work on several cores: this process and workers beside it take calls from one queue.

This process works too, so that what it has loaded is there when the answers are judged. A worker
stays until the end and keeps what it has loaded as well. It dies with this process, also when
that is killed: a thread of it waits for the end and leaves.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from draftproof.records import DraftproofError

Tell = Callable[[Any], None]
"""Called with news of a call that is under way."""
_Crew = dict[Connection, BaseProcess]
"""Workers by the pipes to them."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one process is to do.

    Attributes:
        name: Of what is done, for messages.
        function: Of a module; its last argument is a `Tell`.
        arguments: Its other arguments.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


class Workers:
    """This process and `jobs` - 1 workers, started on entering and gone on leaving.

    They share the processor's cores evenly. Used from one thread.

    Args:
        jobs: Processes at work, this one included; with 1 everything happens here.
        ahead: Modules that a worker imports while it waits for its first call.
    """

    def __init__(self, jobs: int = 1, ahead: Sequence[str] = ()) -> None:
        self.jobs, self._ahead = jobs, ahead
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        self._crew: _Crew = {}

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        with _threads_in_environment(self._threads):
            for _ in range(self.jobs - 1):
                ours, theirs = context.Pipe()
                worker = context.Process(
                    target=_worker, args=(theirs, tuple(self._ahead), gc.get_threshold())
                )
                worker.start()
                theirs.close()
                self._crew[ours] = worker
        return self

    def __exit__(self, *_: object) -> None:
        for connection, worker in self._crew.items():
            worker.terminate()
            connection.close()
        for worker in self._crew.values():
            worker.join()
        self._crew = {}

    def do(
        self,
        calls: Sequence[Call],
        *,
        heard: Callable[[int, Any], None] = lambda number, news: None,
        finished: Callable[[int, Any], None],
    ) -> None:
        """Do every call, in the order given, as many at a time as there are processes.

        Args:
            calls: What to do.
            heard: Called with a call's number and what it told; never twice at a time.
            finished: Called with a call's number and what it returned; never while `heard` runs.

        Raises:
            DraftproofError: A call failed or a worker ended; the others are stopped.
            RuntimeError: A worker met a defect, told with its traceback. One that this process
                meets is raised as it is.
        """
        queue = _Queue(calls, heard, finished)
        foreman = threading.Thread(target=queue.lead, args=(self._crew,), daemon=True)
        with _threads_here(self._threads if self.jobs > 1 else None):
            foreman.start()
            try:
                while (number := queue.take()) is not None:
                    call = calls[number]
                    queue.note(number, call.function(*call.arguments, partial(queue.hear, number)))
                foreman.join()
            except BaseException:
                for worker in self._crew.values():
                    worker.terminate()
                foreman.join()
                raise
        if queue.failure is not None:
            raise queue.failure

    def spread(
        self, name: str, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Return what `function` returns for each of `arguments`, in their order.

        Raises:
            DraftproofError: A call failed.
        """
        found: dict[int, Any] = {}
        self.do([Call(name, function, own) for own in arguments], finished=found.__setitem__)
        return [found[number] for number in range(len(arguments))]


class _Queue:
    """Calls that are to be done, taken by this process and, through a thread, by workers."""

    def __init__(
        self,
        calls: Sequence[Call],
        heard: Callable[[int, Any], None],
        finished: Callable[[int, Any], None],
    ) -> None:
        self._calls, self._heard, self._finished = calls, heard, finished
        self._left = deque(range(len(calls)))
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def take(self) -> int | None:
        """Return the number of the next call, None where there is none or one has failed."""
        with self._lock:
            return self._left.popleft() if self._left and self.failure is None else None

    def hear(self, number: int, news: Any) -> None:
        """Pass on what a call tells.

        Raises:
            DraftproofError: Another call failed meanwhile.
        """
        if self.failure is not None:
            raise self.failure
        with self._lock:
            self._heard(number, news)

    def note(self, number: int, result: Any) -> None:
        """Pass on what a call returned."""
        with self._lock:
            self._finished(number, result)

    def lead(self, crew: _Crew) -> None:
        """Have workers take calls until none is left and none is under way."""
        doing: dict[Connection, int] = {}
        try:
            for connection in crew:
                self._give(connection, doing, crew)
            while doing:
                for ready in wait(list(doing)):
                    assert isinstance(ready, Connection)
                    self._receive(ready, doing, crew)
        # whatever goes wrong here is raised in the thread that waits for the work
        except BaseException as error:
            self.failure = error

    def _give(self, connection: Connection, doing: dict[Connection, int], crew: _Crew) -> None:
        doing.pop(connection, None)
        if (number := self.take()) is None:
            return
        doing[connection] = number
        try:
            connection.send(self._calls[number])
        except OSError:
            raise self._ended(number, crew[connection]) from None

    def _receive(self, connection: Connection, doing: dict[Connection, int], crew: _Crew) -> None:
        number = doing[connection]
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            raise self._ended(number, crew[connection]) from None
        if kind == "news":
            self.hear(number, content)
        elif kind == "error":
            raise DraftproofError(content)
        elif kind == "defect":
            raise RuntimeError(content)
        else:
            self.note(number, content)
            self._give(connection, doing, crew)

    def _ended(self, number: int, worker: BaseProcess) -> DraftproofError:
        worker.join()
        return DraftproofError(
            f"{self._calls[number].name}: its process ended without a word (exit code "
            f"{worker.exitcode}); it may have run out of memory. Answers already given are kept; "
            "run the same command again, with --jobs 1 to keep one copy of the models only"
        )


@contextmanager
def _threads_in_environment(count: int) -> Iterator[None]:
    """Have the numeric libraries of processes started here use so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _threads_here(count: int | None) -> Iterator[None]:
    """Have the numeric libraries of this process, loaded or not yet, use so many threads."""
    if count is None:
        yield
        return
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(count)
    declared = os.environ.get("OMP_NUM_THREADS", "")
    with _threads_in_environment(count):
        try:
            yield
        finally:
            if torch := sys.modules.get("torch"):
                own = int(declared) if declared.isdigit() else os.cpu_count() or 1
                torch.set_num_threads(before or own)


def _worker(connection: Connection, ahead: Sequence[str], collecting: tuple[int, int, int]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    gc.set_threshold(*collecting)
    try:
        for module in ahead:
            # an extra that is missing is named by the call that needs it
            with suppress(ImportError):
                importlib.import_module(module)
        while True:
            call: Call = connection.recv()
            news = partial(_send, connection, "news")
            try:
                result = call.function(*call.arguments, news)
                _send(connection, "done", result)
            except DraftproofError as error:
                _send(connection, "error", str(error))
            # a defect of ours or of a library: told as it is, not taken for a lack of memory
            except Exception as error:
                told = f"{call.name}: {type(error).__name__}: {error}"
                _send(connection, "defect", f"{told}\n{traceback.format_exc()}")
    except (EOFError, OSError):
        # nobody is at the other end any more
        os._exit(0)
    except KeyboardInterrupt:
        # the parent hears the same signal and says so
        os._exit(130)


def _send(connection: Connection, kind: str, content: Any) -> None:
    connection.send((kind, content))


def _leave_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
