"""The compiled forward reads memory by address: nothing freed, nothing foreign, nothing changed."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel
from draftproof.decoding.trees import tree_of

pytest.importorskip("numba")

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3,
}  # fmt: skip
TREE = tree_of([-1, 0, 0, 2])


def built():
    torch.manual_seed(5)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


@pytest.fixture(scope="module")
def target():
    return CausalModel(built(), "target")


HARSH = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from draftproof.decoding import CausalModel
torch.manual_seed(0)
config = LlamaConfig(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                     num_attention_heads=4, max_position_embeddings=512)
fused = CausalModel(LlamaForCausalLM(config).eval(), "fused")
slow = fused.in_torch()
assert fused.forward_kind == "fused"
for width in (1, 5, 40, 300):
    ids, zero = torch.randint(0, 61, (2, width)), torch.zeros(2, dtype=torch.int64)
    rows = [m.forward(ids, zero, m.new_cache(2, 400)) for m in (fused, slow)]
    assert torch.allclose(*rows, atol=1e-4), width
"""


def test_nothing_is_read_that_was_freed():
    """The allocator overwrites what is freed, and gives large blocks back at once."""
    harsh = {"MALLOC_PERTURB_": "165", "MALLOC_MMAP_THRESHOLD_": "4096"}
    done = subprocess.run(
        [sys.executable, "-c", HARSH], env=os.environ | harsh, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_threads_share_a_model(target):
    ids, zero = torch.tensor([[4, 5, 6, 7, 8]]), torch.zeros(1, dtype=torch.int64)
    wanted = target.forward(ids, zero, target.new_cache(1, 8))
    wrong = []

    def work(capacity):
        model = CausalModel(target.module, "shared", lean=False)
        for _ in range(60):
            for one in (model, target):
                found = one.forward(ids, zero, one.new_cache(1, capacity))
                if not torch.equal(found, wanted):
                    wrong.append(capacity)

    threads = [threading.Thread(target=work, args=(8 + 9 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_cache_goes_on_with_the_forward_that_filled_it():
    module = built()
    model = CausalModel(module, "changing")
    ids, zero = torch.tensor([[4, 5, 6]]), torch.zeros(1, dtype=torch.int64)
    cache, same = model.new_cache(1, 8), model.new_cache(1, 8)
    model.forward(ids, zero, cache)
    model.forward(ids, zero, same)
    wanted = model.forward(ids, zero + 3, same)
    for parameter in module.parameters():
        parameter.data = torch.full_like(parameter, 3.0)
    module.model.layers[0].register_forward_hook(lambda *_: None)
    model.new_cache(1, 8)
    assert model.forward_kind != "fused"
    assert torch.equal(model.forward(ids, zero + 3, cache), wanted)


def _hooked(module):
    module.model.embed_tokens.register_forward_hook(lambda *_: None)


def _overridden(module):
    module.model.layers[1].forward = lambda *args, **kwargs: None


def _other_norm(module):
    module.model.layers[0].input_layernorm = torch.nn.LayerNorm(32)


def _other_last_norm(module):
    module.model.norm = torch.nn.LayerNorm(32)


def _fewer_layers(module):
    module.config.num_hidden_layers = 2


def _on_no_device(module):
    down = module.model.layers[0].mlp.down_proj
    down.weight = torch.nn.Parameter(down.weight.to("meta"))


def _another_class(module):
    module.model.layers[1].mlp.__class__ = type("Mine", (type(module.model.layers[1].mlp),), {})


@pytest.mark.parametrize(
    "alter",
    [
        _hooked,
        _overridden,
        _other_norm,
        _other_last_norm,
        _fewer_layers,
        _on_no_device,
        _another_class,
    ],
)
def test_an_altered_module_runs_by_itself(alter):
    module = built()
    alter(module)
    assert CausalModel(module, "altered", lean=False).forward_kind != "fused"


def test_torchs_default_dtype_does_not_matter(target):
    ids, zero = torch.tensor([[4, 5, 6]]), torch.zeros(1, dtype=torch.int64)
    wanted = target.forward(ids, zero, target.new_cache(1, 8))
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(target.forward(ids, zero, target.new_cache(1, 8)), wanted)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_tree_that_does_not_fit_the_block_is_refused(target):
    cache, zero = target.new_cache(1, 16), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(IndexError, match="a tree of 4 nodes for 1 x 7"):
        target.forward(torch.ones(1, 7, dtype=torch.int64), zero, cache, tree=TREE)
    with pytest.raises(IndexError):
        target.forward(torch.ones(1, 2, dtype=torch.int64), zero + 2**62, cache)
