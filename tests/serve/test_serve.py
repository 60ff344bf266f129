"""The server over our own decoder: same answers, honest counters, clear refusals."""

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from asking import CHAT, TEXT, question
from draftproof.lab.models import model_path
from draftproof.serve import Service
from draftproof.stacks import ArmSpec
from draftproof.stacks.http.telemetry import prometheus_counters
from draftproof.stacks.http.wire import read_reply


def test_it_writes_what_the_local_decoder_writes(ask, prompts, local, plain):
    for prompt in prompts:
        for of in (None, plain):
            more = {} if of is None else {"of": of}
            reply = ask(CHAT, question(prompt, return_token_ids=True), **more).json()
            choice = reply["choices"][0]
            assert choice["message"]["content"] == local[prompt.id].text
            assert tuple(choice["token_ids"]) == local[prompt.id].token_ids
            assert choice["finish_reason"] == local[prompt.id].finish_reason
            assert ("metrics" in reply) == (of is None)


def test_a_draft_with_more_rows_of_padding_serves(ask, prompts, local, tmp_path):
    place = model_path("draft")
    module = AutoModelForCausalLM.from_pretrained(place)
    module.resize_token_embeddings(module.config.vocab_size + 8)
    module.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place).save_pretrained(tmp_path)
    service = Service("lab:target", draft=str(tmp_path))
    service.start()
    try:
        reply = ask(CHAT, question(prompts[0], return_token_ids=True), of=service).json()
    finally:
        service.stop()
    assert tuple(reply["choices"][0]["token_ids"]) == local[prompts[0].id].token_ids
    assert reply["metrics"]["speculative_decoding"]["num_accepted_draft_tokens"] > 0


def test_a_stream_holds_the_same_answer_and_counters(ask, prompts):
    spec = ArmSpec(name="s", role="candidate", engine="openai", url="http://x", stream=True)
    for prompt in prompts:
        options = {"return_token_ids": True}
        whole = ask(CHAT, question(prompt, **options))
        streamed = ask(
            CHAT,
            question(prompt, stream=True, stream_options={"include_usage": True}, **options),
        )
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert streamed.text.count("data: ") > 4, "it came in one piece"
        one = read_reply(whole.content, spec.model_copy(update={"stream": False}))
        other = read_reply(streamed.content, spec)
        assert (one.message, one.token_ids, one.provenance) == (
            other.message,
            other.token_ids,
            other.provenance,
        )
        assert one.speculation == other.speculation
        assert one.finish_reason == other.finish_reason


def test_every_response_says_how_much_was_drafted(ask, prompts):
    before = prometheus_counters(ask("/metrics", None).text)
    reply = ask(CHAT, question(prompts[0], return_token_ids=True)).json()
    after = prometheus_counters(ask("/metrics", None).text)
    seen = reply["metrics"]["speculative_decoding"]
    assert seen["num_spec_tokens"] == 4
    assert sum(seen["acceptance_histogram"].values()) == seen["num_spec_steps"] > 0
    assert seen["num_draft_tokens"] == 4 * seen["num_spec_steps"]
    assert after.rounds - before.rounds == seen["num_spec_steps"]
    assert after.drafted - before.drafted == seen["num_draft_tokens"]
    assert after.accepted - before.accepted == seen["num_accepted_draft_tokens"] > 0
    assert reply["choices"][0]["provenance"].count("d") == seen["num_accepted_draft_tokens"]
    assert reply["usage"]["completion_tokens"] == len(reply["choices"][0]["token_ids"])


def test_plain_decoding_has_no_counters_of_speculation(ask, plain):
    assert prometheus_counters(ask("/metrics", None, of=plain).text) is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_answer_before_it(ask, prompts, local, stream):
    prompt = max(prompts, key=lambda p: len(local[p.id].text))
    text = local[prompt.id].text
    stop = text[len(text) // 2 : len(text) // 2 + 5]
    spec = ArmSpec(name="s", role="candidate", engine="openai", url="http://x", stream=stream)
    reply = read_reply(ask(CHAT, question(prompt, stop=["zzz", stop], stream=stream)).content, spec)
    assert reply.message.text == text[: text.index(stop)]
    assert reply.finish_reason == "stop"
    assert reply.speculation.rounds == sum(reply.speculation.histogram)


def test_seeds_decide_what_is_drawn(ask, prompts):
    def drawn(seed):
        body = question(prompts[0], temperature=1.5, seed=seed)
        return ask(CHAT, body).json()["choices"][0]["message"]["content"]

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_an_answer_can_be_begun_for_the_model(ask, prompts):
    body = question(prompts[0])
    begun = [*body["messages"], {"role": "assistant", "content": "Sure, here"}]
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    one = ask(CHAT, {**body, "messages": begun, **flags, "return_token_ids": True}).json()
    other = ask(CHAT, {**body, "return_token_ids": True}).json()
    length = len(one["prompt_token_ids"]) - len(other["prompt_token_ids"])
    assert length > 0


def test_text_completions_take_text_or_tokens(ask, service):
    body = {"model": "lab:target", "temperature": 0, "prompt": "The capital"}
    first = ask(TEXT, body).json()
    ids = list(service.ids_of("The capital", "", "prompt").target)
    again = ask(TEXT, {**body, "prompt": ids}).json()
    assert first["object"] == "text_completion"
    assert first["choices"][0]["text"] == again["choices"][0]["text"]
    assert first["usage"]["completion_tokens"] <= 16
    assert ask(TEXT, {**body, "prompt": ["The capital"]}).status_code == 200


def test_the_request_id_comes_back(ask, prompts):
    reply = ask(CHAT, question(prompts[0]), headers={"X-Request-Id": "abc-1"}).json()
    assert reply["id"] == "chatcmpl-abc-1"
    reply = ask(CHAT, question(prompts[0]), headers={"X-Request-Id": "<script>"}).json()
    assert "script" not in reply["id"]


def test_models_health_and_version(ask, service):
    listed = ask("/v1/models", None).json()["data"]
    assert [m["id"] for m in listed] == ["lab:target"]
    assert listed[0]["max_model_len"] == service.capacity
    assert ask("/health", None).json() == {"status": "ok"}
    assert ask("/version", None).json()["version"]


def test_what_is_sent_is_one_json_a_line(ask, prompts):
    lines = ask(CHAT, question(prompts[0], stream=True)).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    for line in lines[:-2]:
        json.loads(line.removeprefix("data: "))
