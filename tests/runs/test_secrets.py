"""An API key gets into no file of a run, whatever a server does with it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from draftproof.records import DraftproofError
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.receipt import file_digests, secrets_of
from draftproof.stacks.spec import ArmSpec

pytest.importorskip("httpx", reason="the extra 'http' is not installed")

KEY = "sk-a1b2c3d4e5f6"


class Echo(BaseHTTPRequestHandler):
    """Repeats the key in every error, and in answers about cats."""

    def _send(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self._send(200, {"data": [{"id": "m"}]})
        else:
            self._send(404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text, key = asked["messages"][-1]["content"], self.headers["Authorization"]
        if "bad" in text:
            self._send(400, {"error": {"message": f"not with {key}"}})
            return
        said = {"role": "assistant", "content": key if "cat" in text else "yes"}
        choice = {"index": 0, "finish_reason": "stop", "message": said}
        self._send(200, {"id": self.headers["X-Request-Id"], "model": "m", "choices": [choice]})

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()


def ask(tmp_path, url, texts):
    file = tmp_path / "b.jsonl"
    rows = ({"id": str(i), "prompt": t, "scorer": "refusal"} for i, t in enumerate(texts))
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    arm = {"engine": "openai", "url": url, "api_key_env": "SERVER_KEY", "backoff": 0, "retries": 0}
    plan = Plan.model_validate(
        {
            "battery": str(file),
            "arms": [
                {"name": "a", "role": "baseline", **arm},
                {"name": "b", "role": "candidate", **arm},
            ],
        }
    )
    with RunDirectory(tmp_path / "run") as run:
        answers = collect(plan, plan.load_battery(), run)
        return run.path, answers["a"], run.manifest()


def test_a_server_that_repeats_the_key_in_errors_puts_it_nowhere(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)
    run, answers, manifest = ask(tmp_path, server, ["good", "bad", "good too"])
    assert answers["1"].finish_reason == "error"
    assert "not with Bearer [key]" in answers["1"].error
    assert secrets_of(manifest) == {"SERVER_KEY": KEY.encode()}
    assert file_digests(run, secrets_of(manifest))
    whole = b"".join(p.read_bytes() for p in run.rglob("*") if p.is_file())
    assert KEY.encode() not in whole


def test_a_key_in_an_answer_stops_the_receipt(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)
    run, _, manifest = ask(tmp_path, server, ["good", "cat"])
    with pytest.raises(DraftproofError, match=r"a\.jsonl: holds the key that stands in \$SERVER"):
        file_digests(run, secrets_of(manifest))


@pytest.mark.parametrize(
    "options",
    [
        {"serve": f"vllm serve m --port {{port}} --api-key {KEY}"},
        {"serve": f"vllm serve m --port {{port}} --hf-token={KEY}"},
        {"serve": f"env HF_TOKEN={KEY} vllm serve m --port {{port}}"},
        {"url": f"http://me:{KEY}@localhost:1"},
        {"url": f"http://localhost:1?key={KEY}"},
        {"url": "http://localhost:1", "api_key_env": KEY},
        {"url": "http://localhost:1", "extra_body": {"api_key": KEY}},
        {"url": "http://localhost:1", "extra_body": {"X-Auth-Token": KEY}},
    ],
)
def test_a_plan_takes_no_key(options):
    with pytest.raises(ValidationError) as caught:
        ArmSpec.model_validate({"name": "a", "role": "candidate", "engine": "openai"} | options)
    messages = " ".join(e["msg"] for e in caught.value.errors())
    assert "key" in messages or "password" in messages
    if "url" not in options or KEY not in options["url"]:
        assert KEY not in messages


def test_a_plan_takes_commands_and_fields_that_only_sound_like_keys():
    ArmSpec.model_validate(
        {
            "name": "a", "role": "candidate", "engine": "openai",
            "serve": "vllm serve m --port {port} --max-num-batched-tokens 512 --tokenizer t",
            "extra_body": {"min_tokens": 1, "skip_special_tokens": False, "stop_token_ids": [1]},
        }
    )  # fmt: skip
