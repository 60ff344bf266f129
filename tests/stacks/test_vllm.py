"""The vllm engine: against a stand-in of its interface, and against vllm where there is one."""

import gc
import importlib.util
import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from draftproof.battery import load_battery
from draftproof.records import DraftproofError, Message, Prompt
from draftproof.rescoring import make_rescorer
from draftproof.rescoring.rescorer import ScoreRequest
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stacks.http.telemetry import UnknownCountersError
from draftproof.stacks.vllm.config import engine_arguments, speculative_config
from draftproof.stacks.vllm.counters import EngineCounters, answer_counters, metrics_page
from draftproof.stacks.vllm.process import attended, engine_processes, starting

_PLACE = importlib.util.spec_from_file_location(
    "vllm_stand_in", Path(__file__).with_name("vllm_stand_in.py")
)
stand_in = importlib.util.module_from_spec(_PLACE)
sys.modules[_PLACE.name] = stand_in
_PLACE.loader.exec_module(stand_in)
REAL = importlib.util.find_spec("vllm") is not None


@pytest.fixture
def vllm(monkeypatch):
    module = stand_in.module()
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", module.sampling_params)
    return module


@pytest.fixture(scope="module")
def prompts():
    torch.set_num_threads(1)
    return load_battery("lab-core").half("quick").limit(1).prompts[:3]


def spec(**options):
    given = {"name": "arm", "role": "candidate", "engine": "vllm", "target": "lab:target"}
    return ArmSpec.model_validate({**given, "dtype": "float32", "max_new_tokens": 40, **options})


def answers(arm, prompts):
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.mark.parametrize("width", [1, 8])
def test_answers_and_counts_are_those_of_the_same_models_here(vllm, prompts, width):
    for draft in (None, "lab:draft"):
        local, _ = answers(spec(engine="local", draft=draft, batch=1), prompts)
        given, engine = answers(spec(draft=draft, concurrency=width), prompts)
        for field in ("text", "token_ids", "prompt_hash", "finish_reason", "speculation"):
            wanted = {k: getattr(c, field) for k, c in local.items()}
            assert {k: getattr(c, field) for k, c in given.items()} == wanted
        assert {c.seconds for c in given.values()} == {0.5}
        found = engine.fingerprint().to_json()
        assert (found["version"], found["runner"], found["device"]) == ("0.32.0", "v1", "cpu")
        assert found["promise"] == ("L2" if draft else None)
        assert found["target"]["weights_sha256"]
        counted = engine.proof().to_json()
        if draft is None:
            assert counted["state"] == "absent"
            assert found["speculative_config"] is found["draft"] is None
        else:
            own = [c.speculation for c in given.values()]
            assert counted["state"] == "counted"
            for name in ("rounds", "drafted", "accepted"):
                assert counted[name] == sum(getattr(s, name) for s in own) > 0


def test_the_engine_is_told_what_the_arm_declares(vllm, prompts):
    arm = spec(draft="lab:draft", concurrency=4, seed=7, properties={"enforce_eager": True})
    answers(arm, prompts)
    told = vllm.made[0].arguments
    assert told["max_num_seqs"] == 4
    assert told["enable_prefix_caching"] is False, "answers must not depend on history"
    assert told["disable_log_stats"] is False, "statistics are the proof"
    assert told["enforce_eager"] is True
    assert told["per_request_spec_decode_metrics"] == "summary"
    assert {p.seed for p in vllm.made[0].seen} == {None}, "greedy needs none"
    answers(spec(temperature=1.0), prompts)
    seeds = [p.seed for p in vllm.made[1].seen]
    assert len(set(seeds)) == len(prompts), "each prompt has its own"
    answers(spec(temperature=1.0, seed=1), prompts)
    assert not set(seeds) & {p.seed for p in vllm.made[2].seen}


def test_a_version_without_counters_of_answers_is_proven_by_its_totals(vllm, prompts):
    vllm.EngineArgs = SimpleNamespace(__dataclass_fields__={})
    given, engine = answers(spec(draft="lab:draft"), prompts)
    assert all(c.speculation is None for c in given.values())
    assert "per_request_spec_decode_metrics" not in vllm.made[0].arguments
    counted = engine.proof().to_json()
    assert counted["state"] == "counted"
    assert 0 < counted["accepted"] <= counted["drafted"]
    # the totals belong to the process: another engine's are not this one's
    _, second = answers(spec(draft="lab:draft"), prompts)
    assert second.proof().to_json() == counted


def test_counters_that_are_not_known_are_an_error_and_no_zero():
    strange = [stand_in.Counter("vllm:spec_decode_num_verified", {}, 3)]
    engine = EngineCounters()
    engine.read(SimpleNamespace(get_metrics=lambda: strange))
    found = engine.proof().to_json()
    assert found["state"] == "unproven"
    assert "vllm:spec_decode_num_verified_total" in found["problem"]
    some = [stand_in.Counter("vllm:spec_decode_num_drafts", {}, 3)]
    engine = EngineCounters()
    engine.read(SimpleNamespace(get_metrics=lambda: some))
    assert "no vllm:spec_decode_num_draft_tokens" in engine.proof().to_json()["problem"]
    with pytest.raises(UnknownCountersError, match="num_spec_steps"):
        answer_counters(SimpleNamespace(to_dict=lambda: {"steps": 3}))
    with pytest.raises(UnknownCountersError, match="no counters"):
        answer_counters(object())
    engine = EngineCounters()
    assert engine.of_answer(SimpleNamespace(spec_decode_metrics=object())) is None
    assert engine.proof().to_json()["state"] == "unproven"
    assert answer_counters(None) is None
    assert metrics_page([]).strip() == ""


def test_methods_and_rules_in_vllms_words(tmp_path):
    def config(**options):
        return speculative_config(spec(**options), lambda name: name)

    four = {"num_speculative_tokens": 4}
    assert config() is None
    assert config(draft="d") == {"method": "draft_model", "model": "d", **four}
    assert config(drafter="prompt_lookup", drafter_options={"max_ngram": 3}) == {
        "method": "ngram", "prompt_lookup_max": 3, "prompt_lookup_min": 1, **four
    }  # fmt: skip
    options = {"suffix_decoding_max_cached_requests": 0}
    assert config(drafter="suffix", drafter_options=options) == {
        "method": "suffix", **options, **four
    }  # fmt: skip
    heads = {"drafter_options": {"heads": "h"}}
    for name in ("medusa", "eagle", "eagle3"):
        assert config(drafter=name, **heads) == {"method": name, "model": "h", **four}
    block = config(draft="d", rule="block")
    assert block["rejection_sample_method"] == "block"
    lossy = {"rule": "synthetic", "rule_options": {"synthetic_acceptance_length": 3.0}}
    assert config(draft="d", **lossy)["synthetic_acceptance_length"] == 3.0
    (tmp_path / "config.json").write_text(json.dumps({"kind": "eagle3"}))
    for wrong in ({}, {"heads": "lab:eagle3"}, {"heads": str(tmp_path)}, {"heads": 3}):
        with pytest.raises(DraftproofError, match="convert_head"):
            config(drafter="eagle3", drafter_options=wrong)
    with pytest.raises(DraftproofError, match=r"drafter_options\.model follows from"):
        config(draft="d", drafter_options={"model": "e"})
    with pytest.raises(DraftproofError, match=r"rule_options\.rejection_sample_method"):
        config(draft="d", rule_options={"rejection_sample_method": "block"})
    with pytest.raises(DraftproofError, match=r"properties\.model is declared by target"):
        engine_arguments(spec(properties={"model": "x"}), lambda name: name)


def test_what_an_arm_may_not_say():
    for wrong, told in (
        ({"draft": "d", "rule": "leviathan"}, "no rule 'leviathan'"),
        ({"rule": "block"}, "no draft is named"),
        ({"drafter": "lookup"}, "no drafter 'lookup'"),
        ({"draft": "d", "drafter": "suffix"}, "takes the place of a draft"),
        ({"draft": "d", "exactness": "same_shape"}, "local engine"),
        ({"target": ""}, "needs a target"),
        ({"serve": "x {port}"}, "no serve command"),
    ):
        with pytest.raises(ValidationError, match=told):
            spec(**wrong)


def test_block_is_refused_where_vllm_would_not_do_it(vllm, prompts):
    with pytest.raises(DraftproofError, match="token by token all the same"):
        make_engine(spec(draft="lab:draft", rule="block")).open(prompts)
    with pytest.raises(DraftproofError, match="computes on cpu"):
        make_engine(spec(device="cuda")).open(prompts)


def test_what_does_not_fit_is_a_named_state(vllm, prompts):
    huge = Prompt(id="huge", task="t", messages=(Message("user", "red moss " * 5000),))
    given, _ = answers(spec(), [huge, prompts[0]])
    assert given["huge"].finish_reason == "error"
    assert "512" in given["huge"].error
    assert given[prompts[0].id].finish_reason in {"stop", "length"}


def test_a_failing_engine_is_an_error_of_its_arm(vllm, prompts, monkeypatch):
    def refuse(**arguments):
        raise ValueError("1 validation error\n  Value error, no such method [type=value_error]")

    monkeypatch.setattr(vllm, "LLM", refuse)
    with pytest.raises(DraftproofError, match=r"'arm': vLLM fails at its start.*no such method"):
        make_engine(spec()).open(prompts)
    monkeypatch.undo()


def test_an_engine_that_dies_keeps_what_it_said(vllm, prompts):
    engine = make_engine(spec())
    engine.open(prompts)
    given = engine.answer(prompts)
    first = next(given)

    def dead():
        raise RuntimeError("EngineCore encountered an issue.")

    vllm.made[0].step = dead
    with pytest.raises(DraftproofError, match="fails at a step: RuntimeError: EngineCore"):
        list(given)
    assert first.text
    assert len(vllm.made[0].aborted) == len(prompts) - 1


def test_who_stops_asking_leaves_nothing_behind(vllm, prompts):
    engine = make_engine(spec())
    engine.open(prompts)
    given = engine.answer(prompts)
    next(given)
    given.close()
    assert not vllm.made[0].queue
    assert not vllm.made[0].ended
    assert {c.id for c in engine.answer(prompts)} == {p.id for p in prompts}, "and may ask again"
    del engine, given
    gc.collect()
    assert vllm.made[0].ended, "its processes end with it"


@pytest.fixture
def child():
    """A process that is called as vLLM calls its own."""
    before = engine_processes()
    process = multiprocessing.get_context("spawn").Process(
        target=time.sleep, args=(600,), name="EngineCore_DP0"
    )
    process.start()
    assert engine_processes() - before == {process}
    yield process
    process.kill()
    process.join()


def test_an_engine_that_hangs_is_ended(child):
    never = threading.Event()
    with pytest.raises(DraftproofError, match=r"took more than 1 s for a step.*longer timeout"):
        attended("arm", "a step", 1, [child], never.wait)
    assert not child.is_alive()


def test_an_engine_that_was_killed_is_not_waited_for(child):
    never = threading.Event()
    child.kill()
    with pytest.raises(DraftproofError, match=r"EngineCore_DP0 ended during a step .*code -9"):
        attended("arm", "a step", 600, [child], never.wait)


def test_a_start_that_hangs_is_ended(child):
    def wait_for_it():
        child.join()
        raise RuntimeError("the engine is gone")

    with (
        pytest.raises(DraftproofError, match=r"more than 1 s for its start.*ready_timeout"),
        starting("arm", 1, lambda: [child]),
    ):
        wait_for_it()
    assert attended("arm", "a step", 600, [child], lambda: 3) == 3


def test_divergences_are_explained_with_the_target_and_its_draft(vllm, prompts):
    arm = spec(draft="lab:draft")
    given, _ = answers(spec(role="baseline"), prompts)
    asked = ScoreRequest(prompts[0], (), given[prompts[0].id].token_ids[:1])
    assert make_rescorer(arm).scores([asked])[0].margin(asked.tokens[0]) < 0.1


@pytest.mark.skipif(REAL, reason="vllm is installed")
def test_without_the_library_its_own_environment_is_named():
    with pytest.raises(DraftproofError, match=r"recipes/vllm/make\.sh"):
        make_engine(spec())


@pytest.mark.skipif(not REAL, reason="needs vllm, in its own environment (recipes/vllm)")
def test_the_library_itself(prompts):
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    small = {"enforce_eager": True, "max_model_len": 512}
    shared = {"properties": small, "concurrency": 2, "ready_timeout": 900, "timeout": 300}
    local, _ = answers(spec(engine="local", role="baseline"), prompts)
    given, engine = answers(spec(draft="lab:draft", **shared), prompts)
    for field in ("text", "token_ids", "prompt_hash", "finish_reason"):
        wanted = {k: getattr(c, field) for k, c in local.items()}
        assert {k: getattr(c, field) for k, c in given.items()} == wanted
    counted = engine.proof().to_json()
    own = [c.speculation for c in given.values()]
    assert counted["accepted"] == sum(s.accepted for s in own) > 0
    assert all(s.accepted == sum(k * n for k, n in enumerate(s.histogram)) for s in own)
    for process in engine._processes:
        process.kill()
    with pytest.raises(DraftproofError, match=r"EngineCore.* ended|vLLM fails at"):
        list(engine.answer(prompts))
