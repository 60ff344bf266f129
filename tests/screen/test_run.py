"""Plans run to a verdict on the shipped models: generated arms, stopping, sampling."""

import pytest

from draftproof.records import DraftproofError, Role, State
from draftproof.runs import Plan, RunDirectory
from draftproof.runs.parallel import Workers
from draftproof.screen.run import run_plan


def verdict(folder, **plan):
    shared = {"battery": "lab-core", "target": "lab:target", "batch": 8, "max_new_tokens": 16}
    arms = [
        {"name": "target", "role": "baseline"},
        {"name": "draft", "role": "candidate", "draft": "lab:draft"},
        *plan.pop("more", []),
    ]
    declared = Plan.model_validate({**shared, **plan, "arms": arms})
    with RunDirectory(folder) as run:
        found = run_plan(declared, run)
        # the same command again asks nothing and says the same
        again = run_plan(declared, run)
    assert [c.state for c in again.candidates] == [c.state for c in found.candidates]
    return found


def test_generated_arms_measure_the_floor_and_hold_their_relations(tmp_path):
    found = verdict(tmp_path / "r", limit=1, noise={}, metamorphic=True)
    (draft,) = found.candidates
    assert {r.name for r in draft.floor.repeats} == {
        "target-again", "target-shuffled", "draft-again", "draft-shuffled",
    }  # fmt: skip
    assert {r.changed for r in found.relations} == {"gamma", "seed", "draft"}
    assert all(r.held for r in found.relations)
    assert draft.promise.declared == "L3"
    assert draft.sensitivity.detected > 150
    assert {v.role for v in found.variants} == {Role.VARIANT}


def test_a_sequential_plan_names_the_planted_fault_and_stops_asking_its_arm(tmp_path):
    mutant = {"name": "stale", "role": "control", "draft": "lab:draft", "mutant": "missing_bonus"}
    found = verdict(tmp_path / "r", limit=2, stop={"block": 1}, more=[mutant])
    (control,) = found.controls
    assert control.state is State.FAIL
    assert control.known_cause.name == "missing_bonus"
    assert control.counts.n < found.candidates[0].counts.n
    assert found.candidates[0].state is State.INCONCLUSIVE
    assert found.candidates[0].stopping.asked == found.candidates[0].counts.n


def test_a_sequential_plan_refuses_arms_at_the_same_time(tmp_path):
    declared = Plan.model_validate(
        {"target": "lab:target", "stop": {"block": 1}, "arms": [
            {"name": "target", "role": "baseline"},
            {"name": "draft", "role": "candidate", "draft": "lab:draft"}]}
    )  # fmt: skip
    with RunDirectory(tmp_path / "r") as run:
        with pytest.raises(DraftproofError, match="leave out --jobs 2, or take stop out"):
            run_plan(declared, run, workers=Workers(2))
        assert not run.manifest()


def test_a_server_that_scores_nothing_is_told(tmp_path):
    leaky = {"name": "l", "role": "control", "draft": "lab:adversarial", "rule": "typical"}
    with pytest.raises(DraftproofError, match="cannot be reached"):
        verdict(tmp_path / "r", limit=1, more=[leaky],
                rescore={"url": "http://127.0.0.1:9", "model": "m"})  # fmt: skip
