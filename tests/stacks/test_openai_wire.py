"""What is sent, what is believed, and what arms may declare."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from draftproof.recorded.message import ChatMessage
from draftproof.records import Channel, DraftproofError, Message, Prompt, ToolCall
from draftproof.rescoring import make_rescorer
from draftproof.stacks import ArmSpec
from draftproof.stacks.http.client import _retry_after, http_client, secrets_of
from draftproof.stacks.http.engine import OpenAIEngine
from draftproof.stacks.http.wire import FaultError, error_text, read_reply, request_body


def spec(**options):
    defaults = {"name": "a", "role": "candidate", "engine": "openai", "url": "http://host:1"}
    return ArmSpec.model_validate(defaults | options)


PROMPT = Prompt(id="p", task="t", messages=(Message("system", "S"), Message("user", "U")))
BEGUN = Prompt(id="p", task="t", messages=PROMPT.messages, prefill="Sure")


def test_a_chat_request_holds_the_messages_and_nothing_random():
    assert request_body(spec(max_new_tokens=9), PROMPT, "m") == {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
        "temperature": 0.0,
        "max_tokens": 9,
        "stream": False,
    }


def test_a_begun_answer_is_continued():
    body = request_body(spec(), BEGUN, "m")
    assert body["messages"][-1] == {"role": "assistant", "content": "Sure"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert request_body(spec(api="completions"), BEGUN, "m")["prompt"] == "S\n\nU\n\nSure"


def test_seeds_belong_to_the_prompt():
    other = Prompt(id="q", task="t", messages=PROMPT.messages)
    seeds = [
        request_body(spec(temperature=1, seed=seed), prompt, "m")["seed"]
        for seed in (0, 1)
        for prompt in (PROMPT, other)
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= s < 2**31 for s in seeds)


def test_the_prompt_hash_says_what_was_asked():
    engines = [OpenAIEngine(spec(**o)) for o in ({}, {"concurrency": 8}, {"api": "completions"})]
    one, loaded, text = (e.prompt_hash(PROMPT) for e in engines)
    assert one == loaded != text
    assert engines[0].prompt_hash(BEGUN) != one


def whole(**change):
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "x"}}
    return {"id": "i", "model": "m", "choices": [choice], **change}


def with_choice(**change):
    return whole(choices=[whole()["choices"][0] | change])


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (whole(choices=[]), "holds 0 choices"),
        (whole(choices=None), "holds 0 choices"),
        (whole(choices=whole()["choices"] * 2), "holds 2 choices"),
        (whole(id=None), "no id"),
        (whole(model=7), "no model"),
        (whole(error={"message": "m"}), "error"),
        (with_choice(index=1), "index 1"),
        (with_choice(message={"content": 7}), "content must be a string"),
        (with_choice(message={}), "no text"),
        (with_choice(message=None), "no message"),
        (with_choice(message={"content": "", "tool_calls": [{}]}), "no function name"),
        (with_choice(message={"content": "", "reasoning_content": 1}), "reasoning_content"),
        (with_choice(finish_reason=None), "broken off"),
        (with_choice(finish_reason="abort"), "broken off"),
        (with_choice(finish_reason={"type": "stop"}), "broken off"),
        ([], "no JSON object"),
    ],
)
def test_what_is_not_one_whole_answer_is_a_fault(document, told):
    with pytest.raises(FaultError, match=told):
        read_reply(json.dumps(document).encode(), spec())


@pytest.mark.parametrize("body", [b"", b" \n", b"{", b"\xff", b"[" * 200_000, b"NaN"])
def test_hostile_bodies_are_faults(body):
    for stream in (False, True):
        with pytest.raises(FaultError):
            read_reply(body, spec(stream=stream))


def lines(*documents, end=True):
    events = [f"data: {json.dumps(d, ensure_ascii=False)}\r\n\r\n" for d in documents]
    return "".join([": ping\n\n", *events, "data: [DONE]\n\n" if end else ""]).encode()


def chunk(text=None, reason=None, **change):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "i", "model": "m", "choices": [choice], **change}


def test_a_stream_is_put_together():
    body = lines(
        chunk("a\u2028"), chunk("b\u0085c"), chunk(reason="length"), whole(choices=[], usage={})
    )
    reply = read_reply(body, spec(stream=True))
    assert reply.message.text == "a\u2028b\u0085c"
    assert reply.finish_reason == "length"
    # the last empty line may be missing
    assert read_reply(body.rstrip(), spec(stream=True)) == reply


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lines(chunk("a"), chunk(reason="stop"), end=False), "cut off"),
        (lines(chunk("a")), "cut off"),
        (lines(chunk("a"), chunk("b", id="j"), chunk(reason="stop")), "changes its id"),
        (lines(chunk("a"), chunk(reason="stop", model="n")), "changes its model"),
        (lines(chunk("a"), chunk(reason="stop"), chunk("b")), "finish_reason"),
        (lines(chunk("a"), chunk(reason="stop")) + lines(chunk("b")), "after its end"),
        (lines(chunk("a", choices=[{"index": 1}])), "2 choices or more"),
        (lines({"error": {"message": "dead"}}), "dead"),
        (lines(chunk("a", choices=5)), "2 choices or more"),
        (lines(chunk(choices=[{"delta": "a"}])), "no text"),
        (lines(chunk(7)), "no text"),
        (lines(chunk("a"), chunk(reason=["stop"])), "broken off"),
        (lines(chunk("a")).replace(b'"a"', b'"\xff"'), "no UTF-8"),
    ],
)
def test_a_broken_stream_is_a_fault(body, told):
    with pytest.raises(FaultError, match=told):
        read_reply(body, spec(stream=True))


def test_retry_after_is_seconds_or_nothing():
    assert _retry_after("2") == 2
    assert _retry_after("99999") == 99999
    assert _retry_after("nan") is None
    assert _retry_after("-1") is None
    assert _retry_after("soon") is None
    assert _retry_after(None) is None
    assert _retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 1e9
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") is None


def test_errors_are_shortened():
    assert error_text(b'{"error": {"message": "m"}}', 400) == "HTTP 400: m"
    assert error_text(b"<html>", 502) == "HTTP 502"
    assert len(error_text(json.dumps({"error": "x" * 9999}).encode(), 400)) < 400


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"url": None}, "needs a url"),
        ({"url": "ftp://x"}, "no http"),
        ({"url": "http://user:secret@x"}, "password"),
        ({"url": "http://x/v1?key=1"}, "query"),
        ({"url": None, "serve": "vllm serve m"}, "no {port}"),
        ({"serve": "vllm serve m --api-key sk-1"}, "API key"),
        ({"api_key_env": "sk-abc-def"}, "name of an environment variable"),
        ({"extra_body": {"n": 4}}, "'n' is set by the engine"),
        ({"rule": "typical", "draft": "d"}, "has no rule"),
        ({"engine": "local", "target": "t"}, "takes no url"),
        ({"engine": "local", "url": None}, "needs a target"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_declarations_that_make_no_sense_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        spec(**change)


def test_an_address_may_end_in_v1():
    assert spec(url="http://host:1/v1/").url == "http://host:1"


def test_speculation_is_expected_by_role():
    assert spec().speculative
    assert not spec(role="baseline").speculative
    assert not spec(speculates=False).speculative
    assert make_rescorer(spec()) is None


def test_a_key_comes_from_the_environment_and_is_written_nowhere(monkeypatch):
    arm = spec(api_key_env="DRAFTPROOF_TEST_KEY")
    engine = OpenAIEngine(arm)
    monkeypatch.delenv("DRAFTPROOF_TEST_KEY", raising=False)
    with pytest.raises(DraftproofError, match="DRAFTPROOF_TEST_KEY, which is not set"):
        engine.open([PROMPT])
    monkeypatch.setenv("DRAFTPROOF_TEST_KEY", "sk-secret")
    nobody = OpenAIEngine(spec(url="http://127.0.0.1:9", api_key_env=arm.api_key_env))
    with pytest.raises(DraftproofError, match="cannot be reached") as caught:
        nobody.open([PROMPT])
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in json.dumps(
        [engine.fingerprint().to_json(), arm.model_dump(mode="json")]
    )


def test_the_engine_needs_no_torch():
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'transformers'}:\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import draftproof.stacks.http.engine, draftproof.recorded.recorded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# as llama-server 0.5.0-dev was seen to answer with return_tokens and verbose
LLAMA_CPP = {
    "choices": [{"finish_reason": "stop", "index": 0,
                 "message": {"role": "assistant", "content": "Sure, here"}}],
    "created": 1795302728, "id": "chatcmpl-ogau", "model": "lab", "object": "chat.completion",
    "system_fingerprint": "b1-0c1e570", "__verbose": {"index": 0, "tokens": [46, 386, 2]},
    "timings": {"prompt_n": 9, "predicted_n": 3, "draft_n": 4, "draft_n_accepted": 1},
}  # fmt: skip


def test_llama_cpp_puts_the_ids_beside_the_answer():
    reply = read_reply(json.dumps(LLAMA_CPP).encode(), spec())
    assert reply.token_ids == (46, 386, 2)
    assert (reply.speculation.drafted, reply.speculation.accepted) == (4, 1)
    for odd in ({"tokens": []}, {"tokens": ["x"]}, {}, None, 7):
        document = LLAMA_CPP | {"__verbose": odd}
        assert read_reply(json.dumps(document).encode(), spec()).token_ids is None


CALL = {"id": "c", "function": {"name": "find", "arguments": '{"city": "Fano",  "n": 1}'}}


@pytest.mark.parametrize(
    ("message", "channels"),
    [
        ({"content": None, "tool_calls": [CALL]}, {"tool_calls": (ToolCall(
            name="find", arguments='{"city": "Fano",  "n": 1}'),)}),
        ({"content": None, "function_call": {"name": "f", "arguments": ""}},
         {"tool_calls": (ToolCall(name="f", arguments=""),)}),
        ({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
         {"tool_calls": (ToolCall(name="f", arguments='{"a": 1}'),)}),
        ({"content": "A", "reasoning_content": "R"}, {"text": "A", "reasoning": "R"}),
        ({"content": "A", "reasoning": "R"}, {"text": "A", "reasoning": "R"}),
        ({"content": None, "refusal": "No."}, {"refusal": "No."}),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
         {"text": "ab"}),
        ({"content": None}, {}),
    ],
)  # fmt: skip
def test_every_channel_of_a_message_is_read(message, channels):
    empty = {"text": "", "reasoning": None, "tool_calls": None, "refusal": None}
    reply = read_reply(json.dumps(with_choice(message=message)).encode(), spec())
    assert asdict(reply.message) == asdict(ChatMessage(**(empty | channels)))
    assert set(reply.channels) == set(Channel) - {Channel.TOKENS}


def delta(**fields):
    return whole(choices=[{"index": 0, "delta": fields}])


def test_a_stream_holds_the_channels_of_the_whole():
    body = lines(
        delta(role="assistant", content=""),
        delta(reasoning_content="Is it "),
        delta(reasoning_content="theft?"),
        delta(content="Ask "),
        delta(tool_calls=[{"index": 0, "function": {"name": "find", "arguments": ""}}]),
        delta(tool_calls=[{"index": 1, "function": {"name": "call"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city": '}}]),
        delta(content="them."),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '"Fano"}'}}]),
        chunk(reason="tool_calls"),
    )
    reply = read_reply(body, spec(stream=True))
    assert reply.message == ChatMessage(
        text="Ask them.",
        reasoning="Is it theft?",
        tool_calls=(
            ToolCall(name="find", arguments='{"city": "Fano"}'),
            ToolCall(name="call", arguments=""),
        ),
    )
    assert reply.finish_reason == "tool_calls"


def test_the_limit_is_sent_under_the_name_that_the_plan_gives():
    body = request_body(spec(limit_field="max_completion_tokens"), PROMPT, "m")
    assert body["max_completion_tokens"] == spec().max_new_tokens
    assert "max_tokens" not in body


def test_a_header_that_holds_a_key_is_named_by_its_variable(monkeypatch):
    arm = spec(headers_env={"api-key": "A_KEY_OF_OURS"})
    monkeypatch.delenv("A_KEY_OF_OURS", raising=False)
    with pytest.raises(DraftproofError, match=r"headers_env\.api-key names A_KEY_OF_OURS"):
        http_client(arm, arm.url)
    monkeypatch.setenv("A_KEY_OF_OURS", "velvet")
    assert http_client(arm, arm.url).headers["api-key"] == "velvet"
    assert secrets_of(arm) == ["velvet"]
    with pytest.raises(ValidationError, match="not the key itself"):
        spec(headers_env={"api-key": "velvet-anchor"})
    with pytest.raises(ValidationError, match="no name of a request header"):
        spec(headers_env={"api key": "A"})
