"""Collecting: every prompt once, whatever happens in between."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from draftproof.battery import Battery, load_battery
from draftproof.records import (
    Completion,
    Counters,
    DraftproofError,
    Fingerprint,
    Message,
    Prompt,
    Proof,
    ProofState,
)
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.collect import dated
from draftproof.runs.parallel import Workers


class Scripted:
    """An engine that answers with its own id and dies when told to."""

    def __init__(self, spec, asked, dies_after=None):
        self.spec, self.asked, self.dies_after = spec, asked, dies_after

    def open(self, prompts):
        self.opened = len(prompts)

    def answer(self, prompts):
        for count, prompt in enumerate(prompts):
            if count == self.dies_after:
                raise DraftproofError("the engine died")
            self.asked.append((self.spec.name, prompt.id))
            yield Completion(arm=self.spec.name, id=prompt.id, text=f"{self.spec.name}{prompt.id}")

    def prompt_hash(self, prompt):
        return prompt.id

    def proof(self):
        return None

    def fingerprint(self):
        return Fingerprint(engine="scripted")

    def close(self):
        pass


@pytest.fixture
def battery():
    prompts = tuple(
        Prompt(id=str(i), task="t", messages=(Message("user", f"q{i}"),)) for i in range(6)
    )
    return Battery(name="b", prompts=prompts, source="test")


@pytest.fixture
def plan():
    return Plan.model_validate({
        "target": "T",
        "arms": [{"name": "t", "role": "baseline"},
                 {"name": "d", "role": "candidate", "draft": "D"}],
    })  # fmt: skip


def test_a_dead_engine_resumes_at_the_next_answer(tmp_path, battery, plan):
    asked = []
    with RunDirectory(tmp_path / "r") as run, pytest.raises(DraftproofError, match="died"):
        collect(plan, battery, run, engine_of=lambda s: Scripted(s, asked, dies_after=4))
    with RunDirectory(tmp_path / "r") as run:
        answers = collect(plan, battery, run, engine_of=lambda s: Scripted(s, asked))
    assert sorted(asked) == sorted((a, p.id) for a in ("t", "d") for p in battery.prompts)
    assert {arm: set(given) for arm, given in answers.items()} == {
        arm: {p.id for p in battery.prompts} for arm in ("t", "d")
    }


def test_a_finished_run_opens_no_engine(tmp_path, battery, plan):
    with RunDirectory(tmp_path / "r") as run:
        collect(plan, battery, run, engine_of=lambda s: Scripted(s, []))

    def none(spec):
        raise AssertionError("an engine was made")

    with RunDirectory(tmp_path / "r") as run:
        heard = []
        collect(plan, battery, run, engine_of=none, progress=lambda *a: heard.append(a))
        assert heard == [("t", 6, 6), ("d", 6, 6)]
        assert run.manifest()["arms"]["t"]["generated"] == 6


def test_answers_say_when_they_were_given_and_keep_it(tmp_path, battery, plan):
    with RunDirectory(tmp_path / "r") as run:
        first = collect(plan, battery, run, engine_of=lambda s: Scripted(s, []))
        times = [datetime.fromisoformat(c.answered_at) for c in first["t"].values()]
        assert all(t.utcoffset() == timedelta(0) for t in times)
        assert collect(plan, battery, run, engine_of=None) == first
    said = replace(first["t"]["0"], answered_at="2026-11-01T00:00:00+00:00")
    assert dated(said) is said


def test_another_plan_or_battery_is_refused(tmp_path, battery, plan):
    with RunDirectory(tmp_path / "r") as run:
        collect(plan, battery, run, engine_of=lambda s: Scripted(s, []))
    other = Plan.model_validate(plan.model_dump() | {"half": "quick"})
    with RunDirectory(tmp_path / "r") as run, pytest.raises(DraftproofError, match="another plan"):
        collect(other, battery, run, engine_of=lambda s: Scripted(s, []))
    fewer = Battery(name="b", prompts=battery.prompts[:3], source="test")
    with (
        RunDirectory(tmp_path / "r") as run,
        pytest.raises(DraftproofError, match="another battery"),
    ):
        collect(plan, fewer, run, engine_of=lambda s: Scripted(s, []))


@pytest.mark.slow
def test_arms_answer_side_by_side_and_a_worker_s_error_is_heard(tmp_path):
    """Real workers, real models: two arms at once give what one after the other gives."""
    battery = load_battery("lab-core").half("quick").limit(1)
    arms = [{"name": "t", "role": "baseline"},
            {"name": "d", "role": "candidate", "draft": "lab:draft"}]  # fmt: skip
    shared = {"target": "lab:target", "max_new_tokens": 12, "half": "quick", "limit": 1}
    plan = Plan.model_validate({**shared, "arms": arms})
    given = []
    for jobs in (1, 2):
        with RunDirectory(tmp_path / str(jobs)) as run, Workers(jobs) as workers:
            heard: set[tuple[str, int, int]] = set()

            def hear(*what, heard=heard):
                heard.add(what)

            answers = collect(plan, battery, run, workers=workers, progress=hear)
            given.append({a: {k: c.text for k, c in x.items()} for a, x in answers.items()})
            assert {("t", 6, 6), ("d", 6, 6)} <= heard
            assert run.manifest()["arms"]["d"]["generated"] == 6
    assert given[0] == given[1]

    arms[1]["draft"] = str(tmp_path / "no such model")
    plan = Plan.model_validate({**shared, "arms": arms})
    with (
        RunDirectory(tmp_path / "bad") as run,
        Workers(2) as workers,
        pytest.raises(DraftproofError, match="no such model"),
    ):
        collect(plan, battery, run, workers=workers)


def test_counters_of_two_parts_of_a_run_add_up():
    one = Proof(
        state=ProofState.COUNTED, source="prometheus", counters=Counters(1, 4, 2), answers=3
    )
    assert Proof.of_parts(None, None) is None
    assert Proof.of_parts(one, None) == Proof.of_parts(None, one) == one
    both = Proof.of_parts(one, one)
    assert both.counters == Counters(2, 8, 4)
    assert both.answers == 6
    doubtful = Proof(state=ProofState.UNPROVEN, source="none", problem="backwards")
    for pair in ((one, doubtful), (doubtful, one)):
        assert Proof.of_parts(*pair).state is ProofState.UNPROVEN
        assert Proof.of_parts(*pair).problem == "backwards"
    absent = Proof(state=ProofState.ABSENT, source="none")
    assert Proof.of_parts(one, absent) == Proof.of_parts(absent, one) == one
