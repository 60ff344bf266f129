"""The processes that vLLM computes in: failures there are reported, what hangs is ended."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any

from draftproof.records import DraftproofError

Processes = Callable[[], Iterable[BaseProcess]]
LOOK_EVERY = 1.0
"""Seconds between looks at whether an engine's processes live."""
_JOIN = 5.0


def engine_processes() -> frozenset[BaseProcess]:
    """Return the engine processes that this process has started and that still live.

    vLLM computes in a process beside this one, which it starts as a child by that name, unless it
    is told otherwise (VLLM_ENABLE_V1_MULTIPROCESSING=0).
    """
    children = multiprocessing.active_children()
    return frozenset(c for c in children if c.name.startswith("EngineCore"))


@contextmanager
def starting(arm: str, seconds: float, processes: Processes) -> Iterator[None]:
    """Say of which arm a failing start is, and end the processes of one that takes too long.

    Their end wakes vLLM, which looks after them while it starts.

    Args:
        arm: The arm's name.
        seconds: How long it may take.
        processes: The processes that belong to the arm's engine, asked when they are to end.

    Raises:
        DraftproofError: It failed or took too long.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        for process in processes():
            process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except DraftproofError:
        raise
    # whatever a library's engine raises: a dead process, an assertion, an option it refuses
    except Exception as error:
        if late.is_set():
            raise _late(arm, "its start", seconds, "ready_timeout") from error
        raise _failed(arm, "its start", error) from error
    finally:
        timer.cancel()


def attended(
    arm: str, doing: str, seconds: float, processes: Iterable[BaseProcess], call: Callable[[], Any]
) -> Any:
    """Return what a call into an engine returns, while its processes live and are in time.

    The call is made beside, because vLLM waits for ever for a process that was killed: nothing
    wakes it. An engine inside this very process is called directly and cannot be ended.

    Args:
        arm: The arm's name.
        doing: What is being done, for messages.
        seconds: How long it may take: the arm's ``timeout``.
        processes: The processes that belong to the arm's engine.
        call: What is to be done.

    Raises:
        DraftproofError: It failed, took too long, or a process has ended.
    """
    engine = tuple(processes)
    if not engine:
        try:
            return call()
        except Exception as error:
            raise _failed(arm, doing, error) from error
    outcomes: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcomes.put((call(), None))
        except Exception as error:
            outcomes.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    deadline = time.monotonic() + seconds
    ended: list[BaseProcess] = []
    while True:
        with suppress(queue.Empty):
            result, failure = outcomes.get(timeout=LOOK_EVERY)
            break
        # a process that ends by itself is given the time of one look to say why
        if ended:
            raise DraftproofError(
                f"arm {arm!r}: vLLM's process {ended[0].name} ended during {doing} (exit code "
                f"{ended[0].exitcode}); it may have run out of memory. Answers already given are "
                "kept, the same command asks for the others"
            )
        ended = [process for process in engine if not process.is_alive()]
        if time.monotonic() > deadline:
            for process in engine:
                process.kill()
                process.join(_JOIN)
            raise _late(arm, doing, seconds, "timeout")
    if failure is not None:
        raise _failed(arm, doing, failure) from failure
    return result


def _late(arm: str, doing: str, seconds: float, field: str) -> DraftproofError:
    return DraftproofError(
        f"arm {arm!r}: vLLM took more than {seconds:g} s for {doing} and was ended; answers "
        f"already given are kept. Give the arm a longer {field}, or look for why it hangs with "
        "VLLM_LOGGING_LEVEL=INFO"
    )


def _failed(arm: str, doing: str, error: Exception) -> DraftproofError:
    return DraftproofError(
        f"arm {arm!r}: vLLM fails at {doing}: {_reason(error)} (the output of its process is "
        "above; VLLM_LOGGING_LEVEL=INFO shows more)"
    )


def shut_down(llm: Any) -> None:
    """End an engine's processes; nothing where they have ended already."""
    with suppress(Exception):
        llm.llm_engine.engine_core.shutdown()


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    # a refused configuration: the first line counts the errors, the reason follows
    reason = next((line for line in lines if line.startswith("Value error")), None)
    return f"{kind}: {reason or lines[0]}" if lines else kind
