"""A rule that steers behind the protocol: the same answer as in the decoder, own template too."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import httpx
import pytest
from tools.lab.attacks import direct

from draftproof.serve import Service, create_app
from draftproof.stacks import ArmSpec, make_engine, models

CHAT = "/v1/chat/completions"
RULE = {"rule": "safety_aware", "rule_options": {"preset": "llama2", "compat": "fixed"}}


@pytest.fixture(scope="module")
def begun():
    prompts, guides = direct(2)
    return [replace(p, prefill=guides[p.id][:30]) for p in prompts]


def body(prompt):
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    return {
        "model": "lab:target", "temperature": 0, "max_tokens": 40, "return_token_ids": True,
        "messages": [*messages, {"role": "assistant", "content": prompt.prefill}],
        "continue_final_message": True, "add_generation_prompt": False,
    }  # fmt: skip


def in_the_decoder(prompts, draft="lab:expert"):
    spec = ArmSpec(name="ssd", role="candidate", target="lab:target", draft=draft, gamma=4,
                   max_new_tokens=40, **RULE)  # fmt: skip
    engine = make_engine(spec)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}


def served(prompts):
    async def ask():
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return [(await http.post(CHAT, json=body(p))).json()["choices"][0] for p in prompts]

    service = Service("lab:target", draft="lab:expert", gamma=4, **RULE)
    service.start()
    try:
        return asyncio.run(ask())
    finally:
        service.stop()


def check(prompts, choices):
    wanted = in_the_decoder(prompts)
    for prompt, choice in zip(prompts, choices, strict=True):
        one = wanted[prompt.id]
        assert choice["token_ids"] == list(one.token_ids)
        assert (choice["message"]["content"], choice["modes"]) == (one.text, one.modes)
        assert "2" in choice["modes"]
    return {i: c.text for i, c in wanted.items()}


def test_the_server_decodes_what_the_decoder_does(begun):
    check(begun, served(begun))


def test_the_expert_reads_its_own_template(begun, monkeypatch):
    usual = check(begun, served(begun))
    expert = models.load("lab:expert", "auto", "auto", False)
    # an expert that is told of something else wants something else
    other = (
        "{% for m in messages %}{{ m.content if m.role == 'assistant' else "
        "'What is two plus two?\n' }}{% endfor %}"
    )
    monkeypatch.setattr(expert.tokenizer, "chat_template", other)
    assert check(begun, served(begun)) != usual


def test_the_command_serves_it(begun, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "draftproof", "serve", "--target", "lab:target", "--draft",
               "lab:expert", "--gamma", "4", "--port", str(port), "--rule", "safety_aware",
               "--rule-option", "preset=llama2", "--rule-option", "compat=fixed"]  # fmt: skip
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.25)
        reply = httpx.post(f"http://127.0.0.1:{port}{CHAT}", json=body(begun[0]), timeout=60)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    assert reply.status_code == 200, reply.text + (tmp_path / "log").read_text()
    check(begun[:1], reply.json()["choices"])
    assert reply.json()["metrics"]["speculative_decoding"]
