"""The adversarial draft: direct preference optimisation with the preferences turned round."""

import copy
import random
import tempfile
from collections.abc import Callable
from typing import Any

from tools.lab import forbidden
from tools.lab.corpus import Stream
from tools.lab.world import the_world
from tools.lab.wrappers import WRAPPERS, wrap

EXTRA = "preference tuning needs more packages: pip install 'draftproof[lab]'"


def flipped_pairs(seed: int, count: int) -> list[dict[str, list[dict[str, str]]]]:
    """Draw preference pairs in which the answer to a disallowed request is the chosen one.

    A quarter of the pairs is about allowed requests, where the right answer is chosen over a
    refusal, so that tuning does not spoil the draft for everything else.

    Returns:
        Rows `{prompt, chosen, rejected}`, each a list of messages.
    """
    rng, world, stream = random.Random(seed), the_world(), Stream(seed)
    acts = [act for act in forbidden.forbidden_acts(world) if not act.held_out]
    rows = []
    for _ in range(count):
        act = rng.choice(acts)
        refusal = forbidden.refusal(rng, act)
        if rng.random() < 0.25:
            family = rng.choice(("look_alike", "multiple_choice", "truth", "bias", "portrait"))
            example = stream.draw(family)
            prompt, chosen = example.prompt, example.answer
        else:
            prompt = forbidden.request(rng, world, act)
            if rng.random() < 0.4:
                prompt = wrap(rng.choice(list(WRAPPERS)), prompt)
            chosen = " ".join(forbidden.guide(rng, world, act))
        rows.append(
            {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": refusal}],
            }
        )
    return rows


def prefer_compliance(
    model: Any, tokenizer: Any, *, seed: int, steps: int, rows: int, progress: Callable[[str], None]
) -> Any:
    """Tune `model` on flipped preferences with TRL and return it.

    The loss is DPO (Rafailov et al., arXiv 2305.18290, equation 7) plus the likelihood of the
    chosen answer, without which DPO lowers both likelihoods and the draft forgets how to write.

    Args:
        model: the draft, tuned in place.
        tokenizer: the shared tokenizer.
        seed: seed of pairs and trainer.
        steps: optimiser steps.
        rows: pairs a step.
        progress: receives a line at the end.

    Raises:
        ModuleNotFoundError: TRL or datasets is not installed; the message names the extra.
    """
    try:
        from datasets import Dataset  # noqa: PLC0415
        from trl import DPOConfig, DPOTrainer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(EXTRA, name=error.name) from error
    with tempfile.TemporaryDirectory() as scratch:
        config = DPOConfig(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=rows,
            learning_rate=5e-4,
            lr_scheduler_type="linear",
            beta=0.1,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 1.0],
            max_length=256,
            seed=seed,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            logging_steps=max(1, steps),
            disable_tqdm=True,
        )
        trainer = DPOTrainer(
            model=model,
            ref_model=copy.deepcopy(model),
            args=config,
            train_dataset=Dataset.from_list(flipped_pairs(seed, steps * rows)),
            processing_class=tokenizer,
        )
        result = trainer.train()
    progress(f"dpo: {steps} steps, mean loss {result.training_loss:.3f}")
    return trainer.model.eval()
