"""How often speculative answers equal plain ones in half precision, and what equality costs."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import Answer, CausalModel, Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.noise_bound import noise_bound

GAMMA = 4
BATCH = 8
NEW = 60


class NarrowPair:
    """A random pair whose best tokens lie so close that rounding decides between them."""

    def __init__(self, prompts: int, dtype: torch.dtype, noise: float = 0.05) -> None:
        config = LlamaConfig(
            vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.15,
            max_position_embeddings=256,
        )  # fmt: skip
        torch.manual_seed(1)
        target, draft = LlamaForCausalLM(config).eval(), LlamaForCausalLM(config).eval()
        draft.load_state_dict(target.state_dict())
        with torch.no_grad():
            for weight in draft.parameters():
                weight.add_(noise * weight.std() * torch.randn(weight.shape))
        self.target = CausalModel(target.to(dtype), "target", fused=False)
        self.draft = CausalModel(draft.to(dtype), "draft", fused=False)
        generator = torch.Generator().manual_seed(3)
        sizes = torch.randint(2, 20, (prompts,), generator=generator).tolist()
        self.requests = [
            Request(
                id=str(i), max_new_tokens=NEW,
                prompt=tuple(torch.randint(1, 512, (n,), generator=generator).tolist()),
            )
            for i, n in enumerate(sizes)
        ]  # fmt: skip

    def run(self, **options: object) -> tuple[dict[str, Answer], float]:
        """Return the answers and the processor seconds that they took."""
        start = time.process_time()
        answers = decode(self.target, self.requests, Settings(eos=(), batch=BATCH, **options))  # type: ignore[arg-type]
        return {a.id: a for a in answers}, time.process_time() - start


def identity(prompts: int, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Return, for each mode, the share of equal answers and the cost against ``fast``."""
    pair = NarrowPair(prompts, dtype)
    plain, _ = pair.run()
    texts = [(r.prompt, plain[r.id].tokens) for r in pair.requests]
    bound = noise_bound(pair.target, texts, GAMMA + 1)
    modes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "fast": ({}, {}),
        "recheck": ({}, {"exactness": "recheck", "noise_bound": bound}),
        "same_shape": ({"exactness": "same_shape", "width": GAMMA + 1},
                       {"exactness": "same_shape"}),
    }  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for mode, (plainly, fast) in modes.items():
        one, plain_s = pair.run(**plainly)
        two, fast_s = pair.run(drafter=DraftModel(pair.draft, GAMMA), **fast)
        equal = sum(one[k].tokens == two[k].tokens for k in one)
        found[mode] = {
            "identity": round(equal / len(one), 4),
            "plain_seconds": plain_s,
            "draft_seconds": fast_s,
            "rechecked": sum(a.rechecked for a in two.values()),
        }
    first = dict(found["fast"])
    for row in found.values():
        row["plain_cost"] = round(row.pop("plain_seconds") / first["plain_seconds"], 2)
        row["draft_cost"] = round(row.pop("draft_seconds") / first["draft_seconds"], 2)
    return found
