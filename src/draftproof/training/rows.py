"""What a model is trained on: rows of token ids, and padded batches of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

IGNORED = -100
"""The label of a position without loss."""

_WIDTH = 16  # lengths are padded to multiples of this: every new shape makes oneDNN plan anew
_PADDING = 0  # any id will do: under a causal mask nothing before it reads it


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row, in the ids of the vocabulary of the model that learns it.

    Attributes:
        prompt: ids that are read and carry no loss: the rendered turns, and the beginning of the
            answer where one is given.
        answer: ids that are learnt, the end token included.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and answer."""
        return self.prompt + self.answer

    @property
    def labels(self) -> tuple[int, ...]:
        """The answer, and `IGNORED` for every id of the prompt."""
        return (IGNORED,) * len(self.prompt) + self.answer


def micro_batches(
    rows: Iterable[TrainingRow], size: int, seed: int, pool: int = 64
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield padded batches of rows of similar length, lengths in random order, until rows end.

    Sorting within a pool saves padding; shuffling the batches keeps a step from seeing one task
    only, since length gives the task away.

    Args:
        rows: source, may be endless.
        size: rows a batch; the last one of a source that ends may be smaller.
        seed: of the order of batches.
        pool: batches that are sorted together.

    Yields:
        Ids and labels, both `[size, width] int64`, padded on the right.
    """
    rng = random.Random(seed)
    source = iter(rows)
    while pooled := list(islice(source, pool * size)):
        pooled.sort(key=lambda row: len(row.ids))
        batches = [pooled[i : i + size] for i in range(0, len(pooled), size)]
        rng.shuffle(batches)
        for batch in batches:
            yield _collate(batch)


def _collate(rows: Sequence[TrainingRow]) -> tuple[Tensor, Tensor]:
    longest = max(len(row.ids) for row in rows)
    width = -(-longest // _WIDTH) * _WIDTH
    ids = torch.full((len(rows), width), _PADDING)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        labels[i, : len(row.labels)] = torch.tensor(row.labels)
    return ids, labels
