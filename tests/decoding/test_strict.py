"""What is wrong with a model, a device or a prompt is said in one line that names it."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families import built, disturbed

from draftproof.decoding import SpeculativeDecoder
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.loop import decode
from draftproof.decoding.model import CausalModel
from draftproof.decoding.pretrained import load_pretrained
from draftproof.decoding.requests import Request
from draftproof.decoding.settings import Settings
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError

DRAFT = model_path("draft")


def altered(folder, change):
    place = folder / "model"
    shutil.copytree(DRAFT, place)
    tensors = load_file(place / "model.safetensors")
    change(tensors)
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    return str(place)


def rename(tensors):
    name = next(n for n in tensors if n.endswith("q_proj.weight"))
    tensors["somewhere.else"] = tensors.pop(name)


def cut(tensors):
    name = next(n for n in tensors if n.endswith("q_proj.weight"))
    tensors[name] = tensors[name][:-1].contiguous()


@pytest.mark.parametrize(
    ("change", "said"), [(rename, r"q_proj\.weight.*somewhere\.else"), (cut, r"q_proj\.weight")]
)
def test_tensors_that_are_not_the_models_are_named(tmp_path, change, said):
    with pytest.raises(DraftproofError, match=said) as raised:
        load_pretrained(altered(tmp_path, change))
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_here():
    with pytest.raises(DraftproofError, match="no device 'cuda' can be used here"):
        load_pretrained(str(DRAFT), device="cuda")


def test_a_path_gets_no_advice_about_hub_names():
    with pytest.raises(DraftproofError, match="no such directory") as raised:
        load_pretrained("./nowhere")
    assert "hub" not in str(raised.value)


def test_prompts_that_are_none():
    decoder = SpeculativeDecoder.from_pretrained(str(DRAFT))
    for prompt in (np.array([5, 6]), [np.array([5, 6])], [1.5, 2.0], 3, [[5, 6.0]], None):
        with pytest.raises(TypeError, match="prompt"):
            decoder.generate(prompt)
    with pytest.raises(DraftproofError, match="too small to divide by"):
        decoder.generate("a", temperature=1e-38)
    assert decoder.generate("a", temperature=1e-20, max_new_tokens=3).tokens


@pytest.mark.parametrize("rows", [(128, 160), (160, 128)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_padding_is_never_drafted(rows, temperature):
    target, draft = (
        CausalModel(module, str(n))
        for n, module in zip(
            rows, (built("llama", {"vocab_size": rows[0]}, None),
                   disturbed(built("llama", {"vocab_size": rows[1]}, None))), strict=True
        )
    )  # fmt: skip
    drafter = make_drafter("draft_model", Parts(target=target, gamma=3, draft=draft))
    asked = [Request(id=str(i), prompt=(5, 9, 20 + i), max_new_tokens=12) for i in range(3)]
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos=(), batch=3))}
    settings = Settings(eos=(), batch=3, drafter=drafter, temperature=temperature)
    for answer in decode(target, asked, settings):
        assert answer.drafted
        drafted = [t for t, p in zip(answer.tokens, answer.provenance, strict=True) if p == "d"]
        assert all(t < min(rows) for t in drafted)
        assert temperature or answer.tokens == plain[answer.id]


def test_a_configuration_that_lies_about_sizes_is_refused(tmp_path):
    place = altered(tmp_path, lambda _: None)
    file = f"{place}/config.json"
    with open(file, encoding="utf-8") as stream:
        config = json.load(stream)
    config["intermediate_size"] *= 2
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    with pytest.raises(DraftproofError, match="model"):
        load_pretrained(place)
