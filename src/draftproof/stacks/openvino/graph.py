"""A torch module with its cache among inputs and outputs, as a graph of OpenVINO with state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from draftproof.stacks.models import Loaded
from draftproof.stacks.openvino.model import RECORD, quietly, without_telemetry

openvino = quietly("openvino")
openvino_tokenizers = quietly("openvino_tokenizers")
opset13 = quietly("openvino.opset13")

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
"""Properties for a comparison; by default the device keeps the cache in eight bits."""


def causal_mask(attention_mask: torch.Tensor, width: int) -> torch.Tensor:
    """Return ``[B, 1, width, T] bool``: what the last `width` of T tokens see.

    Args:
        attention_mask: ``[B, T]``, 1 where there is a token.
        width: Tokens that are read now; traced, so it may be a symbol.
    """
    total = attention_mask.shape[1]
    columns = torch.arange(total)
    causal = columns[None, :] <= (torch.arange(width) + (total - width))[:, None]
    return causal[None, None] & attention_mask[:, None, None, :].bool()


def stateful(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Mapping[str, Sequence[int]],
    caches: Sequence[tuple[int, int]],
) -> Any:
    """Trace a module and turn its cache into state.

    Args:
        module: Takes `inputs` and the caches; returns logits and the caches, longer by what was
            read.
        example: What it is traced with.
        inputs: Name and shape of the inputs before the caches, -1 where a size is open.
        caches: Heads and width of keys and values in turn, layer after layer.
    """
    # parts of the library are imported as they are needed
    with without_telemetry():
        exported = openvino.convert_model(module, example_input=example)
    kinds = [f"{i // 2}.{'value' if i % 2 else 'key'}" for i in range(len(caches))]
    pairs = {f"past_key_values.{kind}": f"present.{kind}" for kind in kinds}
    shapes = {
        **inputs,
        **{name: (-1, h, -1, d) for name, (h, d) in zip(pairs, caches, strict=True)},
    }
    for port, (name, shape) in zip(exported.inputs, shapes.items(), strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape(list(shape)))
    for port, name in zip(exported.outputs, ("logits", *pairs.values()), strict=True):
        port.get_tensor().set_names({name})
    exported.validate_nodes_and_infer_types()
    transformations = quietly("openvino._offline_transformations")
    transformations.apply_make_stateful_transformation(exported, pairs)
    _begin_empty(exported)
    return exported


def _begin_empty(exported: Any) -> None:
    """Let every state begin with no token, for as many rows as are asked."""
    rows = opset13.gather(
        opset13.shape_of(exported.input("input_ids"), output_type="i64"),
        opset13.constant([0]),
        opset13.constant(0),
    )
    for node in exported.get_ops():
        if node.get_type_name() != "ReadValue":
            continue
        shape = [d.min_length for d in node.get_output_partial_shape(0)]
        sizes = [opset13.constant(np.array([size], dtype=np.int64)) for size in shape[1:]]
        nothing = opset13.constant(0.0, dtype=node.get_output_element_type(0))
        node.set_arguments([opset13.broadcast(nothing, opset13.concat([rows, *sizes], axis=0))])
    exported.validate_nodes_and_infer_types()


def answers(
    exported: Any, ids: torch.Tensor, pieces: Sequence[int], **more: torch.Tensor
) -> torch.Tensor:
    """Return log-probabilities ``[T, V]`` of a graph that reads ``[1, T]`` tokens in pieces.

    Args:
        exported: The graph.
        ids: Tokens.
        pieces: Where a piece ends; the last one at T.
        more: Further inputs ``[1, T, F]``, cut as the tokens are.
    """
    request = openvino.compile_model(exported, "CPU", EXACT).create_infer_request()
    log_probabilities, start = [], 0
    for end in pieces:
        result = request.infer(
            {
                "input_ids": ids[:, start:end].numpy(),
                "attention_mask": np.ones((1, end), dtype=np.int64),
                "position_ids": np.arange(start, end)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
                **{name: values[:, start:end].numpy() for name, values in more.items()},
            }
        )
        log_probabilities.append(torch.from_numpy(result["logits"].copy())[0].log_softmax(-1))
        start = end
    return torch.cat(log_probabilities)


def write(
    exported: Any,
    loaded: Loaded,
    out: Path,
    *,
    half: bool,
    config: Any,
    record: Mapping[str, object],
) -> None:
    """Write a graph, the tokenizer of a model, and what they were made from.

    Args:
        exported: The graph.
        loaded: Whose tokenizer and generation settings it takes.
        out: Directory, made if need be.
        half: Keep weights in half precision.
        config: What stands in its config.json.
        record: What it was made from.
    """
    tokenizers = openvino_tokenizers.convert_tokenizer(loaded.tokenizer, with_detokenizer=True)
    out.mkdir(parents=True, exist_ok=True)
    openvino.save_model(exported, out / "openvino_model.xml", compress_to_fp16=half)
    for name, model in zip(("tokenizer", "detokenizer"), tokenizers, strict=True):
        openvino.save_model(model, out / f"openvino_{name}.xml")
    for part in (config, loaded.model.module.generation_config, loaded.tokenizer):
        part.save_pretrained(out)
    versions = {
        "openvino": openvino.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    (out / RECORD).write_text(json.dumps({**record, **versions}, indent=1) + "\n", "utf-8")
