"""The noise of our own stack in bfloat16, from a plan to a verdict and judged again."""

import pytest
from pydantic import ValidationError

from draftproof.records import State
from draftproof.report.document import from_json, to_json
from draftproof.runs import Plan, RunDirectory
from draftproof.screen import run as screen_run
from draftproof.screen.run import SCORES, judge_run, run_plan
from draftproof.screen.stack_noise import scores
from draftproof.screen.stack_noise.asking import PlainAsker, ask_engine
from draftproof.screen.stack_noise.scores import RunScores

PLAN = {
    "battery": "lab-core", "half": "quick", "limit": 9, "target": "lab:target", "dtype": "bfloat16",
    "max_new_tokens": 48, "decision": {"inject": 0},
    "arms": [
        {"name": "target", "role": "baseline"},
        {"name": "again", "role": "noise"},
        {"name": "draft", "role": "candidate", "draft": "lab:draft"},
        {"name": "relaxed", "role": "control", "draft": "lab:adversarial", "rule": "relaxed",
         "rule_options": {"top": 2, "delta": 0.1}},
        {"name": "leaky", "role": "control", "draft": "lab:adversarial", "rule": "typical"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    plan = Plan.model_validate(PLAN)
    heard = []
    with RunDirectory(tmp_path_factory.mktemp("run") / "r") as run:
        verdict = run_plan(plan, run, progress=lambda *news: heard.append(news))
    return plan, run.path, verdict, heard


def test_leaks_are_named_and_plain_rounding_is_not(judged):
    _, _, verdict, heard = judged
    (candidate,) = verdict.candidates
    assert candidate.stack_noise.named == ()
    assert candidate.state is not State.FAIL
    assert 0 < candidate.stack_noise.clean.sigma < 0.2
    relaxed, leaky = verdict.controls
    assert leaky.state is State.FAIL
    assert leaky.stack_noise.named_count > 1
    assert {t.cause for t in leaky.stack_noise.named} == {"leak"}
    # a lossy rule is never taken for ties alone
    assert relaxed.state in {State.FAIL, State.INCONCLUSIVE}
    assert "one leak is named from" in relaxed.stack_noise.text
    assert relaxed.stack_noise.direction.p_value < 0.005
    assert {name for name, *_ in heard} >= {"scoring target", "scoring leaky"}
    assert from_json(to_json(verdict)).candidates[0].stack_noise == candidate.stack_noise


def test_judging_again_scores_and_asks_nothing(judged, monkeypatch):
    plan, path, verdict, _ = judged

    def never(*_, **__):
        raise AssertionError("was scored again")

    monkeypatch.setattr(scores, "score_answers", never)
    with RunDirectory(path) as run:
        answers = {arm.name: run.log(arm.name).read() for arm in plan.arms}
        battery = plan.load_battery()
        kept = RunScores(plan.arms, battery, None, path / SCORES)
        again = judge_run(plan, battery, answers, run.manifest(), scores=kept)
    for before, after in zip(
        (*verdict.candidates, *verdict.controls), (*again.candidates, *again.controls), strict=True
    ):
        assert (after.state, after.stack_noise) == (before.state, before.stack_noise)


def test_the_plain_stack_says_its_own_tokens_at_prefixes_of_its_answers(judged):
    plan, path, _, _ = judged
    battery = plan.load_battery()
    with RunDirectory(path) as run:
        answers = run.log("target").read()
    instrument = RunScores(plan.arms, battery).instrument(plan.baseline)
    asker = PlainAsker(plan.baseline, instrument, ask_engine)
    prefixes, own = [], []
    for prompt in battery.prompts[:12]:
        ids = answers[prompt.id].token_ids
        place = len(ids) // 2
        prefixes.append((prompt, ids[:place]))
        own.append(ids[place])
    said = asker.next_tokens(prefixes, [(token,) for token in own])
    known = [(token, mine) for token, mine in zip(said, own, strict=True) if token is not None]
    assert len(known) > 8
    assert sum(token == mine for token, mine in known) >= len(known) - 1


def test_our_own_kernels_have_no_noise(tmp_path):
    document = {**PLAN, "dtype": "float32", "limit": 2, "arms": [PLAN["arms"][0], PLAN["arms"][2]]}
    with RunDirectory(tmp_path / "r") as run:
        verdict = run_plan(Plan.model_validate(document), run)
    section = verdict.candidates[0].stack_noise
    assert (section.sigma, section.margin, section.arm) == (0.0, 0.0, None)
    assert "every difference counts" in section.text
    assert not (run.path / screen_run.SCORES).exists()


def test_a_shape_arm_is_plain_and_joins_plain_decoding(tmp_path):
    shaped = {"name": "shaped", "role": "shape", "exactness": "same_shape"}
    document = {**PLAN, "limit": 2, "arms": [PLAN["arms"][0], PLAN["arms"][2], shaped]}
    with RunDirectory(tmp_path / "r") as run:
        verdict = run_plan(Plan.model_validate(document), run)
    section = verdict.candidates[0].stack_noise
    assert section.clean_arms == ("target", "shaped")
    assert section.contamination.shape_arm == "shaped"
    (shape,) = verdict.noise
    assert (shape.name, shape.role.value, shape.expected) == ("shaped", "shape", True)
    for wrong, words in (({"draft": "lab:draft"}, "must not speculate"), ({"of": "target"}, "of")):
        arms = [PLAN["arms"][0], PLAN["arms"][2], {**shaped, **wrong}]
        with pytest.raises(ValidationError, match=words):
            Plan.model_validate({**PLAN, "arms": arms})
