"""Totals of a part that was killed are still there when its arm is resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from draftproof.records import Counters, Message, Prompt, ProofState
from draftproof.stacks import ArmSpec
from draftproof.stacks.http.counters import CounterStore
from draftproof.stacks.http.engine import OpenAIEngine
from draftproof.stacks.http.server import Server

SCRIPT = Path(__file__).with_name("faulty_server.py")
# an arm that answers slowly and keeps its counts often, to be killed in the middle
PART = """
import sys
from pathlib import Path
from draftproof.stacks import ArmSpec
from draftproof.stacks.http import engine as openai
from draftproof.records import Counters, Message, Prompt, ProofState
openai._METRICS_EVERY = 0.05
arm = ArmSpec(name="arm", role="candidate", engine="openai", url=sys.argv[1], rate=200)
engine = openai.OpenAIEngine(arm, Path(sys.argv[2]))
prompts = [Prompt(id=f"p{n}", task="t", messages=(Message("user", f"q{n}"),)) for n in range(5000)]
engine.open(prompts)
for answer in engine.answer(prompts):
    print(answer.id, flush=True)
"""


def prompts(count):
    return [
        Prompt(id=f"r{n}", task="t", messages=(Message("user", f"r{n}"),)) for n in range(count)
    ]


@pytest.fixture
def server(tmp_path):
    server = Server("faithful", f"{sys.executable} {SCRIPT} {{port}} 0 0", None, tmp_path)
    server.wait_until_ready(30)
    yield server
    server.stop()


def test_counts_are_kept_and_added(tmp_path):
    file = tmp_path / "logs" / "arm.counters.json"
    store = CounterStore(file)
    store.keep(None, None)
    assert not file.exists()
    store.keep(Counters(1, 4, 3), None)
    store.keep(Counters(2, 8, 5), None)
    later = CounterStore(file)
    assert later.earlier == Counters(2, 8, 5)
    assert later.earlier + Counters(1, 1, 1) == Counters(3, 9, 6)
    later.begin_part(Counters(1, 1, 1), None)
    assert later.earlier == Counters(3, 9, 6)
    later.keep(Counters(1, 1, 1), "went backwards")
    assert CounterStore(file).problem == "went backwards"
    later.clear()
    assert CounterStore(file).earlier == Counters(0, 0, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rounds": 1}', '{"rounds": -1}', "\x00"])
def test_a_torn_record_is_a_problem_and_no_zero(tmp_path, text):
    file = tmp_path / "arm.counters.json"
    file.write_text(text)
    assert "cannot be read" in CounterStore(file).problem


def test_a_killed_part_is_counted_with_the_next(server, tmp_path):
    part = subprocess.Popen(
        [sys.executable, "-c", PART, server.url, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        answered = [part.stdout.readline() for _ in range(100)]
        time.sleep(0.2)
    finally:
        os.kill(part.pid, signal.SIGKILL)
        part.wait()
    assert answered[-1]
    kept = json.loads((tmp_path / "arm.counters.json").read_text())
    assert kept["drafted"] >= 12 * 90
    arm = ArmSpec(name="arm", role="candidate", engine="openai", url=server.url)
    engine = OpenAIEngine(arm, tmp_path)
    engine.open(prompts(10))
    list(engine.answer(prompts(10)))
    proof = engine.proof()
    assert proof.state is ProofState.COUNTED
    assert proof.counters.drafted >= kept["drafted"] + 12 * 10
    engine.fingerprint()
    assert engine.proof() == proof
    engine.close()
    assert not (tmp_path / "arm.counters.json").exists()


def test_a_server_that_is_started_again_counts_on(tmp_path):
    serve = f"{sys.executable} {SCRIPT} {{port}} 0 0"
    arm = ArmSpec(name="arm", role="candidate", engine="openai", serve=serve, ready_timeout=30)
    engine = OpenAIEngine(arm, tmp_path)
    for _ in range(2):
        engine.open(prompts(5))
        list(engine.answer(prompts(5)))
    proof = engine.proof()
    engine.close()
    assert proof.state is ProofState.COUNTED
    assert proof.counters.drafted == 2 * 5 * 12
