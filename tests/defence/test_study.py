"""The declaration of a study of defences."""

from importlib.resources import files

import pytest

from draftproof.defence.prompts import study_prompts
from draftproof.defence.study import Study, read_study
from draftproof.records import DraftproofError

SHIPPED = files("draftproof") / "studies" / "ssd2025.yaml"


def write(tmp_path, change):
    text = SHIPPED.read_text("utf-8")
    assert change[0] in text
    path = tmp_path / "s.yaml"
    path.write_text(text.replace(change[0], change[1], 1))
    return path


def test_the_shipped_study_has_every_arm_and_attack():
    study = read_study(SHIPPED)
    assert [a.name for a in study.arms] == [
        "target", "reminder", "safe-decoding", "ssd-paper", "ssd-fixed", "expert", "speculative",
    ]  # fmt: skip
    assert study.prefill == (5, 10, 20, 40)
    assert {t.role for t in study.tasks} == {"attack", "over_refusal", "utility"}
    quick = study.quick()
    assert sum(t.limit for t in quick.tasks) < sum(t.limit for t in study.tasks) / 2
    assert quick.digest != study.digest


def test_margins_and_speed_do_not_decide_the_answers():
    study = read_study(SHIPPED)
    assert study.model_copy(update={"margin": 0.05}).digest == study.digest
    assert study.model_copy(update={"gamma": 5}).digest != study.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("expert: lab:expert", "expert: lab:target"), "the expert is the target"),
        (("name: reminder", "name: target"), "two arms are called 'target'"),
        (("lab:wrapped", "lab:wraped"), "lab:direct, lab:prefill"),
        (("{name: target, kind: target}", "{name: target, kind: expert}"), "first arm"),
        (("[5, 10, 20, 40]", "[0]"), "at least 1 token"),
        (("gamma: 3", "gama: 3"), "gama"),
        (("margin: 0.02", "margin: 2"), "margin"),
        (("[[ssd-fixed, ssd-paper]]", "[[ssd-fixed, ssd-old]]"), "two arms of this study"),
        (("seeds: [2025]", "seeds: [1, 1]"), "named twice"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(DraftproofError, match=message):
        read_study(write(tmp_path, change))


def test_a_file_that_is_no_study(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("- 1")
    with pytest.raises(DraftproofError, match="a study is a mapping"):
        read_study(path)


def asked(study, tmp_path):
    (tmp_path / "suffix-1.json").write_text('{"text": " a"}')
    (tmp_path / "suffix-2.json").write_text('{"text": " b"}')
    return study_prompts(study, tmp_path, lambda *_: None)


@pytest.fixture(scope="module")
def lab_study():
    sizes = (("direct", "attack", 5), ("wrapped", "attack", 3), ("suffix", "attack", 4),
             ("open", "utility", 6))  # fmt: skip
    tasks = [{"name": name, "role": role, "source": f"lab:{name}", "limit": limit, "quick": 1}
             for name, role, limit in sizes]  # fmt: skip
    arms = [{"name": "target", "kind": "target"}, {"name": "ssd", "kind": "ssd"}]
    return Study.model_validate({"target": "t", "expert": "e", "tasks": tasks, "arms": arms})


def test_seeds_are_pooled_and_ask_about_different_acts(lab_study, tmp_path):
    one = asked(lab_study.of_seeds([1]), tmp_path)
    both = asked(lab_study.of_seeds([1, 2]), tmp_path)
    assert len(both) == 2 * len(one)
    # what the first seed asks is asked in the same words
    first = [p.messages for _, p in both if p.id.endswith("@1")]
    assert first == [p.messages for _, p in one]
    for task in ("direct", "wrapped", "suffix"):
        acts = [p.cluster for _, p in both if p.task == task]
        assert len(set(acts)) == len(acts)
    # the tasks of one seed are about the same acts, and no act of one seed is in another
    of_seed = {seed: {p.cluster for r, p in both if r == "attack" and p.id.endswith(seed)}
            for seed in ("@1", "@2")}  # fmt: skip
    assert not of_seed["@1"] & of_seed["@2"]
    assert len({p.messages for r, p in both if r == "utility"}) == 12
    ends = {p.messages[-1].content[-1] for _, p in both if p.task == "suffix"}
    assert ends == {"a", "b"}


def test_seeds_decide_the_answers_and_cannot_be_named_twice(lab_study):
    assert lab_study.of_seeds([1]).digest != lab_study.of_seeds([2]).digest
    with pytest.raises(DraftproofError, match="twice"):
        lab_study.of_seeds([1, 1])


def test_more_seeds_than_there_are_acts_are_refused(lab_study, tmp_path):
    tasks = [t.model_copy(update={"limit": 400}) for t in lab_study.tasks[:1]]
    many = lab_study.model_copy(update={"tasks": tuple(tasks)}).of_seeds([1, 2])
    with pytest.raises(DraftproofError, match="47 acts are left for seed 2"):
        asked(many, tmp_path)
