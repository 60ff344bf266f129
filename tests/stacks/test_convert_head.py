"""recipes/vllm/convert_head.py: heads in vLLM's format compute what ours compute."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from draftproof.decoding.drafters import head_files
from draftproof.decoding.drafters.eagle_head import rotated
from draftproof.lab.models import heads_path, model_path
from draftproof.records import DraftproofError

SCRIPT = Path(__file__).parents[2] / "recipes/vllm/convert_head.py"
_PLACE = importlib.util.spec_from_file_location("convert_head", SCRIPT)
convert_head = importlib.util.module_from_spec(_PLACE)
_PLACE.loader.exec_module(convert_head)

TOKENS = 7


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    weights = load_file(model_path("target") / "model.safetensors")
    return weights["model.embed_tokens.weight"].float()


def converted(name, tmp_path):
    out = tmp_path / name
    convert_head.convert(f"lab:{name}", model_path("target"), out)
    return json.loads((out / "config.json").read_text()), load_file(out / "model.safetensors")


def attend(query, key, value):
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
        is_causal=True, enable_gqa=True,
    )  # fmt: skip
    return mixed.transpose(1, 2).flatten(2)


class Layer:
    """vLLM's EAGLE-3 layer (model_executor/models/llama_eagle3.py), in plain torch."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T

    def norm(self, x, name):
        mean = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean + self.config["rms_norm_eps"]) * self.weights[f"{name}.weight"]

    def __call__(self, embedded, features, positions):
        """Return the features of the tokens' own positions and the logits."""
        config = self.config
        base = config["rope_parameters"]["rope_theta"]
        read = torch.cat(
            [
                self.norm(embedded, "midlayer.input_layernorm"),
                self.norm(features, "midlayer.hidden_norm"),
            ],
            dim=-1,
        )
        shape = (*read.shape[:2], -1, config["head_dim"])
        query, key, value = (
            self.linear(read, f"midlayer.self_attn.{n}_proj").view(shape) for n in "qkv"
        )
        assert query.shape[2] == config["num_attention_heads"]
        assert key.shape[2] == config["num_key_value_heads"]
        mixed = attend(rotated(query, positions, base), rotated(key, positions, base), value)
        x = features + self.linear(mixed, "midlayer.self_attn.o_proj")
        inner = self.norm(x, "midlayer.post_attention_layernorm")
        gate = functional.silu(self.linear(inner, "midlayer.mlp.gate_proj"))
        up = self.linear(inner, "midlayer.mlp.up_proj")
        x = x + self.linear(gate * up, "midlayer.mlp.down_proj")
        return x, self.linear(self.norm(x, "norm"), "lm_head")


@torch.inference_mode()
def test_eagle3_computes_the_same_from_the_targets_states_and_from_its_own(embedding, tmp_path):
    config, weights = converted("eagle3", tmp_path)
    ours = head_files.load("lab:eagle3")
    assert config["head_dim"] % convert_head.MULTIPLE == 0
    assert config["hidden_size"] == ours.shape.hidden
    theirs = Layer(config, weights)
    ids = torch.randint(0, ours.shape.vocabulary, (1, TOKENS))
    embedded, positions = embedding[ids], torch.arange(TOKENS)[None]
    states = torch.randn(1, TOKENS, ours.shape.hidden * len(ours.shape.taps))
    own, others = ours.entered(states), theirs.linear(states, "fc")
    for _ in range(3):
        own = ours(embedded, own, positions, attend)
        others, logits = theirs(embedded, others, positions)
        torch.testing.assert_close(logits, ours.readable(own) @ embedding.T, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_medusa_computes_the_same(embedding, tmp_path):
    config, weights = converted("medusa", tmp_path)
    ours = head_files.load("lab:medusa")
    assert config["num_heads"] == ours.shape.heads
    states = torch.randn(5, ours.shape.hidden)
    for n in range(ours.shape.heads):
        layer = f"blocks.{n}.layers.0"
        inner = functional.linear(states, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        ahead = states + functional.silu(inner)
        wanted = ours(states)[:, n] @ embedding.T
        torch.testing.assert_close(ahead @ weights["lm_head.weight"].T, wanted)


def test_what_vllm_has_no_place_for_is_refused(tmp_path):
    with pytest.raises(DraftproofError, match="no place for eagle heads"):
        converted("eagle", tmp_path)
    with pytest.raises(DraftproofError, match="another target"):
        convert_head.convert("lab:medusa", model_path("draft"), tmp_path / "out")
    with pytest.raises(DraftproofError, match="no heads can be read"):
        convert_head.convert(str(heads_path("medusa").parent), model_path("target"), tmp_path)
    assert not (tmp_path / "out").exists()
