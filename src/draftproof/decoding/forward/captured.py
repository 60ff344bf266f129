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
from draftproof.decoding.forward.protocol import Forward, TokenBlock, aimed

_MOST_COLUMNS = 64
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


class CapturedForward(Forward):
    """Runs a `LeanForward` by replaying recorded steps.

    Args:
        lean: What is recorded.
        record: How; `record_cuda` on a GPU.
    """

    kind = "lean"

    def __init__(self, lean: LeanForward, record: Recorder = record_cuda) -> None:
        self._lean, self._record = lean, record

    def serves(self, capacity: int) -> bool:
        """See `Forward.serves`."""
        return self._lean.serves(capacity)

    def open(self, rows: int, capacity: int) -> RowCache:
        """See `Forward.open`."""
        cache = self._lean.open(rows, capacity)
        cache.forward = self
        return cache

    def first(self, module: Any, layers: int) -> Forward:
        """See `Forward.first`."""
        return self._lean.first(module, layers)

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Forward.step`; the outputs are copies, since the next replay overwrites them."""
        if block.row is not None or block.ids.shape[1] > _MOST_COLUMNS:
            return self._lean.step(block, cache)
        view = aimed(block, cache, whole=True)
        ids, positions, bias = block.ids, view.queries, self._lean.bias(view)
        key = (ids.shape, block.keep, block.taps, bias.shape)
        held = cache.recorded.get(key)
        if held is None:
            held = self._recorded(ids, positions, bias, cache, block.keep, block.taps)
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
        self._lean.run(ids, positions, bias, cache, keep, taps)
        inputs = tuple(t.clone() for t in (ids, positions, cache.slot_ids, bias))
        outputs: list[Any] = [None, None]

        def run() -> None:
            given, cache.slot_ids = cache.slot_ids, inputs[2]
            try:
                outputs[:] = self._lean.run(inputs[0], inputs[1], inputs[3], cache, keep, taps)
            finally:
                cache.slot_ids = given

        return _Recorded(inputs, outputs, self._record(run), self._lean.tables(cache))
