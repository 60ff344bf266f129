"""Answers shaped by processors, formats and rules, and the log-probabilities beside them."""

import json

import pytest

from asking import CHAT, TEXT, question
from draftproof.serve import Service


def wire(ask, prompt, **options):
    reply = ask(CHAT, question(prompt, return_token_ids=True, **options))
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]


LONG = {"min_tokens": 70, "max_tokens": 80}


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (LONG, {"presence_penalty": 2.0}),
        (LONG, {"frequency_penalty": 2.0}),
        (LONG, {"repetition_penalty": 1.4}),
        ({"max_tokens": 80}, {"min_tokens": 70}),
        ({}, {"logit_bias": {"226": -100, "7": 3.5, "17": -100}}),
    ],
)
def test_a_shaped_answer_does_not_depend_on_the_draft(ask, prompts, plain, base, change):
    seen = []
    for prompt in prompts:
        fast = wire(ask, prompt, **base, **change)
        slow = wire(lambda path, body: ask(path, body, of=plain), prompt, **base, **change)
        assert fast["token_ids"] == slow["token_ids"]
        seen.append(fast["token_ids"] != wire(ask, prompt, **base)["token_ids"])
    assert any(seen), "the option did nothing"


def test_the_likeliest_token_alone_is_the_greedy_answer(ask, prompts, local):
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        choice = wire(ask, prompts[0], temperature=1.5, **narrow)
        assert tuple(choice["token_ids"]) == local[prompts[0].id].token_ids


@pytest.mark.parametrize("kind", ["json_schema", "json_object"])
def test_a_response_format_is_kept_whatever_the_draft_says(ask, prompts, plain, kind):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 99}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    form = form if kind == "json_schema" else {"type": kind}
    fast = wire(ask, prompts[0], response_format=form, max_tokens=120)
    slow = wire(lambda p, b: ask(p, b, of=plain), prompts[0], response_format=form, max_tokens=120)
    assert fast["token_ids"] == slow["token_ids"]
    assert fast["message"]["content"].lstrip().startswith("{")
    if kind == "json_schema":
        said = json.loads(fast["message"]["content"])
        assert said.keys() == {"ok", "n"}
        assert isinstance(said["ok"], bool)


def test_every_token_comes_with_its_logprob(ask, prompts, plain):
    of_chat = wire(ask, prompts[0], logprobs=True)
    content = of_chat["logprobs"]["content"]
    assert len(content) == len(of_chat["token_ids"])
    assert all(-50 < part["logprob"] <= 0 and part["top_logprobs"] == [] for part in content)
    said = b"".join(bytes(p["bytes"]) for p in content[:-1])
    assert said.decode() == of_chat["message"]["content"]
    slow = wire(lambda p, b: ask(p, b, of=plain), prompts[0], logprobs=True)
    for one, other in zip(content, slow["logprobs"]["content"], strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)
    body = {"model": "lab:target", "prompt": "The capital", "temperature": 0, "logprobs": 0}
    text = ask(TEXT, body).json()["choices"][0]
    assert "".join(text["logprobs"]["tokens"]).startswith(text["text"])
    assert len(text["logprobs"]["token_logprobs"]) == len(text["logprobs"]["tokens"])
    assert wire(ask, prompts[0])["logprobs"] is None


def test_streamed_logprobs_are_those_of_the_whole_answer(ask, prompts):
    whole = wire(ask, prompts[0], logprobs=True)["logprobs"]["content"]
    lines = ask(CHAT, question(prompts[0], logprobs=True, stream=True)).text.split("\n\n")
    parts = []
    for line in lines[:-2]:
        found = json.loads(line.removeprefix("data: "))["choices"][0]["logprobs"]
        parts += found["content"] if found else []
    assert [p["token"] for p in parts] == [p["token"] for p in whole]
    values = [p["logprob"] for p in whole]
    assert [p["logprob"] for p in parts] == pytest.approx(values, abs=1e-4)


def test_a_rule_that_steers_says_in_which_mode_it_decided(ask, prompts):
    steered = Service("lab:target", draft="lab:expert", rule="safety_aware")
    steered.start()
    try:
        reply = ask(CHAT, question(prompts[0], return_token_ids=True), of=steered).json()
    finally:
        steered.stop()
    choice = reply["choices"][0]
    assert len(choice["modes"]) == len(choice["provenance"]) == len(choice["token_ids"])
    assert set(choice["modes"]) <= {"1", "2"}
