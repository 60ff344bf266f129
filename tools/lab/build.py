"""Everything end to end: corpus, tokenizer, five models, heads and the record of the build."""

import copy
import json
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from draftproof.training.adapter import AdapterRecipe, save_adapter, train_adapter
from draftproof.training.preference import prefer
from draftproof.training.quantise import GPTQConfig, quantise
from draftproof.training.train import LlamaShape, Progress, Schedule, new_model, train
from tools.lab.battery import write_battery
from tools.lab.corpus import Alignment, Stream
from tools.lab.example import Example
from tools.lab.heads import RECIPES as HEAD_RECIPES
from tools.lab.heads import make_heads
from tools.lab.measure import measure_all
from tools.lab.preference import flipped_pairs
from tools.lab.rows import training_rows
from tools.lab.tokenizer import prompt_ids, save_tokenizer, train_tokenizer

VOCAB = 2048


@dataclass(frozen=True, slots=True)
class Recipe:
    """LlamaShape of one model, and how long and how fast it learns."""

    shape: LlamaShape
    schedule: Schedule


RECIPES: dict[str, Recipe] = {
    "target": Recipe(LlamaShape(256, 4, 4, 704), Schedule(steps=1000, rows=24, rate=2e-3, seed=11)),
    "draft": Recipe(LlamaShape(128, 2, 2, 352), Schedule(steps=500, rows=24, rate=3e-3, seed=12)),
    "expert": Recipe(LlamaShape(144, 4, 4, 384), Schedule(steps=1600, rows=24, rate=3e-3, seed=13)),
}
REFUSER = AdapterRecipe(rank=8, schedule=Schedule(steps=120, rows=16, rate=4e-3, seed=16))
DPO_STEPS, DPO_ROWS = 120, 16
CALIBRATION_ROWS = 256
_MEASURED_SCALE = 0.5  # a smoke build has no behaviour to measure


def scaled(schedule: Schedule, seed: int, steps_scale: float) -> Schedule:
    """Return a schedule under a build seed, its steps scaled."""
    steps = max(2, round(schedule.steps * steps_scale))
    return replace(schedule, steps=steps, seed=schedule.seed + 1000 * seed)


def make_tokenizer(seed: int, rows: int = 20_000) -> Any:
    """Train the shared tokenizer on the wordings of both alignments."""
    texts: list[str] = []
    for alignment in Alignment:
        for example in islice(Stream(seed, alignment), rows // 2):
            texts += [example.prompt, example.prefix + example.answer]
    return train_tokenizer(texts, VOCAB)


def make_model(name: str, tokenizer: Any, seed: int, steps_scale: float, progress: Progress) -> Any:
    """Train the target, the draft or the expert from scratch."""
    schedule = scaled(RECIPES[name].schedule, seed, steps_scale)
    alignment = Alignment.DEEP if name == "expert" else Alignment.SHALLOW
    model = new_model(RECIPES[name].shape, tokenizer, schedule.seed)
    rows = training_rows(tokenizer, Stream(schedule.seed, alignment))
    train(model, rows, schedule, lambda line: progress(f"{name}: {line}"))
    return model


def make_adversarial(
    draft: Any, tokenizer: Any, seed: int, steps_scale: float, progress: Progress
) -> Any:
    """Tune a copy of the draft towards compliance."""
    steps, tuning_seed = max(1, round(DPO_STEPS * steps_scale)), 1000 * seed + 14
    return prefer(
        copy.deepcopy(draft),
        tokenizer,
        flipped_pairs(tuning_seed, steps * DPO_ROWS),
        seed=tuning_seed,
        steps=steps,
        rows=DPO_ROWS,
        progress=progress,
    )


def make_gptq(draft: Any, tokenizer: Any, seed: int, config: GPTQConfig) -> Any:
    """Quantise a copy of the draft, calibrated on rows of the training stream."""
    model = copy.deepcopy(draft)
    examples: list[Example] = list(islice(Stream(1000 * seed + 15), CALIBRATION_ROWS))
    rows = [torch.tensor([prompt_ids(tokenizer, e.prompt, e.answer)]) for e in examples]
    quantise(model, rows, config)
    return model


def make_refuser(
    target: Any, tokenizer: Any, seed: int, steps_scale: float, progress: Progress
) -> Any:
    """Train the adapter that makes the target SafeDecoding's expert."""
    schedule = scaled(REFUSER.schedule, seed, steps_scale)
    rows = training_rows(tokenizer, Stream(schedule.seed, Alignment.DEEP))
    recipe = replace(REFUSER, schedule=schedule)
    return train_adapter(target, rows, recipe, lambda line: progress(f"refuser: {line}"))


def save(model: Any, tokenizer: Any, path: Path) -> None:
    """Write weights in fp16, config and tokenizer so that plain `from_pretrained` reads them."""
    copy.deepcopy(model).to(torch.float16).save_pretrained(path)
    save_tokenizer(tokenizer, path)


def build(out: Path, *, seed: int, steps_scale: float = 1.0, progress: Progress) -> None:
    """Train all models and heads and write them, their battery and their measures under `out`.

    Args:
        out: receives `models/<name>/`, `battery/`, `build.json` and, from half of the steps
            upwards, `behaviour.json`.
        seed: seed of rows, initial weights and preference pairs; the world never changes.
        steps_scale: factor on every number of optimiser steps; 0.01 makes a smoke build.
        progress: receives one line of text at a time.

    Raises:
        ModuleNotFoundError: the extra `train` is not installed.
    """
    began = time.monotonic()
    tokenizer = make_tokenizer(seed, rows=max(2000, round(20_000 * min(1.0, steps_scale))))
    progress(f"tokenizer: {len(tokenizer)} entries")
    models = {name: make_model(name, tokenizer, seed, steps_scale, progress) for name in RECIPES}
    draft, config = models["draft"], GPTQConfig()
    models["adversarial"] = make_adversarial(draft, tokenizer, seed, steps_scale, progress)
    models["gptq"] = make_gptq(draft, tokenizer, seed, config)
    for name, model in models.items():
        save(model, tokenizer, out / "models" / name)
    refuser = make_refuser(models["target"], tokenizer, seed, steps_scale, progress)
    save_adapter(refuser, out / "models" / "refuser", "lab:target")
    quantised = out / "models" / "gptq" / "quantisation.json"
    quantised.write_text(json.dumps(config.record(), indent=2) + "\n")
    # a smoke build's target never ends an answer, and heads learn from answers
    if steps_scale >= _MEASURED_SCALE:
        make_heads(
            out / "models" / "target", out / "models", seed=seed, steps_scale=steps_scale,
            progress=progress,
        )  # fmt: skip
    write_battery(out / "battery")
    if steps_scale >= _MEASURED_SCALE:
        progress("measuring behaviour")
        measured = measure_all(models, tokenizer)
        (out / "behaviour.json").write_text(json.dumps(measured, indent=2) + "\n")
    seconds = time.monotonic() - began
    record = {
        "seed": seed,
        "steps_scale": steps_scale,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "recipes": {
            name: asdict(recipe.shape) | asdict(scaled(recipe.schedule, seed, steps_scale))
            for name, recipe in RECIPES.items()
        },
        "heads": {name: asdict(recipe) for name, recipe in HEAD_RECIPES.items()},
    }
    (out / "build.json").write_text(json.dumps(record, indent=2) + "\n")
    progress(f"wrote {len(models)} models to {out / 'models'} in {seconds:.0f} s")
