"""Recorded steps: the buffers carry every change, and a replay says what the forward says."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.draft_tree import DraftTree
from draftproof.decoding.forward.captured import CapturedForward

CONFIG = LlamaConfig(
    vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    initializer_range=0.3,
)  # fmt: skip


def record_here(run):
    """Stand for a graph: what is run again touches nothing but the recorded buffers."""
    run()
    return run


def built(seed, record=None, device="cpu"):
    torch.manual_seed(seed)
    model = CausalModel(LlamaForCausalLM(CONFIG).eval().to(device), "model", fused=False)
    if record:
        model._forward = CapturedForward(model._forward, record)
    return model


def asked(count=5):
    generator = torch.Generator().manual_seed(3)
    return [
        Request(
            id=str(i),
            prompt=tuple(torch.randint(0, 61, (3 + 4 * i,), generator=generator).tolist()),
            max_new_tokens=20,
        )
        for i in range(count)
    ]


def texts(target, drafter=None, batch=2):
    return {
        a.id: a.tokens
        for a in decode(target, asked(), Settings(eos=(), drafter=drafter, batch=batch))
    }


@pytest.mark.parametrize("make", [lambda d: None, lambda d: DraftModel(d, 3),
                                  lambda d: DraftTree(d, (-1, 0, 0, 1))])  # fmt: skip
def test_decoding_by_replay_says_the_same(make):
    runs = []

    def counted(run):
        def again():
            runs.append(1)
            run()

        return again

    plain = texts(built(1))
    assert texts(built(1, counted), make(built(2, counted))) == plain
    assert len(runs) > 40


def test_a_replay_reads_its_buffers_alone():
    """The outputs of a step are copies, and a step's inputs may be changed after it."""
    direct, replayed = built(1), built(1, record_here)
    caches = [m.new_cache(2, 16) for m in (direct, replayed)]
    ids, starts = torch.randint(0, 61, (2, 3)), torch.zeros(2, dtype=torch.int64)
    first = [m.forward(ids, starts, c) for m, c in zip((direct, replayed), caches, strict=True)]
    kept = copy.deepcopy(first[1])
    more = torch.randint(0, 61, (2, 3))
    second = [
        m.forward(more, starts + 3, c) for m, c in zip((direct, replayed), caches, strict=True)
    ]
    assert torch.allclose(*first, atol=1e-5)
    assert torch.allclose(*second, atol=1e-5)
    assert torch.equal(first[1], kept)
    assert not torch.allclose(first[1], second[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_graph_says_the_same():
    plain = texts(built(1, device="cuda"))
    torch.manual_seed(1)
    module = LlamaForCausalLM(CONFIG).eval().to("cuda")
    graphed = CausalModel(module, "graphed", graphs=True)
    assert isinstance(graphed._forward, CapturedForward)
    assert texts(graphed) == plain
