"""Against a server that breaks the protocol: every prompt answered once or listed as failed."""

import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from draftproof.records import DraftproofError, Message, Prompt
from draftproof.stacks import ArmSpec
from draftproof.stacks.http.engine import OpenAIEngine
from draftproof.stacks.http.server import Server

SCRIPT = Path(__file__).with_name("faulty_server.py")
SHARE = 0.2
KINDS = (
    "stall", "reset", "500", "429", "half", "wrong_id", "duplicate_choices", "empty",
    "truncated_stream", "model", "no_json", "trickle",
)  # fmt: skip


def command(share=SHARE, seed=0):
    return f"{sys.executable} {SCRIPT} {{port}} {share} {seed}"


def spec(**options):
    defaults = {
        "name": "faulty", "role": "candidate", "engine": "openai", "concurrency": 16,
        "timeout": 1.0, "backoff": 0.01, "retries": 6, "ready_timeout": 30,
    }  # fmt: skip
    return ArmSpec.model_validate(defaults | options)


def prompt(number, text=None):
    return Prompt(
        id=f"p{number}", task="t", messages=(Message("user", text or f"question {number}"),)
    )


def expected(one):
    return f"answer to {one.messages[-1].content}\u2028end \U0001f40c"


@pytest.fixture
def faithful(tmp_path):
    server = Server("faithful", command(share=0), None, tmp_path)
    server.wait_until_ready(30)
    yield server.url
    server.stop()


def ask(arm, prompts, logs=None):
    engine = OpenAIEngine(arm, logs)
    engine.open(prompts)
    return list(engine.answer(prompts)), engine


def check_storm(count, tmp_path, *, stream, seconds):
    prompts = [
        prompt(n, f"[poison] {n}" if n % 500 == 3 else None) for n in range(count)
    ]  # a few that no retry helps
    start = time.monotonic()
    arm = spec(serve=command(seed=count), stream=stream)
    answers, engine = ask(arm, prompts, tmp_path)
    assert time.monotonic() - start < seconds
    assert Counter(a.id for a in answers) == Counter(p.id for p in prompts)
    by_id = {a.id: a for a in answers}
    failed = {a.id for a in answers if a.finish_reason == "error"}
    poisoned = {p.id for p in prompts if "[poison]" in p.messages[0].content}
    assert poisoned <= failed
    assert len(failed - poisoned) <= count // 100
    for one in prompts:
        answer = by_id[one.id]
        if one.id in failed:
            assert "after 7 attempts" in answer.error
            assert not answer.text
        else:
            assert answer.text == expected(one)
            assert answer.finish_reason == "stop"
    proof = engine.proof().to_json()
    assert proof["source"] == "prometheus"
    assert proof["state"] == "counted"
    # the server's own count: 12 tokens drafted for every answer that it gave whole
    assert proof["drafted"] >= 12 * (count - len(failed))
    assert engine.fingerprint().server.attempts > count


@pytest.mark.slow
def test_two_thousand_requests_at_a_fifth_of_faults(tmp_path):
    check_storm(2000, tmp_path, stream=False, seconds=120)


def test_streams_at_a_fifth_of_faults(tmp_path):
    check_storm(400, tmp_path, stream=True, seconds=60)


@pytest.mark.slow
def test_ten_thousand_requests_at_a_fifth_of_faults(tmp_path):
    check_storm(10_000, tmp_path, stream=False, seconds=600)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_is_named_and_never_an_answer(faithful, kind, stream):
    one = prompt(1, f"[poison:{kind}]")
    arm = spec(url=faithful, retries=1, timeout=0.3, stream=stream)
    (answer,), _ = ask(arm, [one])
    assert answer.finish_reason == "error"
    assert not answer.text
    words = {
        "stall": "timeout", "reset": "", "500": "out of memory", "429": "slow", "half": "",
        "wrong_id": "another request's", "duplicate_choices": "choice", "empty": "empty",
        "truncated_stream": "cut off" if stream else "no JSON", "model": "impostor",
        "no_json": "cut off" if stream else "no JSON", "trickle": "timeout",
    }  # fmt: skip
    assert answer.error.startswith("after 2 attempts: ")
    assert words[kind] in answer.error


def test_counters_that_go_backwards_prove_nothing(faithful):
    prompts = [prompt(n) for n in range(40)]
    httpx.get(f"{faithful}/backwards/1")
    for number in range(3):
        # the totals must be above those after the restart
        ask(spec(url=faithful), [prompt(100 + number)])
    httpx.get(f"{faithful}/backwards/20")
    _, engine = ask(spec(url=faithful), prompts)
    proof = engine.proof().to_json()
    assert proof["state"] == "unproven"
    assert "went backwards" in proof["problem"]


def test_a_server_that_goes_away_is_an_error_and_no_answer(tmp_path):
    server = Server("gone", command(share=0), None, tmp_path)
    server.wait_until_ready(30)
    engine = OpenAIEngine(spec(url=server.url, retries=1, concurrency=4))
    prompts = [prompt(n) for n in range(400)]
    engine.open(prompts)
    got = []

    def ask_on():
        for answer in engine.answer(prompts):
            got.append(answer)
            if len(got) == 50:
                server.stop()

    with pytest.raises(DraftproofError, match="does not answer any more"):
        ask_on()
    # nothing is written down as failed that a resumed run could still ask
    assert all(a.finish_reason == "stop" for a in got)
    assert 50 <= len(got) < 400


def test_a_server_that_answers_nothing_is_an_error_and_no_run(faithful):
    prompts = [prompt(n, "[poison:500]") for n in range(80)]
    with pytest.raises(DraftproofError, match=r"20 prompts in a row failed.*out of memory"):
        ask(spec(url=faithful, retries=0, concurrency=2), prompts)


def test_a_place_that_is_not_there_is_an_error(faithful):
    with pytest.raises(DraftproofError, match="check url, api and model"):
        ask(spec(url=faithful, api="completions"), [prompt(1)])
    with pytest.raises(DraftproofError, match="has no model 'x'; it has faithful"):
        ask(spec(url=faithful, model="x"), [prompt(1)])


def test_a_started_server_that_dies_is_named_with_its_log(tmp_path):
    one = (
        "import sys, subprocess, time; "
        f"p = subprocess.Popen([sys.executable, '{SCRIPT}', '{{port}}', '0', '0']); "
        "time.sleep(2.5); p.kill(); print('the card fell off the bus', flush=True); sys.exit(7)"
    )
    arm = spec(serve=f'{sys.executable} -c "{one}"', timeout=5, retries=20, backoff=0.2)
    engine = OpenAIEngine(arm, tmp_path)
    prompts = [prompt(n, "[poison:500]") for n in range(10)]
    engine.open(prompts)
    with pytest.raises(DraftproofError, match="status 7") as caught:
        list(engine.answer(prompts))
    assert "fell off the bus" in str(caught.value)


def test_closing_early_stops_everything(tmp_path):
    engine = OpenAIEngine(spec(serve=command(share=0), concurrency=2), tmp_path)
    prompts = [prompt(n) for n in range(500)]
    engine.open(prompts)
    answers = engine.answer(prompts)
    next(answers)
    url = engine._url
    answers.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v1/models")
