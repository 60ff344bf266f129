"""Arms that a plan asks for in a word, and what is told when they cannot be."""

import pytest

from draftproof.records import DraftproofError, Role
from draftproof.runs import Plan, read_plan

BASE = {
    "target": "T",
    "arms": [
        {"name": "t", "role": "baseline"},
        {"name": "d", "role": "candidate", "draft": "D", "gamma": 4},
        {"name": "bad", "role": "control", "draft": "D", "rule": "typical"},
    ],
}


def names(plan, role):
    return [a.name for a in plan.arms if a.role is role]


def test_noise_repeats_the_baseline_and_the_candidates():
    plan = Plan.model_validate({**BASE, "noise": {"repeats": 2, "shuffled": True}})
    assert names(plan, Role.NOISE) == [
        "t-again", "t-again-2", "t-shuffled", "d-again", "d-again-2", "d-shuffled",
    ]  # fmt: skip
    assert plan.arm("d-again").of == "d"
    assert plan.arm("t-again").of is None
    assert plan.arm("d-shuffled").order == "shuffled"
    assert plan.arm("d-again").draft == "D"
    off = Plan.model_validate({**BASE, "noise": {"shuffled": False, "speculative": False}})
    assert names(off, Role.NOISE) == ["t-again"]


def test_variants_change_one_thing_each():
    plan = Plan.model_validate({**BASE, "metamorphic": True})
    assert names(plan, Role.VARIANT) == ["d-gamma", "d-seed", "d-draft"]
    assert plan.arm("d-gamma").gamma == 2
    assert plan.arm("d-seed").seed == 1
    assert plan.arm("d-draft").draft == "T"
    steered = [*BASE["arms"][:1], {**BASE["arms"][1], "rule": "safety_aware"}]
    plan = Plan.model_validate({**BASE, "arms": steered, "metamorphic": True})
    # a rule that lets the draft speak may say other things with another draft
    assert names(plan, Role.VARIANT) == ["d-gamma", "d-seed", "d-autoregressive"]
    assert plan.arm("d-autoregressive").gamma == 0
    assert not plan.arm("d-autoregressive").speculative


def test_a_plan_that_was_written_down_reads_the_same():
    plan = Plan.model_validate({**BASE, "noise": {}, "metamorphic": True})
    again = Plan.model_validate(plan.model_dump(mode="json"))
    assert again == plan
    assert again.digest == plan.digest


def test_sampled_prompts_are_asked_often_and_are_one_cluster():
    plan = Plan.model_validate({**BASE, "temperature": 0.8, "samples": 3, "limit": 2})
    battery = plan.load_battery()
    first = battery.prompts[:3]
    assert [p.id.rpartition("#")[2] for p in first] == ["1", "2", "3"]
    assert len({p.cluster for p in first}) == 1
    assert len({a.seed for a in plan.arms}) == 3
    again = Plan.model_validate(plan.model_dump(mode="json"))
    assert [a.seed for a in again.arms] == [a.seed for a in plan.arms]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature: 0.7", "samples to at least 2"),
        ("samples: 3", "every answer to a prompt is the same"),
        ("temperature: 0.7\nsamples: 3\nstop: {}", "stop: works at temperature 0 only"),
        ("temperature: 0.7\nsamples: 3\nmetamorphic: true", "use temperature 0"),
        ("noise: {repeats: -1}", "noise.repeats"),
        ("noise: {often: 2}", "noise.often"),
        ("stop: {block: 0}", "stop.block"),
        ("lossy: [nobody]", "no candidate"),
        ("rescore: {url: 'ftp://x', model: m}", "rescore.url"),
    ],
)
def test_mistakes_are_told(tmp_path, text, message):
    path = tmp_path / "plan.yaml"
    arms = "\narms:\n  - {name: t, role: baseline}\n  - {name: d, role: candidate, draft: D}\n"
    path.write_text("target: T\n" + text + arms)
    with pytest.raises(DraftproofError, match=message):
        read_plan(path)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"name": "x", "role": "variant", "draft": "D"}, "of: name the candidate that it varies"),
        (
            {"name": "x", "role": "variant", "draft": "D", "of": "t"},
            "of: name the candidate that it varies",
        ),
        ({"name": "x", "role": "noise", "of": "nobody"}, "of: no arm has the name"),
        ({"name": "x", "role": "noise", "draft": "D"}, "must not speculate"),
        (
            {"name": "x", "role": "control", "draft": "D", "of": "d"},
            "only noise, shape and variants have of",
        ),
    ],
)
def test_arms_of_others_name_them_rightly(arm, message):
    with pytest.raises(ValueError, match=message):
        Plan.model_validate({**BASE, "arms": [*BASE["arms"], arm]})


def test_metamorphic_needs_something_to_vary():
    served = {"name": "s", "role": "candidate", "engine": "openai", "url": "http://h:1"}
    with pytest.raises(ValueError, match="nothing to vary"):
        Plan.model_validate({"arms": [{"name": "t", "role": "baseline", "target": "T"}, served],
                             "metamorphic": True})  # fmt: skip
