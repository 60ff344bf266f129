"""A quarter of the architectures, by turns: none is answered wrong, none crashes.

``DRAFTPROOF_FAMILIES=2/4`` chooses the quarter; without it the day of the year does.
"""

import os
import time
import warnings

import pytest
import torch
import transformers
from tests.families import VARIANTS, built, compared, families, outcomes, shard

from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.model import CausalModel


def quarter():
    return os.environ.get("DRAFTPROOF_FAMILIES", f"{time.gmtime().tm_yday % 4 + 1}/4")


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    ("family", "attention"),
    [("gemma2", "eager"), ("gemma3_text", "sdpa"), ("gpt_oss", "eager"), ("gpt_neo", "eager"),
     ("gptj", "eager"), ("mistral", "sdpa"), ("phi3", "sdpa"), ("llama4_text", "sdpa")],
)  # fmt: skip
def test_windows_chunks_caps_and_sinks_are_served(family, attention):
    found = compared(family, "", {}, attention)
    assert found.outcome in {"identical", "tie"}, found


def test_longrope_changes_its_factors_row_by_row_where_generate_does():
    """The prompts lie on both sides of the border; answers cross it and are rolled back over it."""
    ((name, more),) = VARIANTS["phi3"]
    assert compared("phi3", name, more, "eager").outcome == "identical"


def test_longrope_that_generate_itself_mixes_is_refused_with_the_reason():
    more = dict(VARIANTS["llama"])["longrope"]
    found = compared("llama", "longrope", more, None)
    assert found.outcome == "refused"
    assert "depending on where the prompt ended" in found.note


def window(seed, noise=0.0):
    """A tiny model that sees four tokens, or a draft that agrees with it often."""
    shape = {"vocab_size": 29, "sliding_window": 4, "attn_implementation": "eager"}
    model = built("mistral", shape, "eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=generator))
    return CausalModel(model, f"window {noise}")


@pytest.mark.parametrize("name", ["draft_model", "draft_tree"])
def test_a_windowed_pair_keeps_the_law_past_its_window(keeps_the_law, name):
    target, draft = window(1), window(1, 0.1)
    assert target.window == 4
    shape = {"parents": [-1, 0, 0, 1]} if name == "draft_tree" else {}
    drafter = make_drafter(name, Parts(target=target, gamma=3, draft=draft), shape)
    prompt = (3, 9, 4, 11, 17, 20, 8)
    assert keeps_the_law(drafter, prompt=prompt, of=target)


@pytest.mark.slow
@pytest.mark.parametrize("family", shard(families(), quarter()))
def test_no_architecture_is_answered_wrong(family):
    wrong = [one for one in outcomes([family]) if one.outcome in {"WRONG", "crash"}]
    assert not wrong
