"""The heads that ship: Medusa and EAGLE heads for a target that was trained on the corpus."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from draftproof.decoding import CausalModel
from draftproof.records import DraftproofError
from draftproof.training.head_training import HeadRecipe, target_answers, train_sets
from draftproof.training.train import Progress
from tools.lab.corpus import Stream
from tools.lab.tokenizer import prompt_ids

PROMPTS, PROMPT_SEED, LIMIT = 4000, 21, 96
"""Prompts that the target answers, their seed, and the most tokens of an answer."""

RECIPES: dict[str, HeadRecipe] = {
    "medusa": HeadRecipe({"kind": "medusa", "heads": 3}, steps=400, seed=22),
    "eagle": HeadRecipe(
        {"kind": "eagle", "heads": 4, "kv_heads": 2, "width": 128, "mlp": 128, "taps": (-1,)},
        seed=23,
        regress=1.0,
    ),
    "eagle3": HeadRecipe(
        {"kind": "eagle3", "heads": 4, "kv_heads": 2, "width": 96, "mlp": 128, "taps": (1, 2, 3)},
        steps=300,
        seed=24,
        runs=3,
    ),
}


def corpus_prompts(tokenizer: Any, seed: int, count: int) -> list[list[int]]:
    """Return the different prompts among `count` rows of the training stream, in token ids."""
    prompts = dict.fromkeys(example.prompt for example in islice(Stream(seed), count))
    return [prompt_ids(tokenizer, prompt) for prompt in prompts]


def make_heads(
    place: Path, out: Path, *, seed: int, steps_scale: float = 1.0, progress: Progress
) -> None:
    """Train every set of heads of `RECIPES` for one target and write them under `out`.

    Args:
        place: directory of the target, its weights rounded as they ship, with its tokenizer.
        out: receives `<name>/config.json` and `<name>/model.safetensors`.
        seed: build seed.
        steps_scale: factor on the numbers of optimiser steps and of prompts.
        progress: receives one line of text at a time.

    Raises:
        DraftproofError: no target there, or one that never ends an answer.
    """
    try:
        module = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise DraftproofError(f"{place}: no target can be read from it: {error}") from error
    target = CausalModel(module, place.name)
    count = max(32, round(PROMPTS * min(1.0, steps_scale)))
    prompts = corpus_prompts(tokenizer, PROMPT_SEED + 1000 * seed, count)
    rows = target_answers(target, prompts, eos={int(tokenizer.eos_token_id)}, max_new_tokens=LIMIT)
    progress(f"heads: {len(rows)} answers of the target to learn from")
    if not rows:
        raise DraftproofError(f"{place}: no answer of this target ends within {LIMIT} tokens")
    recipes = {
        name: replace(
            recipe,
            steps=max(2, round(recipe.steps * steps_scale)),
            seed=recipe.seed + 1000 * seed,
        )
        for name, recipe in RECIPES.items()
    }
    train_sets(target, rows, recipes, out, progress)
