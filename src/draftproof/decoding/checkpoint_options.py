"""What a checkpoint's own generation_config asks of every answer."""

from __future__ import annotations

from typing import Any

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,), "no_repeat_ngram_size": (0,), "min_length": (0,),
    "min_new_tokens": (0,), "bad_words_ids": ([],), "sequence_bias": ({}, []),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
}  # fmt: skip
"""Options that shape an answer whatever its temperature, with the values that change nothing."""


def checkpoint_options(module: Any) -> dict[str, Any]:
    """Return the options of a model's generation_config that change what its answers say.

    How to sample (temperature, top-p, top-k and the like), how many beams and how long an answer
    may be is the caller's to say and left out.

    Args:
        module: A transformers causal LM.

    Returns:
        By the names of transformers' `GenerationConfig`.
    """
    config = module.generation_config
    found = {name: getattr(config, name, None) for name in _NEUTRAL}
    return {n: v for n, v in found.items() if v is not None and v not in _NEUTRAL[n]}
