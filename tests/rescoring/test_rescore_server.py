"""A server that reads an answer as a prompt: real log-probabilities over real HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from draftproof.battery import load_battery
from draftproof.records import Cause, DraftproofError, Message, Pair, Prompt
from draftproof.rescoring.prompt_logprobs import read_answer_tokens, request_body
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescore_server import ServerRescorer
from draftproof.screen.forensics import explain
from draftproof.stacks import ArmSpec, make_engine, models


class Echo(BaseHTTPRequestHandler):
    """The completions API with echo, over lab:target; a prompt is its text, template and all."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        loaded = models.load("lab:target", "float32", "cpu")
        tokenizer = loaded.tokenizer
        ids = tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
        cache = loaded.model.new_cache(1, len(ids))
        rows = loaded.model.forward(torch.tensor([ids]), torch.zeros(1, dtype=torch.int64), cache)
        logs = torch.log_softmax(rows[0], dim=-1)
        top = logs.topk(body.get("logprobs", 1), dim=-1)
        tops = [
            {tokenizer.decode([i]): v for i, v in zip(ids_, values, strict=True)}
            for ids_, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        found = {
            "tokens": [tokenizer.decode([i]) for i in ids] + ["?"],
            "token_logprobs": [None, *(float(logs[k, i]) for k, i in enumerate(ids[1:])), -1.0],
            "top_logprobs": [None, *tops[:-1], {}],
        }
        shown = {"logprobs": found} if body.get("echo") else {}
        reply = json.dumps({"choices": [shown], "usage": {"completion_tokens": 1}})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


@pytest.fixture(scope="module")
def pairs():
    prompts = load_battery("lab-core").half("quick").limit(2).prompts
    loaded = models.load("lab:target", "float32", "cpu")
    said = {}
    for name, options in {"plain": {"role": "baseline"}, "leaky": {
        "role": "candidate", "draft": "lab:adversarial", "rule": "typical"}}.items():  # fmt: skip
        shared = {"name": name, "target": "lab:target", "max_new_tokens": 24, "batch": 4}
        engine = make_engine(ArmSpec.model_validate(shared | options))
        engine.open(prompts)
        said[name] = {c.id: c for c in engine.answer(prompts)}
    out = []
    for prompt in prompts:
        # the server is fed text: the rendered prompt stands for what a template would make of it
        text = loaded.tokenizer.decode(models.render(loaded, prompt).ids)
        asked = Prompt(id=prompt.id, task=prompt.task, messages=(Message("user", text),))
        one, other = said["plain"][prompt.id], said["leaky"][prompt.id]
        out.append(Pair(prompt=asked, baseline=one, candidate=other))
    return out


def options(url, **more):
    return RescoreOptions(url=url, model="lab:target", **more)


def test_a_server_s_scores_explain_what_texts_say(server, pairs):
    rescorer = ServerRescorer(options(server))
    found = [f.divergence for f in explain([p for p in pairs if not p.identical], rescorer, 0.01)]
    assert len(found) > 3
    causes = {d.cause for d in found}
    # nobody can say what the draft wanted, and a text may have been spelled otherwise
    assert causes <= {Cause.UNEXPLAINED, Cause.TOKENISATION, Cause.TRUNCATION}
    assert Cause.UNEXPLAINED in causes
    for divergence in found:
        if divergence.cause is Cause.UNEXPLAINED:
            assert divergence.margin > 0.01
            assert divergence.baseline_rank == 0
            assert divergence.confidence != "high"


def test_what_a_server_does_not_say_is_told(server, pairs):
    asked = [(pairs[0].prompt, pairs[0].baseline)]
    with pytest.raises(DraftproofError, match="no log-probabilities of the prompt"):
        ServerRescorer(options(server, dialect="prompt_logprobs")).tokenise(asked)
    with pytest.raises(DraftproofError, match="cannot be reached"):
        ServerRescorer(options("http://127.0.0.1:9")).tokenise(asked)


PROMPT = Prompt(id="p", task="t", messages=(Message("user", "Q"),), prefill="Sure")


def test_requests_of_both_dialects():
    body = request_body(options("http://h:1"), PROMPT, " yes", 5)
    assert body["prompt"] == "Q\n\nSure yes"
    assert (body["echo"], body["logprobs"], body["max_tokens"]) == (True, 5, 1)
    chat = options("http://h:1", api="chat", dialect="prompt_logprobs")
    body = request_body(chat, PROMPT, " yes", 5)
    assert body["messages"][-1] == {"role": "assistant", "content": "Sure yes"}
    assert body["prompt_logprobs"] == 5
    assert body["continue_final_message"] is True
    assert chat.path == "chat/completions"


def test_vllm_s_lists_are_read_and_oddities_survive():
    rows = [None, {"5": {"logprob": -0.1, "rank": 1, "decoded_token": "a"},
                   "6": {"logprob": -3.0, "rank": 2, "decoded_token": "b"}},
            {"7": {"logprob": "x", "decoded_token": "c"}}]  # fmt: skip
    vllm = options("http://h:1", dialect="prompt_logprobs")
    spoken = read_answer_tokens({"prompt_logprobs": rows}, vllm, "ac")
    assert [s.token for s in spoken] == ["a", "c"]
    assert spoken[0].top == {"a": -0.1, "b": -3.0}
    # tokens that do not spell the answer say nothing about it
    assert read_answer_tokens({"prompt_logprobs": rows}, vllm, "xc") is None
    for odd in ({}, {"prompt_logprobs": "?"}, {"choices": [7]}, {"prompt_logprobs": [[], 3]}):
        with pytest.raises(DraftproofError, match="no log-probabilities"):
            read_answer_tokens(odd, vllm, "a")


def test_a_plan_of_an_earlier_version_may_name_a_bound():
    old = RescoreOptions.model_validate({"url": "http://h", "model": "m", "noise_bound": 0.5})
    assert old == RescoreOptions(url="http://h", model="m")
