"""An arm over HTTP inside a run: declared in a plan, resumed at the answer."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from draftproof.runs import RunDirectory, collect, read_plan
from draftproof.stacks import make_engine

SCRIPT = Path(__file__).with_name("faulty_server.py")


@pytest.fixture
def plan(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        "".join(
            json.dumps({"id": f"q{n}", "task": "t", "prompt": f"question {n}"}) + "\n"
            for n in range(120)
        )
    )
    arm = {
        "engine": "openai", "serve": f"{sys.executable} {SCRIPT} {{port}} 0.2 1",
        "concurrency": 8, "timeout": 0.5, "backoff": 0.01, "retries": 8,
    }  # fmt: skip
    document = {
        "name": "served",
        "battery": "questions.jsonl",
        "arms": [
            {"name": "off", "role": "baseline", **arm},
            {"name": "on", "role": "candidate", **arm, "stream": True},
        ],
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(document))
    return read_plan(path)


class Stopped(Exception):
    pass


def test_a_run_that_was_stopped_goes_on_at_the_answer(plan, tmp_path):
    battery = plan.load_battery()
    place = tmp_path / "run"
    engine_of = partial(make_engine, logs=place / "logs")

    def stop(arm, done, _):
        if arm == "on" and done == 50:
            raise Stopped

    with RunDirectory(place) as run, pytest.raises(Stopped):
        collect(plan, battery, run, progress=stop, engine_of=engine_of)
    with RunDirectory(place) as run:
        answers = collect(plan, battery, run, engine_of=engine_of)
        manifest = run.manifest()
    lines = (place / "answers" / "on.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == 120
    assert {a.text for a in answers["on"].values()} == {a.text for a in answers["off"].values()}
    for id_, answer in answers["on"].items():
        assert answer.prompt_hash == answers["off"][id_].prompt_hash
    assert manifest["arms"]["on"]["counters"]["state"] == "counted"
    found = manifest["arms"]["on"]["fingerprint"]
    assert found["stack"] == "vllm"
    assert found["version"] == "0.33.0"
    assert {p.name for p in (place / "logs").iterdir()} == {"off.log", "on.log"}
