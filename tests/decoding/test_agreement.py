"""A model whose forward is not its checkpoint's is refused; what was found out is kept."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from draftproof.decoding import SpeculativeDecoder, agreement, remembered
from draftproof.decoding.custom_generate import generate
from draftproof.decoding.forward import protocol
from draftproof.decoding.model import CausalModel
from draftproof.records import DraftproofError

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3,
}  # fmt: skip


def causal(kind=LlamaForCausalLM, config=None, **ways):
    torch.manual_seed(4)
    module = kind(config or LlamaConfig(**SHAPE)).eval()
    return CausalModel(module, "the model", **ways)


@pytest.fixture
def broken_mask(monkeypatch):
    """Every token sees what comes after it."""
    whole = protocol.block_view

    def view(*args):
        made = whole(*args)
        return dataclasses.replace(made, seen=torch.ones_like(made.seen))

    def all_of_it(self, _):
        return self.seen[:, None]

    monkeypatch.setattr(protocol, "block_view", view)
    monkeypatch.setattr("draftproof.decoding.masks.BlockView.narrowed", all_of_it)


@pytest.mark.parametrize("ways", [{}, {"fused": False}, {"fused": False, "lean": False}])
def test_every_forward_agrees_within_arithmetic(ways):
    model = causal(**ways)
    found = agreement.settled(model)
    assert found.holds
    assert not found.instead_of
    assert found.difference < found.bound / 2


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_broken_mask_is_refused(broken_mask, attention):
    config = MistralConfig(**SHAPE, sliding_window=8, attn_implementation=attention)
    with pytest.raises(DraftproofError, match="does not compute what the checkpoint says"):
        agreement.settled(causal(MistralForCausalLM, config))


def test_a_mask_that_forgets_the_window_is_refused(monkeypatch):
    def everything(self, function):
        return self.seen[:, None]

    config = MistralConfig(**SHAPE, sliding_window=8)
    monkeypatch.setattr("draftproof.decoding.masks.BlockView.narrowed", everything)
    with pytest.raises(DraftproofError, match="checkpoint says"):
        agreement.settled(causal(MistralForCausalLM, config))


def test_a_lean_forward_that_disagrees_gives_way_to_the_module():
    model = causal(fused=False)
    layer = model._forward._layers[0]
    layer.before = layer.before * 1.5
    found = agreement.settled(model)
    assert (found.forward, found.instead_of) == ("module", "lean")
    assert model.forward_kind == "module"


def test_an_outcome_is_read_again_and_a_corrupt_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = remembered.remembered(causal(), "weights")
    (file,) = tmp_path.rglob("*.json")

    def never(_):
        raise AssertionError("looked at again")

    with monkeypatch.context() as inner:
        inner.setattr(remembered, "settled", never)
        assert remembered.remembered(causal(), "weights") == first
        with pytest.raises(AssertionError):
            remembered.remembered(causal(), "other weights")
    for held in ("{", "[]", json.dumps({**dataclasses.asdict(first), "difference": float("nan")})):
        file.write_text(held)
        assert remembered.remembered(causal(), "weights") == first


class Tokens:
    """As much of a tokenizer as token ids need."""

    eos_token_id = None

    def get_vocab(self):
        return {str(i): i for i in range(61)}

    def decode(self, ids, **_):
        return " ".join(map(str, ids))


@pytest.fixture
def looked(monkeypatch):
    """The models that were compared, one entry a comparison."""
    seen = []
    whole = remembered.settled

    def settled(model):
        seen.append(model.module)
        return whole(model)

    monkeypatch.setattr(remembered, "settled", settled)
    return seen


def ask_decoder(module, draft, **options):
    decoder = SpeculativeDecoder.from_models(module, Tokens(), draft, **options)
    return decoder.generate([5, 9, 20, 3], max_new_tokens=4).tokens


def ask_generate(module, draft, **options):
    given = partial(generate, draft=draft, **options)
    ids = torch.tensor([[5, 9, 20, 3]])
    more = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, "do_sample": False}
    return tuple(module.generate(ids, custom_generate=given, max_new_tokens=4, **more)[0, 4:])


@pytest.mark.parametrize("ask", [ask_decoder, ask_generate])
def test_a_model_in_memory_is_looked_at_once(looked, ask):
    module, draft = causal().module, causal().module
    first = ask(module, draft)
    assert looked == [module, draft]
    assert ask(module, draft) == first
    assert len(looked) == 2
    assert ask(causal().module, draft, check=False) == first
    assert len(looked) == 2


@pytest.mark.parametrize("ask", [ask_decoder, ask_generate])
def test_a_model_in_memory_that_is_computed_wrong_is_refused(broken_mask, ask):
    config = MistralConfig(**SHAPE, sliding_window=8)
    module, draft = (causal(MistralForCausalLM, config).module for _ in range(2))
    with pytest.raises(DraftproofError, match="does not compute what the checkpoint says"):
        ask(module, draft)
    assert len(ask(module, draft, check=False)) == 4
