"""The lean forward computes what the module computes, and steps aside where it cannot."""

import copy

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from draftproof.decoding import CausalModel
from draftproof.decoding.trees import tree_of

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE)),
    "llama, tied, biased": (
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    ),
    "llama 3 rope": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_parameters=LLAMA3)),
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None)),
    "qwen 2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
    "qwen 3": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=16)),
}


def built(name):
    kind, config = MODELS[name]
    torch.manual_seed(5)
    model = kind(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias") or "norm" in key:
                weight.add_(0.3 * torch.randn(weight.shape))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_module_over_a_cache(name):
    module = built(name)
    slow = CausalModel(copy.deepcopy(module), "slow", lean=False, fused=False)
    lean = CausalModel(module, "lean", fused=False)
    assert lean.forward_kind == "lean"
    assert slow.forward_kind != "lean"
    ids = torch.randint(0, 61, (3, 20))
    more = torch.randint(0, 61, (3, 4))
    starts, later = torch.zeros(3, dtype=torch.int64), torch.tensor([20, 17, 9])
    tree = tree_of([-1, 0, 0, 2])
    found = []
    for model in (slow, lean):
        cache = model.new_cache(3, 40)
        first, states = model.forward_with_states(ids, starts, cache, taps=(0, 2, -1))
        chain = model.forward(more, later, cache, longest=21)
        branched = model.forward(more, later, cache, tree=tree)
        kept = model.forward(more, later, cache, keep=1)
        found.append((first, states, chain, branched, kept))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(found[0][2], found[0][3], atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "llama, tied, biased"])
def test_half_precision_is_rounded_and_no_worse_than_the_module(name, dtype):
    module = built(name).to(dtype)
    exact = CausalModel(copy.deepcopy(module).float(), "exact", lean=False, fused=False)
    slow = CausalModel(copy.deepcopy(module), "slow", lean=False)
    ids, starts = torch.randint(0, 61, (3, 20)), torch.zeros(3, dtype=torch.int64)
    rows = [m.forward(ids, starts, m.new_cache(3, 20)) for m in (exact, slow,
            CausalModel(module, "lean"))]  # fmt: skip
    theirs, ours = ((r - rows[0]).abs().mean() for r in rows[1:])
    assert 0 < ours < 1.5 * theirs


def test_weights_keep_their_values_and_are_held_once():
    module = built("llama")
    before = {k: v.clone() for k, v in module.state_dict().items()}
    CausalModel(module, "lean", fused=False)
    for key, value in module.state_dict().items():
        assert torch.equal(before[key], value), key
    attention = module.model.layers[0].self_attn
    storages = {p.weight.untyped_storage().data_ptr() for p in
                (attention.q_proj, attention.k_proj, attention.v_proj)}  # fmt: skip
    assert len(storages) == 1


def test_other_models_take_their_own_forward():
    config = GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    torch.manual_seed(0)
    other = CausalModel(GPT2LMHeadModel(config).eval(), "gpt2")
    assert other.forward_kind != "lean"
    assert other.forward_kind != "fused"
    hooked = built("llama")
    hooked.model.layers[1].mlp.down_proj.register_forward_hook(lambda *_: None)
    assert CausalModel(hooked, "hooked", fused=False).forward_kind != "lean"
