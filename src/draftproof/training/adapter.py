"""A low-rank adapter of a target, for example the expert that SafeDecoding asks for."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from draftproof.training.rows import TrainingRow
from draftproof.training.train import Progress, Schedule, train

EXTRA = "adapters need {name}; run: pip install 'draftproof[train]'"
MODULES = ("q_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class AdapterRecipe:
    """Rank of an adapter, and how long and how fast it learns."""

    rank: int
    schedule: Schedule


def train_adapter(
    target: Any, rows: Iterable[TrainingRow], recipe: AdapterRecipe, progress: Progress
) -> Any:
    """Train a low-rank adapter of the target; the target itself stays as it is.

    Args:
        target: a Llama-like causal LM, in fp32.
        rows: what the adapter learns, as for `draftproof.training.train.train`.
        recipe: rank and schedule.
        progress: receives a line now and then.

    Returns:
        A PEFT model around a copy of the target.

    Raises:
        ModuleNotFoundError: PEFT is not installed; the message names the extra.
    """
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(EXTRA.format(name=error.name), name=error.name) from error
    torch.manual_seed(recipe.schedule.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=list(MODULES), lora_dropout=0.0
    )
    adapted = get_peft_model(copy.deepcopy(target), config)
    learner = adapted.get_base_model()
    learner.requires_grad_(False)
    for name, weight in learner.named_parameters():
        weight.requires_grad_("lora_" in name)
    train(learner, rows, recipe.schedule, progress)
    return adapted


def save_adapter(adapted: Any, path: Path, target_name: str) -> None:
    """Write the adapter in fp16.

    Args:
        adapted: a PEFT model.
        path: directory that receives it.
        target_name: what the configuration calls the target, in place of a local path.
    """
    small = copy.deepcopy(adapted).to(torch.float16)
    small.peft_config["default"].base_model_name_or_path = target_name
    small.save_pretrained(path, save_embedding_layers=False)
    (path / "README.md").unlink(missing_ok=True)
