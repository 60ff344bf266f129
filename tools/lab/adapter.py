"""The expert of SafeDecoding: the target with a small adapter that is trained to refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from draftproof.training.train import Recipe, train
from tools.lab.corpus import Alignment, Stream

EXTRA = "adapters need the package peft: pip install 'draftproof[adapters]'"
MODULES = ("q_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class AdapterRecipe:
    """Shape and schedule of the adapter."""

    rank: int = 8
    steps: int = 120
    rows: int = 16
    rate: float = 4e-3
    seed: int = 16


def train_adapter(
    target: Any, tokenizer: Any, recipe: AdapterRecipe, progress: Callable[[str], None]
) -> Any:
    """Train a low-rank adapter of the target on deeply aligned rows; the target stays as it is.

    Args:
        target: The target, in fp32.
        tokenizer: The shared tokenizer.
        recipe: Rank and schedule.
        progress: Receives a line now and then.

    Returns:
        A PEFT model around a copy of the target.

    Raises:
        ModuleNotFoundError: PEFT is not installed; the message names the extra.
    """
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(EXTRA, name=error.name) from error
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=list(MODULES), lora_dropout=0.0
    )
    model = get_peft_model(copy.deepcopy(target), config)
    plan = Recipe(0, 0, 0, 0, steps=recipe.steps, rows=recipe.rows, rate=recipe.rate,
                  seed=recipe.seed)  # fmt: skip
    learner = model.get_base_model()
    learner.requires_grad_(False)
    for name, weight in learner.named_parameters():
        weight.requires_grad_("lora_" in name)
    train(learner, tokenizer, Stream(recipe.seed, Alignment.DEEP), plan, progress)
    return model


def save_adapter(model: Any, path: Path) -> None:
    """Write the adapter in fp16, without any path of the machine it was made on."""
    small = copy.deepcopy(model).to(torch.float16)
    small.peft_config["default"].base_model_name_or_path = "lab:target"
    small.save_pretrained(path, save_embedding_layers=False)
    (path / "README.md").unlink(missing_ok=True)
