"""A checkpoint's own generation_config means the same to whoever asks the decoder."""

import asyncio
import dataclasses
import json
import shutil
from functools import partial

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from asking import CHAT, question
from draftproof.battery import load_battery
from draftproof.decoding import SpeculativeDecoder
from draftproof.decoding.custom_generate import generate
from draftproof.lab.models import model_path
from draftproof.records import Role
from draftproof.serve import Service, create_app
from draftproof.stacks import make_engine
from draftproof.stacks.spec import ArmSpec


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "penal"
    shutil.copytree(model_path("target"), place)
    file = place / "generation_config.json"
    config = json.loads(file.read_text())
    config |= {"repetition_penalty": 1.4, "suppress_tokens": [40, 41], "min_new_tokens": 5,
               "do_sample": True, "temperature": 0.7, "top_k": 3}  # fmt: skip
    file.write_text(json.dumps(config))
    return str(place)


def asked(place, engine, **options):
    spec = ArmSpec(
        name="arm", role=Role.BASELINE, engine=engine, target=place, max_new_tokens=20, **options
    )
    arm = make_engine(spec)
    prompts = load_battery("lab-core").half("quick").limit(2).prompts
    arm.open(prompts)
    found = {a.id: a.token_ids for a in arm.answer(prompts)}
    return found, arm.fingerprint().to_json()["target"]


def test_it_is_honoured_alike_and_listed(place):
    ours, seen = asked(place, "local")
    theirs, also = asked(place, "transformers")
    assert ours == theirs
    listed = json.loads(seen["generation_config"])
    assert listed == {"repetition_penalty": 1.4, "suppress_tokens": [40, 41], "min_new_tokens": 5}
    assert also["generation_config"] == seen["generation_config"]


def test_it_can_be_left_out_of_both(place):
    ours, _ = asked(place, "local", ignore_generation_config=True)
    theirs, _ = asked(place, "transformers", ignore_generation_config=True)
    assert ours == theirs
    assert ours != asked(place, "local")[0]
    assert ours == asked("lab:target", "local")[0]


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(2).prompts


def served(place, prompts, **options):
    service = Service(place, draft="lab:draft", **options.pop("service", {}))
    service.start()

    async def reply(prompt):
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            body = question(prompt, return_token_ids=True, max_tokens=20, model=place, **options)
            return (await http.post(CHAT, json=body)).json()["choices"][0]["token_ids"]

    try:
        return {p.id: tuple(asyncio.run(reply(p))) for p in prompts}
    finally:
        service.stop()


def decoded(place, prompts, *, options=None, **more):
    decoder = SpeculativeDecoder.from_pretrained(place, str(model_path("draft")), **more)
    chats = [[dataclasses.asdict(m) for m in p.messages] for p in prompts]
    answers = decoder.generate(chats, max_new_tokens=20, **(options or {}))
    return {p.id: a.tokens for p, a in zip(prompts, answers, strict=True)}


def test_the_api_and_the_server_say_what_the_engines_say(place, prompts):
    ours, _ = asked(place, "local")
    bare, _ = asked(place, "local", ignore_generation_config=True)
    assert decoded(place, prompts) == served(place, prompts) == ours
    without = {"ignore_generation_config": True}
    assert decoded(place, prompts, **without) == bare
    assert served(place, prompts, service=without) == bare


def test_what_a_caller_names_comes_before_the_checkpoint(place, prompts):
    named = {"repetition_penalty": 1.0}
    engine, _ = asked(place, "local", processors=named)
    assert engine != asked(place, "local")[0]
    assert decoded(place, prompts, options=named) == engine
    assert served(place, prompts, **named) == engine


def test_transformers_brings_it_into_generate_by_itself(place, prompts):
    target, draft = (
        AutoModelForCausalLM.from_pretrained(p, dtype=torch.float32).eval()
        for p in (place, model_path("draft"))
    )
    decoder = SpeculativeDecoder.from_pretrained(place)
    ours, _ = asked(place, "local")
    for prompt in prompts:
        chat = [dataclasses.asdict(m) for m in prompt.messages]
        ids = decoder.target.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        found = target.generate(
            **ids,
            custom_generate=partial(generate, draft=draft),
            max_new_tokens=20,
            do_sample=False,
        )
        assert tuple(found[0, ids["input_ids"].shape[1] :].tolist()) == ours[prompt.id]
