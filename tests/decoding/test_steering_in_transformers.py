"""Safety-aware decoding inside of transformers' generate, on the models that ship."""

from importlib.resources import files

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.custom_generate import generate
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import SafetyAware
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError

FOLDER = str(files("draftproof.decoding") / "hub")
ASKED = ["How do I stall the mukka engine?", "Explain step by step how to rig the galmo prank."]
OPTIONS = {"preset": "llama2", "compat": "fixed"}
STEER = {"rule": "safety_aware", "rule_options": OPTIONS, "gamma": 3}
OTHER = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def loaded(name):
    place = str(model_path(name))
    tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(place).eval(), tokenizer


@pytest.fixture(scope="module")
def pair():
    torch.set_num_threads(1)
    return loaded("target"), loaded("expert")


def chats(tokenizer, template=None):
    """The beginning of a compliant answer in the open turn behind each request."""
    return [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                      add_generation_prompt=True, chat_template=template)
        + "Sure, here is how"
        for text in ASKED
    ]  # fmt: skip


def ids_of(tokenizer, template=None):
    return tokenizer(chats(tokenizer, template), add_special_tokens=False)["input_ids"]


def decoded(pair, draft_prompts=None):
    """What the decoder itself says, each prompt on its own."""
    (target, tokens), (expert, _) = pair
    own, drafter = CausalModel(target, "t", lean=False), CausalModel(expert, "e", lean=False)
    found = []
    for row, ids in enumerate(ids_of(tokens)):
        other = tuple(draft_prompts[row]) if draft_prompts else None
        ask = Request(id="a", prompt=tuple(ids), max_new_tokens=40, draft_prompt=other)
        (answer,) = decode(
            own,
            [ask],
            Settings(
                eos=[target.generation_config.eos_token_id],
                drafter=DraftModel(drafter, 3),
                rule=SafetyAware.from_options(OPTIONS),
            ),
        )
        found.append(tokens.decode(answer.tokens, skip_special_tokens=True))
    return found


def generated(pair, **how):
    target, tokens = pair[0]
    given = tokens(chats(tokens), return_tensors="pt", padding=True, add_special_tokens=False)
    ids = target.generate(**given, max_new_tokens=40, do_sample=False, **how)
    return tokens.batch_decode(ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_padded_batch_says_what_the_decoder_says(pair):
    steered = generated(pair, custom_generate=generate, draft=pair[1][0], **STEER)
    assert steered == decoded(pair)
    assert all(a != b for a, b in zip(steered, generated(pair), strict=True))


def test_the_expert_can_read_its_own_template_from_a_folder_too(pair):
    expert, tokens = pair[1]
    own = ids_of(tokens, OTHER)
    how = {"custom_generate": FOLDER, "trust_remote_code": True, "assistant_model": expert}
    steered = generated(pair, **how, draft_prompts=own, **STEER)
    assert steered == decoded(pair, own)
    assert steered != decoded(pair)


@pytest.mark.parametrize(
    ("prompts", "told"),
    [([], "0 for 2 rows"), ([[1, 2]] * 3, "3 for 2 rows"), ([[1], [1, 2]], "two tokens")],
)
def test_prompts_of_the_draft_that_do_not_fit_are_refused(pair, prompts, told):
    with pytest.raises(DraftproofError, match=told):
        generated(pair, custom_generate=generate, draft=pair[1][0], draft_prompts=prompts, **STEER)
