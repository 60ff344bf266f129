"""Which models the decoder can address and roll back, and how far."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from draftproof.decoding.masks import SERVED, makes_own
from draftproof.records import DraftproofError


class UnservedError(DraftproofError):
    """A model that our decoder cannot run though transformers can."""


@dataclass(frozen=True, slots=True)
class Support:
    """How far a model is served.

    Attributes:
        positions: Tokens that a row can hold; None is any number.
        limit: Why no more, as the end of a sentence; empty where the model itself says so.
        window: Tokens that the narrowest windowed layer sees; None without one.
        keeps_logits: Whether the forward can compute the logits of some columns only.
        makes_masks: Whether its code builds its own masks, see `masks.makes_own`.
    """

    positions: int | None
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
    positions, limit = _positions(config)
    return Support(
        positions, limit, min(windows, default=None), "logits_to_keep" in parameters, own
    )


def _positions(config: Any) -> tuple[int | None, str]:
    """Return how many positions there are and why no more.

    Which of longrope's factors turns a key depends on the longest text in the batch
    (``modeling_rope_utils``, ``longrope_frequency_update``): a cache that crosses the border, or
    is rolled back across it, would hold keys of both.
    """
    most: int | None = getattr(config, "max_position_embeddings", None)
    parameters = getattr(config, "rope_parameters", None) or {}
    for one in (parameters, *(v for v in parameters.values() if isinstance(v, dict))):
        if one.get("rope_type") == "longrope":
            short = int(one["original_max_position_embeddings"])
            if most is None or short < most:
                why = "its longrope turns all keys anew beyond; use --engine transformers there"
                return short, f" ({why})"
    return most, ""
