"""Calls on several cores: this process and its worker processes take them from one queue.

This process works too, so that the models it has loaded are there when the answers are judged. A
worker keeps its models between calls. It ends with this process, also when that is killed.

`concurrent.futures.ProcessPoolExecutor` does the starting and queueing alone: it has no progress of
a call, does not say which call a killed worker had and how it ended, waits for calls that run
when another has failed, and keeps idle workers when this process is killed. So workers are plain
processes here, each with a pipe of its own: what a killed one held blocks nobody else.
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
"""Called with the progress of a call that is under way."""
_Workers = dict[Connection, BaseProcess]
"""Worker processes by the pipes to them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function call that one process makes.

    Attributes:
        name: What the call does, for messages.
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
        jobs: Number of processes, this one included; with 1 there are no workers.
        preload: Modules that a worker imports while it waits for its first call.
    """

    def __init__(self, jobs: int = 1, preload: Sequence[str] = ()) -> None:
        self.jobs, self._preload = jobs, preload
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        self._workers: _Workers = {}

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        with _threads_in_environment(self._threads):
            for _ in range(self.jobs - 1):
                ours, theirs = context.Pipe()
                worker = context.Process(
                    target=_work, args=(theirs, tuple(self._preload), gc.get_threshold())
                )
                worker.start()
                theirs.close()
                self._workers[ours] = worker
        return self

    def __exit__(self, *_: object) -> None:
        for connection, worker in self._workers.items():
            worker.terminate()
            connection.close()
        for worker in self._workers.values():
            worker.join()
        self._workers = {}

    def do(
        self,
        calls: Sequence[Call],
        *,
        on_progress: Callable[[int, Any], None] = lambda number, progress: None,
        on_result: Callable[[int, Any], None],
    ) -> None:
        """Do every call, in the order given, as many at a time as there are processes.

        Args:
            calls: What to do.
            on_progress: Called with a call's number and its progress; never twice at a time.
            on_result: Called with a call's number and what it returned; never while
                `on_progress` runs.

        Raises:
            DraftproofError: A call failed or a worker exited; the others are stopped.
            RuntimeError: Another exception in a worker, with its traceback. One in this process is
                raised unchanged.
        """
        queue = _Queue(calls, on_progress, on_result)
        dispatcher = threading.Thread(target=queue.dispatch, args=(self._workers,), daemon=True)
        with _threads_here(self._threads if self.jobs > 1 else None):
            dispatcher.start()
            try:
                while (number := queue.take()) is not None:
                    call = calls[number]
                    progress = partial(queue.report_progress, number)
                    queue.report_result(number, call.function(*call.arguments, progress))
                dispatcher.join()
            except BaseException:
                for worker in self._workers.values():
                    worker.terminate()
                dispatcher.join()
                raise
        if queue.failure is not None:
            raise queue.failure

    def spread(
        self, name: str, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Call `function` with each of `arguments` and return the results in their order.

        Raises:
            DraftproofError: A call failed.
        """
        results: dict[int, Any] = {}
        calls = [Call(name, function, one) for one in arguments]
        self.do(calls, on_result=results.__setitem__)
        return [results[number] for number in range(len(arguments))]


class _Queue:
    """The calls to make, taken by this process and, through the dispatcher thread, by workers."""

    def __init__(
        self,
        calls: Sequence[Call],
        on_progress: Callable[[int, Any], None],
        on_result: Callable[[int, Any], None],
    ) -> None:
        self._calls, self._on_progress, self._on_result = calls, on_progress, on_result
        self._left = deque(range(len(calls)))
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def take(self) -> int | None:
        """Return the number of the next call, None where there is none or one has failed."""
        with self._lock:
            return self._left.popleft() if self._left and self.failure is None else None

    def report_progress(self, number: int, progress: Any) -> None:
        """Pass on the progress of a call.

        Raises:
            DraftproofError: Another call failed meanwhile.
        """
        if self.failure is not None:
            raise self.failure
        with self._lock:
            self._on_progress(number, progress)

    def report_result(self, number: int, result: Any) -> None:
        """Pass on what a call returned."""
        with self._lock:
            self._on_result(number, result)

    def dispatch(self, workers: _Workers) -> None:
        """Give workers calls until none is left and none is under way."""
        doing: dict[Connection, int] = {}
        try:
            for connection in workers:
                self._give(connection, doing, workers)
            while doing:
                for ready in wait(list(doing)):
                    assert isinstance(ready, Connection)
                    self._receive(ready, doing, workers)
        # whatever goes wrong here is raised in the thread that waits for the work
        except BaseException as error:
            self.failure = error

    def _give(
        self, connection: Connection, doing: dict[Connection, int], workers: _Workers
    ) -> None:
        doing.pop(connection, None)
        if (number := self.take()) is None:
            return
        doing[connection] = number
        try:
            connection.send(self._calls[number])
        except OSError:
            raise self._exited(number, workers[connection]) from None

    def _receive(
        self, connection: Connection, doing: dict[Connection, int], workers: _Workers
    ) -> None:
        number = doing[connection]
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            raise self._exited(number, workers[connection]) from None
        if kind == "progress":
            self.report_progress(number, content)
        elif kind == "error":
            raise DraftproofError(content)
        elif kind == "defect":
            raise RuntimeError(content)
        else:
            self.report_result(number, content)
            self._give(connection, doing, workers)

    def _exited(self, number: int, worker: BaseProcess) -> DraftproofError:
        worker.join()
        return DraftproofError(
            f"{self._calls[number].name}: the worker process exited without a message (exit code "
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
                threads = int(declared) if declared.isdigit() else os.cpu_count() or 1
                torch.set_num_threads(before or threads)


def _work(
    connection: Connection, preload: Sequence[str], gc_threshold: tuple[int, int, int]
) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    gc.set_threshold(*gc_threshold)

    def progress(content: Any) -> None:
        connection.send(("progress", content))

    try:
        for module in preload:
            # an extra that is missing is named by the call that needs it
            with suppress(ImportError):
                importlib.import_module(module)
        while True:
            call: Call = connection.recv()
            try:
                result = call.function(*call.arguments, progress)
                connection.send(("result", result))
            except DraftproofError as error:
                connection.send(("error", str(error)))
            # a defect of ours or of a library: reported as it is, not taken for a lack of memory
            except Exception as error:
                message = f"{call.name}: {type(error).__name__}: {error}"
                connection.send(("defect", f"{message}\n{traceback.format_exc()}"))
    except (EOFError, OSError):
        # the parent has closed the pipe
        os._exit(0)
    except KeyboardInterrupt:
        # the parent receives the same signal and reports it
        os._exit(130)


def _exit_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
