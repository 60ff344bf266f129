"""Direct preference optimisation of a draft."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

EXTRA = "preference tuning needs {name}; run: pip install 'draftproof[train]'"


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A user turn, the answer that is preferred and the one that is not."""

    prompt: str
    chosen: str
    rejected: str

    def messages(self) -> dict[str, list[dict[str, str]]]:
        """Return the pair as TRL reads it: `{prompt, chosen, rejected}`, each a conversation."""
        turns = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        return {
            field: [{"role": role, "content": getattr(self, field)}]
            for field, role in turns.items()
        }


def prefer(
    model: Any,
    tokenizer: Any,
    pairs: Iterable[PreferencePair],
    *,
    seed: int,
    steps: int,
    rows: int,
    progress: Callable[[str], None],
) -> Any:
    """Tune `model` with TRL towards the chosen answers and return it.

    The loss is DPO (Rafailov et al., arXiv 2305.18290, equation 7) plus the likelihood of the
    chosen answer, without which DPO lowers both likelihoods and the model forgets how to write.

    Args:
        model: a causal LM, tuned in place.
        tokenizer: its tokenizer, with a chat template.
        pairs: `steps * rows` of them.
        seed: seed of the trainer.
        steps: optimiser steps.
        rows: pairs a step.
        progress: receives a line at the end.

    Raises:
        ModuleNotFoundError: TRL or datasets is not installed; the message names the extra.
    """
    try:
        from datasets import Dataset  # noqa: PLC0415 - an extra
        from trl import DPOConfig, DPOTrainer  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(EXTRA.format(name=error.name), name=error.name) from error
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
            train_dataset=Dataset.from_list([pair.messages() for pair in pairs]),
            processing_class=tokenizer,
        )
        result = trainer.train()
    progress(f"dpo: {steps} steps, mean loss {result.training_loss:.3f}")
    return trainer.model.eval()
