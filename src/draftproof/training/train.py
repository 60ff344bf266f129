"""Supervised training of a small Llama on the corpus stream."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from tools.lab.example import Example
from tools.lab.tokenizer import prompt_ids
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

IGNORED = -100
LAST_WEIGHT = 8.0
_WIDTH = 16  # lengths are padded to multiples of this: every new shape makes oneDNN plan anew


@dataclass(frozen=True, slots=True)
class Recipe:
    """Shape and schedule of one model.

    Attributes:
        hidden, layers, heads, mlp: the Llama shape.
        steps: optimiser steps.
        rows: examples a step, taken as two micro batches of different length.
        rate: peak learning rate of AdamW, after a warm-up and then falling linearly to zero.
        seed: seed of the initial weights and of the row stream.
    """

    hidden: int
    layers: int
    heads: int
    mlp: int
    steps: int
    rows: int
    rate: float
    seed: int


def new_model(recipe: Recipe, tokenizer: Any) -> Any:
    """Build an untrained model of the recipe's shape, its special ids taken from the tokenizer."""
    torch.manual_seed(recipe.seed)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    return model


def encode(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    """Token ids of a row and its labels; only the answer and its end carry loss."""
    given = prompt_ids(tokenizer, example.prompt, example.prefix)
    learnt = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    learnt = [*learnt, tokenizer.eos_token_id]
    return given + learnt, [IGNORED] * len(given) + learnt


def _collate(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    width = -(-longest // _WIDTH) * _WIDTH
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for i, (row, label) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(label)] = torch.tensor(label)
    return ids, labels


def micro_batches(
    tokenizer: Any, examples: Iterable[Example], size: int, seed: int, pool: int = 64
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield padded batches of rows of like length, lengths in random order.

    Sorting within a pool saves padding; shuffling the batches keeps a step from seeing one task
    only, since length gives the task away.

    Yields:
        Ids and labels, both `[size, width] int64`, padded on the right.
    """
    rng = random.Random(seed)
    source = iter(examples)
    while True:
        rows = [encode(tokenizer, e) for e in islice(source, pool * size)]
        rows.sort(key=lambda row: len(row[0]))
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        rng.shuffle(batches)
        for batch in batches:
            yield _collate(batch, tokenizer.pad_token_id)


def answer_loss(model: Any, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over the answer tokens.

    The last token before the end is what a checkable answer is judged by (the letter, the sum),
    yet it is one token of thirty; it weighs `LAST_WEIGHT`, all others 1.

    Right padding needs no mask: under a causal mask no answer token sees what follows it.

    Returns:
        The weighted sum in nats, and the sum of the weights.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = labels[:, 1:]
    kept = wanted != IGNORED
    before_end = torch.nn.functional.pad(wanted[:, 1:] == model.config.eos_token_id, (0, 1))
    weights = torch.where(before_end, LAST_WEIGHT, 1.0)[kept]
    logits = model.lm_head(hidden[:, :-1][kept]).float()
    loss = torch.nn.functional.cross_entropy(logits, wanted[kept], reduction="none")
    return (loss * weights).sum(), weights.sum()


def train(
    model: Any,
    tokenizer: Any,
    examples: Iterable[Example],
    recipe: Recipe,
    progress: Callable[[str], None],
) -> None:
    """Train `model` in place with fp32 weights, under bf16 autocast where the CPU has bf16 units.

    Without them bf16 products are emulated and some thirty times slower than fp32.
    """
    fast_bf16 = torch.cpu._is_avx512_bf16_supported()
    batches = micro_batches(tokenizer, examples, recipe.rows // 2, recipe.seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    warm = max(1, min(100, recipe.steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(
            (step + 1) / warm, max(0.0, 1 - (step - warm) / (recipe.steps - warm + 1))
        ),
    )
    model.train()
    began = time.monotonic()
    seen, total, tokens = 0.0, 0.0, 0
    for step in range(recipe.steps):
        weighed = 0.0
        for ids, labels in (next(batches), next(batches)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16):
                loss, weight = answer_loss(model, ids, labels)
            loss.backward()
            seen += loss.item()
            weighed += weight.item()
            tokens += ids.numel()
        total += weighed
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= weighed
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            speed = tokens / (time.monotonic() - began)
            progress(
                f"step {step + 1}/{recipe.steps} loss {seen / total:.3f} nats {speed:.0f} tok/s"
            )
            seen, total = 0.0, 0.0
    model.eval()
