"""Steps of one shape recorded once and replayed, so that a GPU waits for no Python.

A step of fixed shape always launches the same kernels on the same memory. A CUDA graph launches
them in one call; what changes from step to step is copied into buffers first. The graph belongs
to a cache, whose memory it addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.lean import LeanForward

MOST_COLUMNS = 64
"""Wider blocks (prompts) are run as they come."""
_WARM = 3
Recorder = Callable[[Callable[[], None]], Callable[[], None]]


class _Recorded(NamedTuple):
    """Buffers for ids, positions, the cache's places and the bias; the outputs; the replay."""

    inputs: tuple[torch.Tensor, ...]
    outputs: list[torch.Tensor | None]
    replay: Callable[[], None]
    held: Any
    """What the recorded step reads and nobody else may keep."""


def record_cuda(run: Callable[[], None]) -> Callable[[], None]:
    """Record what a function launches on the current CUDA device; return what launches it again.

    As torch asks for it: a few runs on a side stream first, then the capture.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


class CapturedForward:
    """Runs a `LeanForward` by replaying recorded steps.

    Args:
        lean: What is recorded.
        record: How; `record_cuda` on a GPU.
    """

    def __init__(self, lean: LeanForward, record: Recorder = record_cuda) -> None:
        self._lean, self._record = lean, record

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        bias: torch.Tensor,
        cache: RowCache,
        keep: int,
        taps: tuple[int, ...],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `LeanForward.__call__`; the bias covers the whole cache.

        Returns:
            Copies of the recorded step's outputs, which the next replay overwrites.
        """
        key = (ids.shape, keep, taps, bias.shape)
        held = cache.recorded.get(key)
        if held is None:
            held = self._recorded(ids, positions, bias, cache, keep, taps)
            cache.recorded[key] = held
        for buffer, value in zip(held.inputs, (ids, positions, cache.slot_ids, bias), strict=True):
            buffer.copy_(value)
        held.replay()
        logits, states = held.outputs
        assert logits is not None
        return logits.clone(), None if states is None else states.clone()

    def _recorded(
        self, ids: torch.Tensor, positions: torch.Tensor, bias: torch.Tensor, cache: RowCache,
        keep: int, taps: tuple[int, ...],
    ) -> _Recorded:  # fmt: skip
        """Run a step once, which allocates what there is to allocate, and record it."""
        self._lean(ids, positions, bias, cache, keep, taps)
        inputs = tuple(t.clone() for t in (ids, positions, cache.slot_ids, bias))
        outputs: list[Any] = [None, None]

        def run() -> None:
            given, cache.slot_ids = cache.slot_ids, inputs[2]
            try:
                outputs[:] = self._lean(inputs[0], inputs[1], inputs[3], cache, keep, taps)
            finally:
                cache.slot_ids = given

        return _Recorded(inputs, outputs, self._record(run), self._lean.tables(cache))
