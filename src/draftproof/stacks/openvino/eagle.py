"""From a trained EAGLE-3 head to a directory that OpenVINO GenAI drafts with.

The library asks for a graph of a certain make, which it rebuilds when it loads the head together
with its target: the embedding is replaced by the target's, the product that takes the target's
states in moves over to the target, and the sum behind the feed-forward of the layer called
``midlayer`` becomes the state that a draft of several tokens continues from. Which layers of the
target are read stands in the graph's own notes (`hidden_layers_list`, counted from 0).
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from draftproof.decoding.drafters import head_files as trained
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.heads import Bound
from draftproof.records import DraftproofError
from draftproof.stacks import models
from draftproof.stacks.openvino.export import TOLERANCE, require_new, stored_half, whereabouts
from draftproof.stacks.openvino.graph import answers, causal_mask, stateful, write

_TAPS = 3
"""Layers that the library takes states from, no more and no fewer."""


def export_heads(source: str, target: str, out: Path, *, trust_remote_code: bool = False) -> float:
    """Write an EAGLE-3 head for OpenVINO GenAI.

    Args:
        source: Directory of trained heads, or ``lab:eagle3``.
        target: The model that they were trained for, as it was exported.
        out: Directory to make.
        trust_remote_code: Run Python code that the target's checkpoint brings along.

    Returns:
        The largest difference of a log-probability between the graph and the head, nats.

    Raises:
        DraftproofError: No such heads, heads of another kind or target, ones that read other
            layers than the library hands out, a directory that holds something, or an export that
            proposes differently.
    """
    require_new(out)
    head = trained.load(source)
    if not isinstance(head, EagleHead) or not head.third:
        raise DraftproofError(
            f"{source}: {head.shape.kind} heads; OpenVINO GenAI drafts with EAGLE-3 heads only"
        )
    taps = head.shape.taps
    if len(taps) != _TAPS or not all(0 < tap < head.shape.layers for tap in taps):
        raise DraftproofError(
            f"{source}: reads the states {list(taps)} of its target; OpenVINO GenAI hands out "
            f"those of {_TAPS} layers, without the embedding and what follows the last layer"
        )
    loaded = models.load(target, "float32", "cpu", trust_remote_code)
    Bound(loaded.model, head.shape)
    module = loaded.model.module
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = _exported(head, module)
    difference = _difference(exported, head, module)
    if not difference <= TOLERANCE:
        raise DraftproofError(
            f"{source}: the exported head differs from its original by {difference:.3g} nats; "
            f"it cannot be exported with {target}"
        )
    exported.set_rt_info(True, "eagle3_mode")
    exported.set_rt_info([tap - 1 for tap in taps], "hidden_layers_list")
    config = copy.deepcopy(module.config)
    config.architectures = ["EagleHead"]
    config.num_hidden_layers = 1
    record = {
        "source": whereabouts(source),
        "heads_of": whereabouts(target),
        "fingerprint": loaded.fingerprint.to_json(),
    }
    write(exported, loaded, out, half=stored_half(target), config=config, record=record)
    return difference


class _WithCache(torch.nn.Module):
    """The head between its target's embedding and head, its cache among inputs and outputs.

    The names of the parts are those that the library looks for.
    """

    def __init__(self, head: EagleHead, target: Any) -> None:
        super().__init__()
        self.embed_tokens = target.get_input_embeddings()
        self.midlayer = head
        self.lm_head = target.get_output_embeddings()

    def forward(
        self,
        input_ids: torch.Tensor,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        beam_idx: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        seen = causal_mask(attention_mask, input_ids.shape[1])
        present: list[torch.Tensor] = []

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            for past, new in ((keys, key), (values, value)):
                present.append(torch.cat([past.index_select(0, beam_idx), new.transpose(1, 2)], 2))
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), present[0], present[1], attn_mask=seen
            )
            return mixed.transpose(1, 2).flatten(2)

        features = self.midlayer.entered(hidden_states)
        made = self.midlayer(self.embed_tokens(input_ids), features, position_ids, attend)
        return (self.lm_head(self.midlayer.readable(made)), *present)


def _exported(head: EagleHead, target: Any) -> Any:
    """Return the head as OpenVINO sees it, its cache turned into state."""
    shape = head.shape
    entered, each = shape.hidden * len(shape.taps), shape.width // shape.heads
    example = (
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(2, 3, entered),
        torch.ones(2, 8, dtype=torch.long),
        torch.arange(5, 8).repeat(2, 1),
        torch.arange(2, dtype=torch.int32),
        torch.zeros(2, shape.heads, 5, each),
        torch.zeros(2, shape.heads, 5, each),
    )
    inputs = {
        "input_ids": (-1, -1),
        # open, since the library feeds the head's own narrower states once it has moved the way in
        "hidden_states": (-1, -1, -1),
        "attention_mask": (-1, -1),
        "position_ids": (-1, -1),
        "beam_idx": (-1,),
    }
    both = [(shape.heads, each)] * 2
    return stateful(_WithCache(_ungrouped(head), target).eval(), example, inputs, both)


def _ungrouped(head: EagleHead) -> EagleHead:
    """Return the same head with a key and a value head for every query head."""
    shape = head.shape
    times, each = shape.heads // shape.kv_heads, shape.width // shape.heads
    weights = dict(head.state_dict())
    for name in ("key.weight", "value.weight"):
        grouped = weights[name].unflatten(0, (shape.kv_heads, each))
        weights[name] = grouped.repeat_interleave(times, 0).flatten(0, 1)
    out = EagleHead(replace(shape, kv_heads=shape.heads))
    out.load_state_dict(weights)
    return out.eval()


def _difference(exported: Any, head: EagleHead, target: Any) -> float:
    """Ask both the same: a prompt, then a few tokens more, with states made up."""
    dice = torch.Generator().manual_seed(0)
    shape = head.shape
    ids = torch.randint(0, shape.vocabulary, (1, 12), generator=dice)
    states = torch.randn(1, 12, shape.hidden * len(shape.taps), generator=dice)

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
        return mixed.transpose(1, 2).flatten(2)

    with torch.inference_mode():
        embedded = target.get_input_embeddings()(ids)
        made = head(embedded, head.entered(states), torch.arange(12)[None], attend)
        wanted = target.get_output_embeddings()(head.readable(made))[0].float().log_softmax(-1)
    return float((answers(exported, ids, (7, 12), hidden_states=states) - wanted).abs().max())
