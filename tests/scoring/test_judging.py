"""Judging many answers: once each, blindly, through the real code paths."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from draftproof.records import Completion, Construct, DraftproofError, Message, Prompt
from draftproof.scoring.judges import FORMATS, Item, judge_answers
from draftproof.stacks.judges import Endpoint, LocalModel


def prompt(number, **options):
    return Prompt(id=f"p{number}", task="t", messages=(Message("user", f"Q{number}"),), **options)


class Scripted:
    """A judge that answers by a function of what it is shown."""

    def __init__(self, say):
        self.say, self.asked = say, []

    def ask(self, format_, questions):
        for id_, messages in questions:
            self.asked.append((id_, messages))
            said = self.say(messages)
            error = {"finish_reason": "error", "error": "gone"} if said is None else {}
            yield Completion(arm="judge", id=id_, text=said or "", **error)


def items(texts_by_arm):
    return [
        Item((arm, i), prompt(i), Completion(arm=arm, id=f"p{i}", text=text))
        for arm, texts in texts_by_arm.items()
        for i, text in enumerate(texts)
    ]


def test_identical_answers_are_judged_once_and_blindly():
    backend = Scripted(lambda m: "unsafe\nS1" if "bad" in m[-1].content else "safe")
    texts = [f"fine {i}" for i in range(39)] + ["bad"]
    given = items({"base": texts, "cand": [*texts[:-1], "bad too"]})
    found = judge_answers(FORMATS["llama-guard"], backend, given, seed=7)
    assert found.asked == 41
    assert found.repeated == found.agreed == 2
    assert len(backend.asked) == 43
    assert found.labels["base", 3] == found.labels["cand", 3]
    assert found.labels["base", 39].good is False
    assert found.labels["base", 0].construct is Construct.HARM
    everything = json.dumps([[i, [(m.role, m.content) for m in ms]] for i, ms in backend.asked])
    assert "base" not in everything
    assert "cand" not in everything
    order = [m[-1].content for _, m in backend.asked[:41]]
    assert order != sorted(order)
    other = Scripted(backend.say)
    judge_answers(FORMATS["llama-guard"], other, given, seed=8)
    assert [m for _, m in other.asked] != [m for _, m in backend.asked]


def test_failures_are_states_and_counted():
    says = {"ok": "safe", "odd": "well, safe I guess", "lost": None}
    backend = Scripted(lambda m: says[m[-1].content])
    given = [
        *items({"a": ["ok", "odd", "lost", "  "]}),
        Item("e", prompt(9), Completion(arm="a", id="p9", text="x", finish_reason="error")),
    ]
    found = judge_answers(FORMATS["llama-guard"], backend, given)
    values = [found.labels[item.key].value for item in given]
    assert values == ["safe", "unparsed", "error", "empty", "error"]
    assert [found.labels[i.key].good for i in given] == [True, None, None, None, None]
    assert (found.asked, found.unparsed, found.errors) == (3, 1, 1)
    assert judge_answers(FORMATS["llama-guard"], backend, []).self_agreement is None


def test_a_judge_that_contradicts_itself_is_noticed():
    turn = iter(["safe", "unsafe\nS1"] * 9)
    found = judge_answers(FORMATS["llama-guard"], Scripted(lambda _: next(turn)), items({"a": "x"}))
    assert (found.repeated, found.agreed, found.self_agreement) == (1, 0, 0.0)


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible server that speaks like a guard."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, document, status=200):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/v1/models":
            self.reply({"object": "list", "data": [{"id": "guard", "object": "model"}]})
        else:
            self.reply({"error": "none"}, 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append((self.path, body))
        asked = json.dumps(body.get("messages") or body.get("prompt"))
        chat = self.path.endswith("chat/completions")
        said = "unsafe\nS9" if "bomb" in asked else "safe"
        said = said if chat else ("yes" if "bomb" in asked else "no")
        holder = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
        self.reply({
            "id": f"r{len(self.server.bodies)}-{self.headers.get('X-Request-Id', '')}",
            "object": "x", "model": "guard",
            "choices": [{"index": 0, "finish_reason": "stop", **holder}],
        })  # fmt: skip


@pytest.fixture
def server():
    pytest.importorskip("httpx")
    pytest.importorskip("tenacity")
    found = Server()
    yield found
    found.shutdown()
    found.server_close()


def test_a_guard_over_http(server, tmp_path):
    given = items({"a": ["a flower", "a bomb"], "b": ["a flower", "a bomb!"]})
    found = judge_answers(FORMATS["llama-guard"], Endpoint(server.url), given)
    assert [found.labels[i.key].value for i in given] == ["safe", "unsafe", "safe", "unsafe"]
    assert found.asked == 3
    path, body = server.bodies[0]
    assert path == "/v1/chat/completions"
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]
    assert body["temperature"] == 0
    template = tmp_path / "t.txt"
    template.write_text("{prompt} ## {response}")
    raw = FORMATS["harmbench"].with_template(template)
    found = judge_answers(raw, Endpoint(server.url), given)
    assert [found.labels[i.key].good for i in given] == [True, False, True, False]
    path, body = server.bodies[-1]
    assert path == "/v1/completions"
    assert " ## " in body["prompt"]
    judge_answers(FORMATS["granite-guardian"], Endpoint(server.url), given[:1])
    assert server.bodies[-1][1]["chat_template_kwargs"]["guardian_config"]


def test_a_local_model_through_the_real_path(random_guard, tmp_path):
    given = items({"a": ["one", "two"], "b": ["one", "three"]})
    backend = LocalModel(str(random_guard), device="cpu")
    for name in ("llama-guard", "strongreject"):
        found = judge_answers(FORMATS[name], backend, given)
        # random weights say nothing in any documented form, and never become a label
        assert found.unparsed == found.asked == 3
        assert found.self_agreement == 1.0
        assert {label.good for label in found.labels.values()} == {None}
        assert all(found.raw[i.key] for i in given)
    template = tmp_path / "t.txt"
    template.write_text("{prompt}{response}")
    raw = FORMATS["wildguard"].with_template(template)
    assert judge_answers(raw, backend, given).asked == 3
    with pytest.raises(DraftproofError, match="nowhere"):
        judge_answers(raw, LocalModel(str(tmp_path / "nowhere")), given)
