"""Every causal architecture of transformers, tiny and random, against its own ``generate``.

``python -m tests.families --all`` compares all of them, ``--shard 1/4`` a quarter, ``--write`` puts
the table into docs/models.md. A model is *identical* if our decoder answers as ``generate`` does,
plainly and with a draft that is often rejected, alone and in a batch; *tie* if it leaves it where
the two best logits are equal up to rounding; *refused* if it says why it does not answer.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, GenerationConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.agreement import settled
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.model import CausalModel
from draftproof.records import DraftproofError

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
WINDOW, NEW, GAMMA, MOST = 8, 14, 3, 5_000_000
PROMPTS = tuple(tuple((7 * i + 11 * n) % 120 + 5 for i in range(n)) for n in (13, 5, 22))
SMALL: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 96,
    "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96, "n_ctx": 96, "n_inner": 48,
    "d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 96, "ffn_dim": 48, "num_layers": 3,
    "attention_heads": 4, "word_embed_proj_dim": 32, "rotary_dim": 8, "d_ff": 48, "num_heads": 4,
    "ffn_hidden_size": 48, "embedding_size": 32, "d_kv": 8, "dim_head": 8, "dim_ff": 48,
    "decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "num_blocks": 3,
    "global_head_dim": 8, "swa_head_dim": 8, "num_global_key_value_heads": 2,
    "intermediate_size_mlp": 48, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32, "expert_ffn_hidden_size": 32, "moe_num_experts": 4,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "num_experts_per_token": 2, "moe_topk": 2, "moe_k": 2, "top_k_experts": 2, "n_group": 1,
    "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "qk_head_dim": 16, "sliding_window": WINDOW,
    "window_size": WINDOW, "attention_chunk_size": WINDOW, "first_k_dense_replace": 1,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "local_attention": WINDOW,
    "vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 8, "altup_num_inputs": 2,
    "num_kv_shared_layers": 0, "laurel_rank": 8, "n_shared_experts": 1, "num_kv_heads": 2,
    "index_head_dim": 16, "index_n_heads": 2, "index_topk": 8, "num_memory_blocks": 1,
    "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1,
    "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 1, "state_size": 8, "ssm_state_size": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "d_attn": 32, "zero_expert_num": 1, "num_nextn_predict_layers": 0,
    "cross_attention_hidden_size": None, "is_decoder": True, "attn_implementation": None,
    "global_attn_every_n_layers": 2, "query_pre_attn_scalar": 8, "moe_layer_freq": None,
    "swa_num_key_value_heads": 2, "swa_num_attention_heads": 4, "swa_v_head_dim": 8, "num_ln_in": 1,
    "attention_dropout": 0.0, "cpmant_dropout": 0.0, "shared_expert_size": 32, "vocab_sizes": None,
    "mlp_hidden_size": 48, "expert_intermediate_size": 32, "num_shared_experts": 1,
}  # fmt: skip
"""What sizes are called, and their values here. A window is shorter than two of the prompts."""

SPECIAL: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
    "falcon": {"multi_query": False, "new_decoder_architecture": False, "num_kv_heads": 4},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
    },
    "axk1": {"num_key_value_heads": 4},
    "axk2": {"num_key_value_heads": 4},
    "deepseek_v3": {"num_key_value_heads": 4},
    "llama4_text": {"num_hidden_layers": 4, "interleave_moe_layer_step": 2},
    "gemma3n_text": {"num_hidden_layers": 5, "intermediate_size": 48},
    "nanochat": {"head_dim": 8},
    "phimoe": {"num_local_experts": 4},
}
"""What one architecture needs besides."""

_LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.2, 1.5, 2.0],
         "long_factor": [1.5, 3.0, 5.0, 9.0], "original_max_position_embeddings": 20}  # fmt: skip
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
_WINDOWED = {"use_sliding_window": True, "max_window_layers": 1}
VARIANTS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "phi3": (("longrope", {"rope_parameters": _LONG, "original_max_position_embeddings": 20}),),
    "llama": (
        ("dynamic rope", {"rope_parameters": _DYNAMIC}),
        ("longrope", {"rope_parameters": {**_LONG, "factor": 4.8}}),
    ),
    "phimoe": (
        ("longrope", {"rope_parameters": {**_LONG, "short_mscale": 1.1, "long_mscale": 1.3}}),
    ),
    "falcon": (
        ("alibi", {"alibi": True}),
        ("GQA", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ),
    "qwen2": (("window", _WINDOWED),),
    "qwen3": (("window", _WINDOWED),),
    "gpt_neo": (("local only", {"attention_types": [[["local"], 3]], "num_layers": 3}),),
    "mistral": (("no window", {"sliding_window": None}),),
}
"""Further configurations of some architectures."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one variant of one architecture.

    Attributes:
        family: Its model type.
        variant: Which configuration.
        outcome: ``identical``, ``tie``, ``refused``, ``WRONG``, ``crash`` or ``not built``.
        note: Why, or which forward was taken.
    """

    family: str
    variant: str
    outcome: str
    note: str


def families() -> list[str]:
    """Return the model types of the library's mapping of causal models."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def configured(family: str, more: dict[str, Any]) -> Any:
    """Return a small configuration of an architecture."""
    kind = CONFIG_MAPPING[family]
    wanted = {**SMALL, **SPECIAL.get(family, {}), **more}
    if "text_config" in getattr(kind, "sub_configs", {}):
        inner = kind.sub_configs["text_config"]
        if hasattr(inner, "model_type") and inner.model_type in CONFIG_MAPPING:
            text = configured(inner.model_type, more)
            return kind(text_config=text.to_dict())
    known = set(inspect.signature(kind.__init__).parameters) | set(
        getattr(kind, "__dataclass_fields__", {})
    )
    given = {k: v for k, v in wanted.items() if k in known and k != "attn_implementation"}
    defaults = {k: getattr(kind, k, None) for k in given}
    given = {
        k: v for k, v in given.items()
        if k in more or k in SPECIAL.get(family, {}) or v is not None or defaults[k] is not None
    }  # fmt: skip
    given = {k: v for k, v in given.items() if k in more or not _unlike(defaults[k], v)}
    return kind(**given)


def _unlike(default: Any, value: Any) -> bool:
    """Return whether a size is something else in this architecture, a list or a switch."""
    return isinstance(default, list | tuple | dict | bool) and not isinstance(value, type(default))


def built(family: str, more: dict[str, Any], attention: str | None) -> Any:
    """Return a model with weights at which its tokens depend on all that came before."""
    config = configured(family, more)
    kind, ways = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], {}
    if attention:
        ways["attn_implementation"] = attention
    with torch.device("meta"):
        size = sum(p.numel() for p in kind._from_config(copy.deepcopy(config), **ways).parameters())
    if size > MOST:
        raise ValueError(f"{size} parameters; its sizes have names that are not known here")
    torch.manual_seed(20)
    model = kind._from_config(config, **ways)
    model = model.float().eval()
    model.generation_config = GenerationConfig(pad_token_id=0)
    generator = torch.Generator().manual_seed(21)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() >= 2:
                weight.copy_(noise * 1.5 / min(weight.shape[-2:]) ** 0.5)
            else:
                weight.add_(0.1 * noise)
    return model


def disturbed(model: Any) -> Any:
    """Return a draft that is often right and often not."""
    draft = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(22)
    with torch.no_grad():
        for weight in draft.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.05 * noise * (weight.std() if weight.numel() > 1 else 0.0))
    return draft


def reference(model: Any) -> list[tuple[list[int], list[float]]]:
    """Return what ``generate`` answers, with the gap between the two best logits at each token."""
    found = []
    for prompt in PROMPTS:
        with torch.inference_mode():
            out = model.generate(
                torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, pad_token_id=0,
                output_logits=True, return_dict_in_generate=True, use_cache=True,
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            )  # fmt: skip
        best = [row[0].float().topk(2).values for row in out.logits]
        gaps = [float((b[0] - b[1]) / b.abs().max().clamp(min=1e-6)) for b in best]
        found.append((out.sequences[0, len(prompt) :].tolist(), gaps))
    return found


def compared(family: str, variant: str, more: dict[str, Any], attention: str | None) -> Outcome:
    """Return what comes of one variant."""
    try:
        model = built(family, more, attention)
        expected = reference(copy.deepcopy(model))
    except Exception as error:
        return Outcome(family, variant, "not built", _line(error))
    asked = [Request(id=str(i), prompt=p, max_new_tokens=NEW) for i, p in enumerate(PROMPTS)]
    outcome, note, rejected = "identical", "", False
    try:
        draft = CausalModel(disturbed(model), "draft")
        target = CausalModel(model, family)
        for one in (target, draft):
            settled(one)
        note = target.forward_kind
        ways = (None, "draft_model") if more.get("alibi") else (None, "draft_model", "draft_tree")
        for name in ways:
            for batch in (1, len(asked)):
                drafter = None
                if name:
                    shape = {"parents": [-1, 0, 0, 1, 1, 3]} if name == "draft_tree" else {}
                    parts = Parts(target=target, gamma=GAMMA, draft=draft)
                    drafter = make_drafter(name, parts, shape)
                settings = Settings(eos=(), drafter=drafter, batch=batch)
                for answer in decode(target, asked, settings):
                    rejected |= answer.accepted < answer.drafted
                    tokens, gaps = expected[int(answer.id)]
                    if answer.error or answer.tokens != tokens:
                        at = next((i for i, (a, b) in enumerate(zip(answer.tokens, tokens,
                                   strict=False)) if a != b), 0)  # fmt: skip
                        if answer.error or gaps[at] > 1e-4:
                            way = f"{name or 'plain'}, batch {batch}, token {at}"
                            return Outcome(family, variant, "WRONG", answer.error or way)
                        outcome = "tie"
    except DraftproofError as error:
        return Outcome(family, variant, "refused", str(error).removeprefix("draft: "))
    except Exception as error:
        return Outcome(family, variant, "crash", _line(error))
    if all(len(set(tokens)) == 1 for tokens, _ in expected):
        note += ", one token only: compared by logits"
    elif not rejected:
        note += ", nothing rejected"
    return Outcome(family, variant, outcome, note)


def outcomes(names: list[str]) -> Iterator[Outcome]:
    """Yield what comes of every variant of some architectures."""
    for family in names:
        first = compared(family, "eager", {}, "eager")
        yield first
        if first.outcome == "not built":
            continue
        if first.outcome != "refused" or "window" in first.note:
            yield compared(family, "sdpa", {}, "sdpa")
            yield compared(family, "tied", {"tie_word_embeddings": True}, None)
        for name, more in VARIANTS.get(family, ()):
            yield compared(family, name, more, None)


def shard(names: list[str], which: str) -> list[str]:
    """Return part i of n, ``i/n`` with i from 1."""
    part, parts = map(int, which.split("/"))
    return names[part - 1 :: parts]


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:160]


def table(found: list[Outcome]) -> str:
    """Return the outcomes as a table of Markdown."""
    lines = ["| architecture | variant | outcome | note |", "|---|---|---|---|"]
    for one in found:
        note = one.note.replace("|", "\\|")
        lines.append(f"| {one.family} | {one.variant} | {one.outcome} | {note} |")
    return "\n".join(lines)


def write(found: list[Outcome]) -> None:
    """Put the table between its marks in docs/models.md."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    counts = {o: sum(x.outcome == o for x in found) for o in sorted({x.outcome for x in found})}
    head = f"With transformers {transformers.__version__}: " + ", ".join(
        f"{n} {o}" for o, n in counts.items()
    )
    text = f"{before}{BEGIN}\n\n{head}.\n\n{table(found)}\n\n{END}{rest.partition(END)[2]}"
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> int:
    """Compare, print, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; by default those of the shard")
    parser.add_argument("--all", action="store_true", help="every architecture")
    parser.add_argument("--shard", default="1/4", help="part of all, as i/n")
    parser.add_argument("--json", action="store_true", help="print a line of JSON an outcome")
    parser.add_argument("--write", action="store_true", help="write the table to docs/models.md")
    given = parser.parse_args()
    names = given.names or (families() if given.all else shard(families(), given.shard))
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    found = []
    for one in outcomes(names):
        found.append(one)
        line = json.dumps(asdict(one)) if given.json else "  ".join(asdict(one).values())
        print(line, flush=True)
    if given.write:
        write(found)
    return int(any(one.outcome in {"WRONG", "crash"} for one in found))


if __name__ == "__main__":
    sys.exit(main())
