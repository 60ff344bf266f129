"""From a causal LM of transformers to a model directory that OpenVINO GenAI reads.

The model is traced once with its cache as inputs and outputs; those become state that the pipeline
keeps, after which a verification of several tokens is an ordinary forward. Needs the extras
``local`` and ``openvino``; answering needs the second alone.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from draftproof.lab.models import resolve
from draftproof.records import DraftproofError
from draftproof.stacks import models
from draftproof.stacks.openvino.graph import answers, causal_mask, stateful, write

_INPUTS = {"input_ids": (-1, -1), "attention_mask": (-1, -1), "position_ids": (-1, -1)}
_HALVES = {"torch.float16", "float16"}
TOLERANCE = 1e-3
"""Largest difference of log-probabilities between the exported model and its original, nats."""


def export(source: str, out: Path, *, trust_remote_code: bool = False) -> float:
    """Write a model with its tokenizer for OpenVINO GenAI.

    Weights are kept in half precision where the checkpoint is in float16 and in float32 otherwise.
    The exported model is asked what the original is asked; where they disagree nothing is left.

    Args:
        source: Directory, hub name or ``lab:NAME``.
        out: Directory to make.
        trust_remote_code: Run Python code that the checkpoint brings along.

    Returns:
        The largest difference of a log-probability between the two, nats.

    Raises:
        DraftproofError: No such model, one whose cache is not a plain one, a directory that holds
            something, or an export that answers differently.
    """
    require_new(out)
    loaded = models.load(source, "float32", "cpu", trust_remote_code)
    module = loaded.model.module
    shapes = _cache_shapes(module, source)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = _exported(module, shapes)
    difference = _difference(exported, module)
    if not difference <= TOLERANCE:
        raise DraftproofError(
            f"{source}: the exported model differs from its original by {difference:.3g} nats; "
            "this architecture cannot be exported here, optimum-intel may know it"
        )
    half = str(module.config.dtype) in _HALVES or stored_half(source)
    record = {"source": whereabouts(source), "fingerprint": loaded.fingerprint.to_json()}
    write(exported, loaded, out, half=half, config=module.config, record=record)
    return difference


def require_new(out: Path) -> None:
    """Refuse a directory that holds something.

    Raises:
        DraftproofError: It does.
    """
    if out.exists() and any(out.iterdir()):
        raise DraftproofError(f"{out}: is not empty; name a directory to make")


def whereabouts(source: str) -> str:
    """Return a model's name so that it is found from elsewhere: a directory in full."""
    known = source.startswith("lab:") or not Path(source).exists()
    return source if known else str(Path(source).resolve())


def stored_half(source: str) -> bool:
    """Say whether a model's checkpoint is in half precision."""
    config = Path(resolve(source)) / "config.json"
    return config.is_file() and json.loads(config.read_text("utf-8")).get("dtype") in _HALVES


def _cache_shapes(module: Any, source: str) -> list[tuple[int, int]]:
    """Return heads and width of keys and values in turn, layer after layer."""
    with torch.inference_mode():
        cache = module(torch.tensor([[0]]), use_cache=True).past_key_values
    odd = {type(layer).__name__ for layer in cache.layers if type(layer) is not DynamicLayer}
    if odd:
        raise DraftproofError(
            f"{source}: its cache has layers of kind {', '.join(sorted(odd))}; only plain ones "
            "can be exported here, optimum-intel may know more"
        )
    both = [part for one in cache.layers for part in (one.keys, one.values)]
    return [(part.shape[1], part.shape[3]) for part in both]


class _WithCache(torch.nn.Module):
    """The model with its cache among the inputs and outputs."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        beam_idx: torch.Tensor,
        *past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        cache = DynamicCache()
        for keys, values in zip(past[::2], past[1::2], strict=True):
            layer = DynamicLayer()
            layer.keys, layer.values = (p.index_select(0, beam_idx) for p in (keys, values))
            layer.is_initialized = True
            cache.layers.append(layer)
        out = self.module(
            input_ids=input_ids,
            # a mask of four dimensions is taken as it is
            attention_mask=causal_mask(attention_mask, input_ids.shape[1]),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return (out.logits, *(t for one in cache.layers for t in (one.keys, one.values)))


def _exported(module: Any, shapes: list[tuple[int, int]]) -> Any:
    """Return the model as OpenVINO sees it, its cache turned into state."""
    example = (
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(2, 8, dtype=torch.long),
        torch.arange(5, 8).repeat(2, 1),
        torch.arange(2, dtype=torch.int32),
        *(torch.zeros(2, heads, 5, width) for heads, width in shapes),
    )
    return stateful(_WithCache(module), example, {**_INPUTS, "beam_idx": (-1,)}, shapes)


def _difference(exported: Any, module: Any) -> float:
    """Ask both the same: a prompt, then a few tokens more, as verification does."""
    ids = torch.randint(
        0, module.config.vocab_size, (1, 12), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        wanted = module(ids).logits[0].float().log_softmax(-1)
    return float((answers(exported, ids, (7, 12)) - wanted).abs().max())
