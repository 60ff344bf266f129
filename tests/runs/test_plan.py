"""Plans: what is inherited, and what each mistake is told."""

import pytest
from pydantic import ValidationError

from draftproof.records import DraftproofError
from draftproof.runs import Plan, read_plan

ARMS = """
arms:
  - {name: t, role: baseline}
  - {name: d, role: candidate, draft: "lab:draft"}
"""


def plan(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return read_plan(path)


def test_arms_inherit_and_override(tmp_path):
    read = plan(tmp_path, "target: T\ngamma: 3\n" + ARMS.replace("draft:", "gamma: 7, draft:"))
    assert [a.target for a in read.arms] == ["T", "T"]
    assert [a.gamma for a in read.arms] == [3, 7]
    assert read.baseline.name == "t"


def test_digest_follows_the_answers_and_not_the_judgement(tmp_path):
    base = plan(tmp_path, "target: T\n" + ARMS)
    other_margin = plan(tmp_path, "target: T\ndecision: {margin: 0.05}\n" + ARMS)
    other_length = plan(tmp_path, "target: T\nmax_new_tokens: 9\n" + ARMS)
    assert base.digest == other_margin.digest
    assert base.digest != other_length.digest


def test_the_part_of_a_battery_goes_by_the_option_s_name_too(tmp_path):
    plans = [plan(tmp_path, f"{n}: quick\ntarget: T\n{ARMS}") for n in ("half", "subset")]
    assert [p.half for p in plans] == ["quick", "quick"]
    assert plans[0].digest == plans[1].digest
    assert plans[0].model_dump()["half"] == "quick", "runs of 0.1.0 call it so"


def test_paths_are_relative_to_the_plan(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"id": "1", "prompt": "x"}\n')
    read = plan(tmp_path, "target: T\nbattery: b.jsonl\n" + ARMS)
    assert len(read.load_battery().prompts) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: [", "not readable as YAML"),
        ("[]", "is a mapping"),
        ("target: T\narms: []", "exactly one baseline"),
        ("target: T\n" + ARMS + "  - {name: t2, role: baseline}", "this one has 2"),
        ("target: T\narms:\n  - {name: t, role: baseline}", "at least one candidate"),
        ("target: T\n" + ARMS + "  - {name: t, role: noise}", "two arms are called 't'"),
        ("target: T\n" + ARMS + "  - {name: n, role: noise, draft: d}", "must not speculate"),
        ("target: T\n" + ARMS.replace("candidate", "canditate"), r"arms\[1\]\.role"),
        ("target: T\ntemperature: 0.7\n" + ARMS, "samples to at least 2"),
        ("target: T\ngamma: 0\n" + ARMS, r"arms\[0\]\.gamma: gamma 0 drafts nothing"),
        ("target: T\nmargins: 3\n" + ARMS, "margins: there is no such field"),
        (ARMS, r"arms\[0\].*target"),
        ("target: T\n" + ARMS + "  - {name: x, role: control, rule: typical}", "no draft is named"),
        ("target: T\n" + ARMS.replace("name: t", "name: ../t"), r"arms\[0\]\.name"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, text, message):
    with pytest.raises(DraftproofError, match=message):
        plan(tmp_path, text)


def test_vllm_s_engines_in_one_process_are_not_asked_in_turns():
    arms = [{"name": "t", "role": "baseline"}, {"name": "d", "role": "candidate", "draft": "D"}]
    with pytest.raises(ValidationError, match="share their counters; use engine openai"):
        Plan.model_validate({"target": "T", "engine": "vllm", "stop": {}, "arms": arms})
    Plan.model_validate({"target": "T", "stop": {}, "arms": arms})
