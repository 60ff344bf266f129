"""The compiled forward: the module's numbers, and bits that no company and no shape can move."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.early_exit import EarlyExit
from draftproof.decoding.trees import tree_of
from draftproof.decoding.trees.level import Level

pytest.importorskip("numba")

from draftproof.decoding.forward.kernels import FLOAT32, exponentials, products

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 32}  # fmt: skip
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE)),
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama, yarn": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_parameters=YARN)),
    "llama, odd heads": (LlamaForCausalLM, LlamaConfig(**SHAPE, head_dim=12)),
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None)),
    "qwen 2, biased": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
    "qwen 3, normed heads": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=16)),
}
TREE = tree_of([-1, 0, 0, 2])


def built(name="llama", seed=5):
    kind, config = MODELS[name]
    torch.manual_seed(seed)
    model = kind(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias") or "norm" in key:
                weight.add_(0.3 * torch.randn(weight.shape))
    return model


@pytest.fixture(scope="module")
def target():
    return CausalModel(built(), "target")


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_module_over_a_cache(name):
    module = built(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    fused = CausalModel(module, "fused")
    slow = fused.in_torch()
    assert fused.forward_kind == "fused"
    assert slow.forward_kind != "fused"
    assert slow.forward_kind != "lean"
    torch.manual_seed(2)
    ids, more = torch.randint(0, 61, (3, 70)), torch.randint(0, 61, (3, 4))
    starts, later = torch.zeros(3, dtype=torch.int64), torch.tensor([70, 17, 9])
    found = []
    for model in (slow, fused):
        cache = model.new_cache(3, 80)
        first, states = model.forward_with_states(ids, starts, cache, taps=(0, 2, -1))
        chain = model.forward(more, later, cache, longest=71)
        branched = model.forward(more, later, cache, tree=TREE)
        kept = model.forward(more, later, cache, keep=1)
        alone = model.forward(more[:1], later[1:2], cache, row=1)
        found.append((first, states, chain, branched, kept, alone))
    for theirs, ours in zip(*found, strict=True):
        assert theirs.shape == ours.shape
        assert torch.allclose(ours, theirs, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(found[0][2], found[0][3], atol=1e-2)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@given(
    st.integers(1, 17), st.integers(1, 9), st.integers(1, 13).map(lambda n: 8 * n),
    st.integers(0, 2**31),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_product_is_the_same_bits_beside_any_rows_and_columns(rows, columns, depth, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, depth), dtype=np.float32)
    w = rng.standard_normal((columns, depth), dtype=np.float32)
    whole, single = np.empty((rows, columns), np.float32), np.empty((1, 1), np.float32)
    products(FLOAT32, x.ctypes.data, depth, rows, w.ctypes.data, depth, columns, depth,
             whole.ctypes.data, columns)  # fmt: skip
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    size = np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64).T
    assert (np.abs(whole - exact) <= depth * np.finfo(np.float32).eps * size).all()
    row, column = rng.integers(rows), rng.integers(columns)
    products(FLOAT32, x[row].ctypes.data, depth, 1, w[column].ctypes.data, depth, 1, depth,
             single.ctypes.data, 1)  # fmt: skip
    assert single[0, 0] == whole[row, column]


def test_exponentials():
    values = np.concatenate(
        [np.linspace(-87, 88, 4001, dtype=np.float32), np.array([-1e9, 0], np.float32)]
    )
    exact = np.exp(np.clip(values.astype(np.float64), -87, 88))
    exponentials(values, len(values), np.empty(len(values), np.int32))
    assert (np.abs(values / exact - 1) < 4e-7).all()
    assert values[-1] == 1
    broken = np.array([np.nan, np.inf, -np.inf], np.float32)
    exponentials(broken, 3, np.empty(3, np.int32))
    assert np.isnan(broken).all()


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_bits_depend_on_a_rows_own_text_alone(target, data):
    """However a text is cut into blocks and whatever stands beside it, its last row is the same."""
    length = data.draw(st.integers(2, 60))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    text = torch.randint(0, 61, (1, length), generator=generator)
    zero = torch.zeros(1, dtype=torch.int64)
    whole = target.forward(text, zero, target.new_cache(1, length))[0, -1]
    rows = data.draw(st.integers(1, 7))
    place = data.draw(st.integers(0, rows - 1))
    cache, done = target.new_cache(rows, length + 20), 0
    while done < length:
        width = min(data.draw(st.integers(1, 9)), length - done)
        block = torch.randint(0, 61, (rows, width), generator=generator)
        starts = torch.randint(0, length, (rows,), generator=generator)
        block[place], starts[place] = text[0, done : done + width], done
        found = target.forward(block, starts, cache)[place, -1]
        done += width
    assert torch.equal(found, whole)


def test_a_tree_has_the_bits_of_the_chains_on_its_paths(target):
    text = torch.tensor([[3, 9, 27, 20, 60]])
    nodes = torch.tensor([[7, 11, 12, 13]])
    cache, zero = target.new_cache(1, 40), torch.zeros(1, dtype=torch.int64)
    target.forward(text, zero, cache)
    branched = target.forward(nodes, torch.tensor([5]), cache, tree=TREE)[0]
    for path in ([0], [0, 1], [0, 2], [0, 2, 3]):
        chain = torch.cat([text, nodes[:, path]], dim=1)
        alone = target.forward(chain, zero, target.new_cache(1, 40))[0, -1]
        assert torch.equal(branched[path[-1]], alone), path


def test_a_tree_run_level_by_level_has_the_bits_of_the_whole(target):
    text, nodes = torch.tensor([[3, 9, 27, 20, 60]]), torch.tensor([[7, 11, 12, 13, 14, 15]])
    tree, zero = tree_of([-1, 0, 0, 1, 2, 2]), torch.zeros(1, dtype=torch.int64)
    whole, parts = target.new_cache(1, 40), target.new_cache(1, 40)
    target.forward(text, zero, whole)
    target.forward(text, zero, parts)
    at_once = target.forward(nodes, torch.tensor([5]), whole, tree=tree)
    for first, end in ((0, 1), (1, 3), (3, 6)):
        level = target.forward(
            nodes[:, first:end], torch.tensor([5 + first]), parts, tree=Level.of(tree, first, end)
        )
        assert torch.equal(level, at_once[:, first:end])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_that_16_bits_hold_are_read_so_and_the_bits_stay(kind):
    module = built("llama, tied").to(kind).float()
    owned, read = CausalModel(module, "owned"), CausalModel(module, "in place", lean=False)
    assert owned.forward_kind == "fused"
    assert read.forward_kind == "fused"
    assert owned._forward._matrices.itemsize == 2
    assert read._forward._matrices.itemsize == 4
    ids, starts = torch.randint(0, 61, (3, 9)), torch.tensor([0, 0, 0])
    rows = [m.forward(ids, starts, m.new_cache(3, 16)) for m in (owned, read)]
    assert torch.equal(*rows)
    weight = module.model.layers[2].mlp.gate_proj.weight
    weight.data = weight.data * 1.0001
    again = owned.forward(ids, starts, owned.new_cache(3, 16))
    assert owned._forward._matrices.itemsize == 4
    assert not torch.equal(again, rows[0])


def test_writing_without_logits_fills_the_cache_alike(target):
    ids, zero = torch.tensor([[3, 9, 27, 20, 60]]), torch.zeros(1, dtype=torch.int64)
    rows = []
    for write in (target.forward, target.write):
        cache = target.new_cache(2, 8)
        write(ids, zero, cache, row=1)
        both = torch.tensor([[4], [5]])
        rows.append(target.forward(both, torch.tensor([0, 5]), cache))
    assert torch.equal(*rows)
    states = target.write(ids, zero, target.new_cache(1, 8), taps=(1, -1))
    _, known = target.forward_with_states(ids, zero, target.new_cache(1, 8), taps=(1, -1))
    assert torch.equal(states, known)


@pytest.mark.parametrize("batch", [1, 3])
def test_fast_is_exact(target, batch):
    """The cheapest verification gives the bits of plain decoding, of log-probabilities too."""
    draft = CausalModel(built(seed=6), "draft")
    torch.manual_seed(0)
    requests = [
        Request(id=str(i), prompt=tuple(torch.randint(0, 61, (5 + i,)).tolist()), max_new_tokens=30)
        for i in range(6)
    ]
    plain = {a.id: a for a in decode(target, requests, Settings(eos=(), logprobs=True))}
    for drafter in (DraftModel(draft, 4), EarlyExit(target, 3, layers=1)):
        for answer in decode(
            target, requests, Settings(eos=(), drafter=drafter, batch=batch, logprobs=True)
        ):
            assert answer.tokens == plain[answer.id].tokens
            assert answer.logprobs == plain[answer.id].logprobs


def test_what_it_does_not_suit_it_leaves_alone(monkeypatch):
    biased = LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)
    narrow = LlamaConfig(**{**SHAPE, "intermediate_size": 44})
    for module in (
        LlamaForCausalLM(biased).eval(),
        LlamaForCausalLM(narrow).eval(),
        built().to(torch.bfloat16),
        built().train(),
    ):
        assert CausalModel(module, "other").forward_kind != "fused"
    monkeypatch.setattr("draftproof.decoding.forward.fused._SMALL", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert CausalModel(built(), "large, many threads").forward_kind != "fused"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert CausalModel(built(), "large, one thread").forward_kind == "fused"


def test_a_module_that_changes_is_read_anew():
    module = built()
    model = CausalModel(module, "changing")
    ids, zero = torch.tensor([[4, 5, 6]]), torch.zeros(1, dtype=torch.int64)
    old = model.forward(ids, zero, model.new_cache(1, 8))
    weight = module.model.layers[1].mlp.down_proj.weight
    weight.data = weight.data * 3
    new = model.forward(ids, zero, model.new_cache(1, 8))
    fresh = CausalModel(copy.deepcopy(module), "fresh")
    assert torch.equal(new, fresh.forward(ids, zero, fresh.new_cache(1, 8)))
    assert not torch.equal(new, old)
    module.model.layers[0].mlp.up_proj.register_forward_hook(lambda *_: None)
    hooked = model.forward(ids, zero, model.new_cache(1, 8))
    assert model.forward_kind != "fused"
    assert torch.allclose(hooked, new, atol=2e-4)


@pytest.mark.parametrize(
    ("ids", "start", "row"), [([61], 0, 0), ([-1], 0, 0), ([1, 2], 7, 0), ([1], 0, 2), ([1], -1, 0)]
)
def test_what_lies_outside_is_refused(target, ids, start, row):
    cache = target.new_cache(2, 8)
    with pytest.raises(IndexError, match="of 61"):
        target.forward(torch.tensor([ids]), torch.tensor([start]), cache, row=row)


def test_what_is_not_finite_stays_so():
    for part in ("k_proj", "v_proj"):
        module = built()
        with torch.no_grad():
            getattr(module.model.layers[1].self_attn, part).weight[3, 3] = float("nan")
        model = CausalModel(module, "broken")
        ids, zero = torch.tensor([[4, 5, 6]]), torch.zeros(1, dtype=torch.int64)
        assert model.forward(ids, zero, model.new_cache(1, 8)).isnan().any()
