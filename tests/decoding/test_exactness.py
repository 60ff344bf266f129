"""Equal shapes give equal bits; doubtful tokens are decided at the shape of plain decoding."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters import DraftModel


def pair(dtype):
    """A target whose best tokens lie close together, and a draft that is often wrong."""
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
            weight.add_(0.05 * weight.std() * torch.randn(weight.shape))
    return CausalModel(target.to(dtype), "target"), CausalModel(draft.to(dtype), "draft")


def prompts(count):
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(2, 20, (count,), generator=generator).tolist()
    return [
        Request(
            id=str(i),
            prompt=tuple(torch.randint(1, 512, (n,), generator=generator).tolist()),
            max_new_tokens=32,
        )
        for i, n in enumerate(sizes)
    ]


def answers(target, requests, **options):
    return {a.id: a for a in decode(target, requests, Settings(eos={-1}, batch=4, **options))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_same_shape_is_identical_bit_for_bit(dtype):
    target, draft = pair(dtype)
    asked = prompts(10)
    plain = answers(target, asked, exactness="same_shape", width=5)
    fast = answers(target, asked, exactness="same_shape", drafter=DraftModel(draft, 4))
    assert {k: a.tokens for k, a in plain.items()} == {k: a.tokens for k, a in fast.items()}
    assert sum(a.accepted for a in fast.values()) > 0


def test_same_shape_holds_for_ragged_chains_and_any_draft():
    target, draft = pair(torch.float32)
    asked = prompts(6)
    plain = answers(target, asked, exactness="same_shape", width=7)
    for drafter in (DraftModel(draft, 6, confidence=0.5), DraftModel(draft, 3, adaptive=True)):
        fast = answers(target, asked, exactness="same_shape", width=7, drafter=drafter)
        assert {k: a.tokens for k, a in plain.items()} == {k: a.tokens for k, a in fast.items()}


def test_recheck_decides_doubtful_tokens_again():
    target, draft = pair(torch.float32)
    asked = prompts(6)
    plain = answers(target, asked)
    drafter = DraftModel(draft, 4)
    never = answers(target, asked, drafter=drafter, exactness="recheck", noise_bound=0.0)
    always = answers(target, asked, drafter=drafter, exactness="recheck", noise_bound=1e9)
    some = answers(target, asked, drafter=drafter, exactness="recheck", noise_bound=0.05)
    assert all(a.rechecked == 0 for a in never.values())
    # every token is decided by a forward one column wide: nothing is left to speculation
    assert all(a.rechecked == len(a.tokens) for a in always.values())
    assert all(set(a.provenance) == {"p"} for a in always.values())
    assert {k: a.tokens for k, a in always.items()} == {k: a.tokens for k, a in plain.items()}
    assert 0 < sum(a.rechecked for a in some.values()) < sum(len(a.tokens) for a in some.values())
    assert all("d" in a.provenance for a in never.values())


def test_contradictions_are_refused():
    target, draft = pair(torch.float32)
    asked = prompts(1)
    with pytest.raises(ValueError, match="width of verification"):
        answers(target, asked, exactness="same_shape")
    with pytest.raises(ValueError, match="temperature 0"):
        answers(target, asked, exactness="recheck", temperature=1.0, drafter=DraftModel(draft, 2))
    with pytest.raises(ValueError, match="negative"):
        answers(target, asked, temperature=-1.0)
