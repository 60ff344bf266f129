"""Which models the decoder can address and roll back, and how far."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from draftproof.decoding.masks import SERVED, makes_own
from draftproof.records import UnservedError


@dataclass(frozen=True, slots=True)
class Support:
    """How far a model is served.

    Attributes:
        positions: Tokens that a row can hold; None is any number.
        short_positions: Length up to which its short rope factors hold, where the long ones are
            served too; None otherwise.
        limit: Why no more, as the end of a sentence; empty where the model itself says so.
        window: Tokens that the narrowest windowed layer sees; None without one.
        keeps_logits: Whether the forward can compute the logits of some columns only.
        makes_masks: Whether its code builds its own masks, see `masks.makes_own`.
    """

    positions: int | None
    short_positions: int | None
    limit: str
    window: int | None
    keeps_logits: bool
    makes_masks: bool


def support_of(module: Any, config: Any, name: str) -> Support:
    """Return how far a model is served.

    Args:
        module: A transformers causal LM.
        config: Of its text part.
        name: What to call it in messages.

    Raises:
        UnservedError: It cannot be rolled back, takes no position ids, or takes no mask that
            differs from row to row.
    """
    other = "use --engine transformers for this model"
    if getattr(module.config, "is_encoder_decoder", False):
        raise UnservedError(f"{name}: an encoder-decoder model; a causal LM is needed")
    parameters = inspect.signature(module.forward).parameters
    for needed in ("position_ids", "past_key_values", "attention_mask"):
        if needed not in parameters:
            raise UnservedError(
                f"{name}: {type(module).__name__}.forward takes no {needed}, "
                f"so the local decoder cannot address its cache; {other}"
            )
    if config._attn_implementation not in SERVED:
        raise UnservedError(
            f"{name}: its attention is {config._attn_implementation!r}, which takes no mask that "
            f"differs from row to row; load it with one of {', '.join(sorted(SERVED))}"
        )
    own, windows = makes_own(module), set()
    for index, layer in enumerate(DynamicCache(config=config).layers):
        if type(layer) is DynamicSlidingWindowLayer:
            windows.add(int(layer.sliding_window))
        elif type(layer) is not DynamicLayer:
            raise UnservedError(
                f"{name}: layer {index} keeps a {type(layer).__name__}, a state that "
                f"cannot be rolled back when drafted tokens are rejected; {other}"
            )
    if windows and not own:
        raise UnservedError(
            f"{name}: its code cuts a window of {min(windows)} tokens out by itself, which rows "
            f"of different lengths cannot share; {other}"
        )
    positions, short, limit = _positions(module, config)
    return Support(
        positions, short, limit, min(windows, default=None), "logits_to_keep" in parameters, own
    )


def _positions(module: Any, config: Any) -> tuple[int | None, int | None, str]:
    """Return how many positions there are, where its rope factors change, and why no more.

    Which of longrope's factors turns a key depends on the longest text in the batch
    (``modeling_rope_utils``, ``longrope_frequency_update``). Phi-3's ``generate`` reads a text anew
    when it outgrows the short ones. Of other architectures it does not: what they say there depends
    on where the prompt ended, so that no answer is the right one.
    """
    most: int | None = getattr(config, "max_position_embeddings", None)
    parameters = getattr(config, "rope_parameters", None) or {}
    for one in (parameters, *(v for v in parameters.values() if isinstance(v, dict))):
        if one.get("rope_type") == "longrope":
            short = int(one["original_max_position_embeddings"])
            if most is not None and short >= most:
                return most, None, ""
            if one is parameters and _reads_anew(module, short):
                return most, short, ""
            why = (
                "beyond, transformers itself turns some of its keys by other factors than the "
                "rest, depending on where the prompt ended"
            )
            return short, None, f" ({why})"
    return most, None, ""


def _reads_anew(module: Any, short: int) -> bool:
    kind = type(module)
    known = kind.__module__ == "transformers.models.phi3.modeling_phi3"
    return known and getattr(module.config, "original_max_position_embeddings", None) == short
