"""Training a model on the answers of rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from draftproof.training.rows import IGNORED, TrainingRow, micro_batches

Progress = Callable[[str], None]
"""Receives one line of text at a time."""

LAST_WEIGHT = 8.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns.

    Attributes:
        steps: optimiser steps.
        rows: rows a step, taken as two micro batches of different length.
        rate: peak learning rate of AdamW, after a warm-up and then falling linearly to zero.
        seed: seed of the initial weights and of the order of batches.
    """

    steps: int
    rows: int
    rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Shape of a Llama model: hidden size, layers, attention heads, width of the MLP."""

    hidden: int
    layers: int
    heads: int
    mlp: int


def new_model(shape: LlamaShape, tokenizer: Any, seed: int, *, positions: int = 512) -> Any:
    """Build an untrained model that shares a tokenizer, its special ids taken from there.

    Args:
        shape: hidden size, layers, heads and width.
        tokenizer: the target's, if the model is to draft for it.
        seed: seed of the initial weights.
        positions: longest sequence, in tokens.
    """
    torch.manual_seed(seed)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    return model


def answer_loss(model: Any, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over the answer tokens.

    The last token before the end is what a checkable answer is judged by (the letter, the sum),
    yet it is one token of thirty; it weighs `LAST_WEIGHT`, all others 1.

    Right padding needs no mask: under a causal mask no answer token sees what follows it.

    Args:
        model: a causal LM with an end token in its configuration.
        ids: `[B, T] int64`.
        labels: `[B, T] int64`, `IGNORED` where there is no loss.

    Returns:
        The weighted sum in nats, and the sum of the weights.
    """
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    next_ids = labels[:, 1:]
    counted = next_ids != IGNORED
    before_end = torch.nn.functional.pad(next_ids[:, 1:] == model.config.eos_token_id, (0, 1))
    weights = torch.where(before_end, LAST_WEIGHT, 1.0)[counted]
    logits = model.get_output_embeddings()(hidden[:, :-1][counted]).float()
    loss = torch.nn.functional.cross_entropy(logits, next_ids[counted], reduction="none")
    return (loss * weights).sum(), weights.sum()


def train(model: Any, rows: Iterable[TrainingRow], schedule: Schedule, progress: Progress) -> None:
    """Train `model` in place with fp32 weights, under bf16 autocast where the CPU has bf16 units.

    Without them bf16 products are emulated and some thirty times slower than fp32.

    Args:
        model: a causal LM; weights without gradient stay as they are.
        rows: at least two micro batches a step, `schedule.steps * schedule.rows` in all.
        schedule: steps, rows a step, rate and seed.
        progress: receives a line every hundred steps.

    Raises:
        ValueError: The rows end before the steps do.
    """
    fast_bf16 = torch.cpu._is_avx512_bf16_supported()
    batches = micro_batches(rows, schedule.rows // 2, schedule.seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    warm = max(1, min(100, schedule.steps // 10))
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(
            (step + 1) / warm, max(0.0, 1 - (step - warm) / (schedule.steps - warm + 1))
        ),
    )
    model.train()
    began = time.monotonic()
    recent_loss, recent_weight, tokens = 0.0, 0.0, 0
    for step in range(schedule.steps):
        step_weight = 0.0
        for _ in range(2):
            try:
                ids, labels = next(batches)
            except StopIteration:
                raise ValueError(f"the rows end in step {step + 1} of {schedule.steps}") from None
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16):
                loss, weight = answer_loss(model, ids, labels)
            loss.backward()
            recent_loss += loss.item()
            step_weight += weight.item()
            tokens += ids.numel()
        recent_weight += step_weight
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= step_weight
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        falling.step()
        if (step + 1) % 100 == 0 or step + 1 == schedule.steps:
            speed = tokens / (time.monotonic() - began)
            mean = recent_loss / recent_weight
            progress(f"step {step + 1}/{schedule.steps} loss {mean:.3f} nats {speed:.0f} tok/s")
            recent_loss, recent_weight = 0.0, 0.0
    model.eval()
