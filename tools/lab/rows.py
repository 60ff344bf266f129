"""The corpus in token ids, as `draftproof.training` reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from draftproof.training.rows import TrainingRow
from tools.lab.example import Example
from tools.lab.tokenizer import prompt_ids


def training_row(tokenizer: Any, example: Example) -> TrainingRow:
    """Return an example's ids; only the answer and its end are learnt."""
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    return TrainingRow(
        prompt=tuple(prompt_ids(tokenizer, example.prompt, example.prefix)),
        answer=(*answer, tokenizer.eos_token_id),
    )


def training_rows(tokenizer: Any, examples: Iterable[Example]) -> Iterator[TrainingRow]:
    """Yield the rows of examples, as they are drawn."""
    return (training_row(tokenizer, example) for example in examples)
