"""What the server refuses, by name, and what it survives."""

import asyncio
import dataclasses
import threading

import httpx
import pytest
from click.testing import CliRunner

from asking import CHAT, TEXT, question
from draftproof.cli.serve import serve
from draftproof.decoding.options import Options
from draftproof.decoding.session import PromptIds
from draftproof.serve import create_app
from draftproof.serve.jobs import Finished, Job

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("path", "change", "status", "told"),
    [
        (CHAT, {"n": 2}, 400, "n is 2"),
        (CHAT, {"n": True}, 400, "n is True"),
        (CHAT, {"top_p": 1.5}, 400, "top_p"),
        (CHAT, {"top_p": 0}, 400, "top_p"),
        (CHAT, {"top_k": -2}, 400, "top_k"),
        (CHAT, {"repetition_penalty": 0}, 400, "repetition_penalty"),
        (CHAT, {"logprobs": True, "top_logprobs": 5}, 400, "top_logprobs"),
        (TEXT, {"prompt": "a", "logprobs": 3}, 400, "logprobs"),
        (CHAT, {"logit_bias": {"-1": 3}}, 400, "logit_bias"),
        (CHAT, {"logit_bias": {"1": 300}}, 400, "logit_bias"),
        (CHAT, {"logit_bias": {"9999999": 3}}, 400, "is no token"),
        (CHAT, {"response_format": {"type": "json_schema"}}, 400, "json_schema"),
        (CHAT, {"response_format": {"type": "grammar"}}, 400, "response_format"),
        (
            CHAT,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "nope"}},
                }
            },
            400,
            "JSON schema",
        ),
        (CHAT, {"tools": [{"type": "function"}]}, 400, "tools"),
        (CHAT, {"presence_penalty": 2.5}, 400, "presence_penalty"),
        (CHAT, {"temperature": -1}, 400, "temperature"),
        (CHAT, {"temperature": "hot"}, 400, "temperature"),
        (CHAT, {"max_tokens": 0}, 400, "max_tokens"),
        (CHAT, {"max_tokens": 100_000}, 400, "fit in all"),
        (CHAT, {"messages": []}, 400, "messages"),
        (CHAT, {"messages": "hello"}, 400, "messages"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "fit in all"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "content",
        ),
        (CHAT, {"stop": [""]}, 400, "stop"),
        (CHAT, {"stop": ["x"] * 17}, 400, "stop"),
        (CHAT, {"seed": -1}, 400, "seed"),
        (CHAT, {"mirostat": 2}, 400, "mirostat"),
        (CHAT, {"model": "another"}, 404, "another"),
        (CHAT, {"model": None}, 400, "model"),
        (CHAT, {"add_generation_prompt": False}, 400, "generation prompt"),
        (CHAT, {"continue_final_message": True}, 400, "add_generation_prompt"),
        (TEXT, {"prompt": ["a", "b"]}, 400, "one prompt"),
        (TEXT, {"prompt": []}, 400, "prompt"),
        (TEXT, {"prompt": [10_000_000]}, 400, "no tokens"),
        (TEXT, {"prompt": [-1]}, 400, "no tokens"),
        (TEXT, {"prompt": ""}, 400, "no tokens"),
        (TEXT, {"prompt": "a", "echo": True}, 400, "echo"),
        (TEXT, {"prompt": "a", "best_of": 3}, 400, "best_of"),
    ],
)
def test_what_is_not_served_is_refused_by_name(ask, path, change, status, told):
    body = {"model": "lab:target"} | ({"messages": MESSAGES} if path == CHAT else {})
    reply = ask(path, body | change)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_broken_bodies_are_refused(ask, raw):
    reply = ask(CHAT, {}, content=raw, json=None)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_bodies_are_bounded(ask):
    reply = ask(CHAT, {}, content=b" " * (4 * 1024 * 1024 + 1), json=None)
    assert reply.status_code == 413


def test_neutral_and_idle_fields_are_served(ask, prompts):
    body = question(
        prompts[0], n=1, top_p=1.0, top_k=-1, presence_penalty=0, logprobs=False, user="u", tools=[]
    )
    assert ask(CHAT, {**body, "max_tokens": 2}).status_code == 200


def test_unknown_places_answer_in_the_protocols_form(ask):
    for path, body in (("/v1/embeddings", {}), ("/nothing", None), (CHAT, None)):
        reply = ask(path, body)
        assert reply.status_code in {404, 405}
        assert reply.json()["error"]["message"]


def test_the_queue_is_bounded(ask, service, prompts, monkeypatch):
    gate, entered = threading.Event(), threading.Event()

    def held(job):
        entered.set()
        gate.wait(20)
        job.tell(Finished(service_piece(), "stop", 0, None))

    def service_piece():
        from draftproof.serve.jobs import Piece  # noqa: PLC0415

        return Piece("", (), "")

    def job(number):
        options = Options(max_new_tokens=1)
        asked = service.request_of(str(number), PromptIds((1,)), options)
        return Job(request=asked, options=options, live=False, tell=lambda _: None)

    monkeypatch.setattr(service, "_answer", held)
    try:
        service.submit(job(0))
        assert entered.wait(10)
        for number in range(1, 5):
            service.submit(job(number))
        reply = ask(CHAT, question(prompts[0]))
        assert reply.status_code == 429
        assert reply.headers["Retry-After"] == "1"
        assert reply.json()["error"]["type"] == "rate_limit_error"
    finally:
        gate.set()


def test_one_failing_request_does_not_end_the_worker(ask, service, prompts, monkeypatch):
    monkeypatch.setattr(service._session, "stream", lambda *_: 1 / 0)
    reply = ask(CHAT, question(prompts[0]))
    assert reply.status_code == 500
    assert "ZeroDivisionError" in reply.json()["error"]["message"]
    streamed = ask(CHAT, question(prompts[0], stream=True)).text
    assert "[DONE]" not in streamed
    assert "ZeroDivisionError" in streamed
    monkeypatch.undo()
    assert ask(CHAT, question(prompts[0])).status_code == 200


def test_an_answer_that_nobody_waits_for_is_ended(service, prompts):
    ended = threading.Event()
    told = []

    def tell(event):
        told.append(event)
        job.dropped.set()
        if isinstance(event, Finished):
            ended.set()

    options = Options(max_new_tokens=200)
    messages = [dataclasses.asdict(m) for m in prompts[0].messages]
    prompt = service.ids_of(messages, "", "messages")
    asked = service.request_of("x", prompt, options)
    job = Job(request=asked, options=options, live=True, tell=tell)
    service.submit(job)
    assert ended.wait(30)
    assert told[-1].tokens < 40


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_a_host_that_others_can_reach_must_be_meant(host):
    result = CliRunner().invoke(serve, ["--target", "lab:target", "--host", host])
    assert result.exit_code == 2
    assert "--expose" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rule", "typical"], "no draft is named"),
        (["--draft", "lab:draft", "--rule", "wild"], "no rule is called"),
        (["--draft", "lab:draft", "--rule", "typical", "--rule-option", "x=1"], "typical"),
        (["--draft", "lab:nobody"], "nobody"),
    ],
)
def test_what_cannot_be_served_is_said(options, told):
    result = CliRunner().invoke(serve, ["--target", "lab:target", *options])
    assert result.exit_code == 2
    assert told in result.stderr.replace("\n", " ")


def test_only_named_hosts_are_answered(service):
    async def run():
        transport = httpx.ASGITransport(create_app(service, ("127.0.0.1",)))
        async with httpx.AsyncClient(transport=transport, base_url="http://evil.test") as http:
            return (await http.get("/v1/models")).status_code

    assert asyncio.run(run()) == 400
