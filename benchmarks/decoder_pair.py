"""A pair of random weights whose acceptance rate is chosen, and contests on it.

The draft runs its own forward (so drafting costs what it costs) and says what a table says: the
target's own greedy answer, with each token replaced with probability 1 - α. Our decoder and
transformers' assisted generation read the same table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters.replay import SyntheticDrafter

SHAPES = {
    "120M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
             "num_attention_heads": 12, "num_key_value_heads": 12},
    "20M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 4,
            "num_attention_heads": 6, "num_key_value_heads": 6},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8},
}  # fmt: skip
VOCABULARY = {"120M": 32_000, "20M": 32_000, "8B": 128_256, "1B": 128_256}


class Scripted(LlamaForCausalLM):
    """A draft that computes everything and then says what a table says."""

    table: torch.Tensor
    """``[L] int64``: the token that it wants at each position."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Compute, then let the table speak."""
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        out = super().forward(input_ids, attention_mask, position_ids, past_key_values, **kwargs)
        end = seen + input_ids.shape[1] + 1
        wanted = self.table[end - out.logits.shape[1] : end]
        out.logits.scatter_(2, wanted[None, :, None].expand(out.logits.shape[0], -1, -1), 1e4)
        return out


@dataclass(frozen=True, slots=True)
class RandomPair:
    """Target, draft (as transformers and as our decoder see it), prompts and tables."""

    target: CausalModel
    draft: CausalModel
    scripted: Scripted
    requests: list[Request]
    references: dict[tuple[int, ...], list[int]]
    tables: dict[tuple[int, ...], list[int]]
    alpha: float


def random_pair(
    names: tuple[str, str], alpha: float, *, new: int, prompts: int, dtype: torch.dtype,
    device: str = "cpu",
) -> RandomPair:  # fmt: skip
    """Build the pair and write the tables down."""
    models = []
    for seed, (name, kind) in enumerate(zip(names, (LlamaForCausalLM, Scripted), strict=True)):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY[name], max_position_embeddings=2048,
            tie_word_embeddings=name not in {"8B"}, **SHAPES[name],
        )  # fmt: skip
        with torch.device(device):
            models.append(kind._from_config(config, dtype=dtype).eval())
    # ours reads the table by a drafter of its own and runs the draft's plain class, same weights
    with torch.device(device):
        plain = LlamaForCausalLM._from_config(models[1].config, dtype=dtype).eval()
    plain.load_state_dict(models[1].state_dict())
    target, draft = (
        CausalModel(model, name, graphs=device != "cpu")
        for model, name in zip((models[0], plain), names, strict=True)
    )
    generator = torch.Generator().manual_seed(7)
    size = VOCABULARY[names[0]]
    requests = [
        Request(
            id=str(i),
            prompt=tuple(torch.randint(5, size, (64,), generator=generator).tolist()),
            max_new_tokens=new,
        )
        for i in range(prompts)
    ]
    references, tables = {}, {}
    for request in requests:
        answer = next(iter(decode(target, [request], Settings(eos=()))))
        right = torch.rand(new, generator=generator) < alpha
        other = torch.randint(5, size, (new,), generator=generator)
        known = torch.tensor(answer.tokens)
        references[request.prompt] = answer.tokens
        tables[request.prompt] = torch.where(right, known, other).tolist()
    scripted = models[1]
    return RandomPair(target, draft, scripted, requests, references, tables, alpha)


def ours(pair: RandomPair, gamma: int, batch: int = 1) -> dict[str, Any]:
    """Answer with our decoder; `gamma` 0 decodes plainly."""
    drafter = None
    if gamma:
        drafter = SyntheticDrafter(
            pair.tables, gamma, alpha=1.0, vocabulary=pair.target.vocab_size, cost=pair.draft
        )
    start = time.perf_counter()
    answers = list(
        decode(pair.target, pair.requests, Settings(eos=(), drafter=drafter, batch=batch))
    )
    seconds = time.perf_counter() - start
    asked = {r.id: r.prompt for r in pair.requests}
    drafted, accepted = sum(a.drafted for a in answers), sum(a.accepted for a in answers)
    rounds = sum(a.rounds for a in answers)
    # a position is tried if all before it in its round were accepted
    tried = accepted + sum(n for a in answers for n in a.histogram[:gamma])
    return {
        "tokens_per_s": sum(len(a.tokens) for a in answers) / seconds,
        "same": all(a.tokens == pair.references[asked[a.id]] for a in answers),
        "alpha": accepted / tried if tried else 0.0,
        "acceptance": accepted / drafted if drafted else 0.0,
        "tokens_per_round": (accepted + rounds) / rounds if rounds else 1.0,
        "rounds": rounds,
        "seconds": seconds,
    }


@torch.inference_mode()
def theirs(pair: RandomPair, gamma: int) -> dict[str, Any]:
    """Answer with transformers' generate; `gamma` 0 without an assistant."""
    module, scripted = pair.target.module, pair.scripted
    scripted.generation_config.num_assistant_tokens = gamma
    scripted.generation_config.num_assistant_tokens_schedule = "constant"
    scripted.generation_config.assistant_confidence_threshold = 0.0
    tokens, same = 0, True
    start = time.perf_counter()
    for request in pair.requests:
        prompt = torch.tensor([request.prompt], device=module.device)
        wanted = [0] * len(request.prompt) + pair.tables[request.prompt]
        # a table a little longer than the answer: the last round may draft beyond it
        scripted.table = torch.tensor(wanted + [5] * (gamma + 2), device=module.device)
        out = module.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
            max_new_tokens=request.max_new_tokens, eos_token_id=None, pad_token_id=0,
            **({"assistant_model": scripted} if gamma else {}),
        )  # fmt: skip
        written = out[0, prompt.shape[1] :].tolist()
        tokens += len(written)
        same = same and written == pair.references[request.prompt]
    return {"tokens_per_s": tokens / (time.perf_counter() - start), "same": same}


def step_costs(
    target: CausalModel, draft: CausalModel, gamma: int, rows: int = 1, length: int = 96
) -> dict[str, float]:
    """Measure one target forward one column and γ + 1 columns wide, and one proposal; seconds."""

    def median(run: Callable[[], Any]) -> float:
        times = []
        for _ in range(12):
            start = time.perf_counter()
            run()
            if target.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return float(np.median(times[2:]))

    cache = target.new_cache(rows, length + 64)
    ids = torch.full((rows, gamma + 1), 7, device=target.device)
    starts = torch.full((rows,), length, device=target.device)
    narrow = median(lambda: target.forward(ids[:, :1], starts, cache, longest=length + 1))
    wide = median(lambda: target.forward(ids, starts, cache, longest=length + 1))
    drafts = draft.new_cache(rows, length + 64)

    def propose() -> None:
        block, at = ids[:, :2], starts - 1
        for step in range(gamma):
            rows_ = draft.forward(block, at, drafts, keep=1, longest=length + step)
            at, block = at + block.shape[1], rows_[:, -1].argmax(dim=-1)[:, None]

    proposal = median(propose)
    return {"t1": narrow, "tw": wide, "proposal": proposal}


def of_theory(speedup: float, alpha: float, gamma: int, cost: dict[str, float]) -> dict[str, float]:
    """Compare a measured speed-up with the one that α, c and t(W) allow.

    A round emits (1 - α^(γ+1)) / (1 - α) tokens (Leviathan et al., arXiv 2211.17192, equation 1)
    and takes t(γ+1) + the time of a proposal; plain decoding takes t(1) a token.
    """
    tokens = (1 - alpha ** (gamma + 1)) / (1 - alpha) if alpha < 1 else gamma + 1
    possible = tokens * cost["t1"] / (cost["tw"] + cost["proposal"])
    return {
        "alpha": round(alpha, 3),
        "c": round(cost["proposal"] / gamma / cost["t1"], 3),
        "tw_over_t1": round(cost["tw"] / cost["t1"], 2),
        "possible": round(possible, 2),
        "measured": round(speedup, 2),
        "of_theory": round(speedup / possible, 2),
    }
