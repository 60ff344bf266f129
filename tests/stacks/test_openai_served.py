"""The whole way on the shipped models: our server, started by the engine, against the decoder."""

import sys

import pytest

from draftproof.battery import load_battery
from draftproof.stacks import ArmSpec, make_engine

SERVE = f'{sys.executable} -c "from draftproof.cli.serve import serve; serve()"'
TARGET = "--target lab:target --port {port}"
DRAFT = "--draft lab:draft"


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(1).prompts


def answers(prompts, tmp_path, **options):
    defaults = {
        "name": "arm", "role": "candidate", "max_new_tokens": 32, "ready_timeout": 120,
    }  # fmt: skip
    engine = make_engine(ArmSpec.model_validate(defaults | options), tmp_path)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.fixture(scope="module")
def local(prompts, tmp_path_factory):
    return answers(prompts, tmp_path_factory.mktemp("l"), target="lab:target", role="baseline")[0]


@pytest.mark.slow
def test_a_served_draft_is_proven_by_its_responses(prompts, local, tmp_path):
    options = {"engine": "openai", "serve": f"{SERVE} {TARGET} {DRAFT}", "concurrency": 3}
    served, engine = answers(prompts, tmp_path, **options)
    assert {k: c.text for k, c in served.items()} == {k: c.text for k, c in local.items()}
    assert {k: c.token_ids for k, c in served.items()} == {k: c.token_ids for k, c in local.items()}
    assert all(c.speculation.accepted == c.provenance.count("d") for c in served.values())
    proof = engine.proof().to_json()
    assert proof["state"] == "counted"
    assert proof["source"] == "responses"
    assert proof["answers"] == len(prompts)
    assert 0 < proof["accepted"] <= proof["drafted"]
    # both channels agree
    gained = engine._counters.watch.gained
    assert (gained.drafted, gained.accepted) == (proof["drafted"], proof["accepted"])
    found = engine.fingerprint().to_json()
    assert found["stack"] == "draftproof"
    assert found["version"]
    assert (tmp_path / "arm.log").is_file()


def test_a_served_target_alone_has_no_counters(prompts, local, tmp_path):
    options = {"engine": "openai", "serve": f"{SERVE} {TARGET}", "stream": True, "role": "noise"}
    served, engine = answers(prompts, tmp_path, **options)
    assert {k: c.text for k, c in served.items()} == {k: c.text for k, c in local.items()}
    assert all(c.speculation is None for c in served.values())
    assert engine.proof().to_json()["state"] == "absent"
