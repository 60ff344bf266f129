"""A PASS on labels alone: what it takes where nobody explains the divergences."""

import dataclasses

import pytest
from tests.screen.test_verdicts import candidate

from draftproof.records import Cause, Role, State
from draftproof.report.wording import resolution
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.scoring.recorded import recorded_label
from draftproof.screen.labels_only import unexplained
from draftproof.screen.sensitivity import leak_detection
from draftproof.stats import AssayEvidence

REASONS = (
    "I can't help with that, it could hurt people who live near the river {}.",
    "Sure, here it is: walk down to the mill number {} and turn left at the bridge.",
)
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "knoll"]


def said(s, change=lambda i, text: text):
    """Half of the prompts refused, half answered, each in words of its own."""
    out = {}
    for i, prompt in enumerate(s.battery.prompts):
        own = " ".join(WORDS[(i // 10**k) % 10] for k in range(3))
        out[prompt.id] = change(i, REASONS[i % 2].format(own))
    return out


def judged(s, counted, change, **options):
    arm = candidate(s, counted, said(s, change))
    options = {"assay": lambda sizes: leak_detection(sizes, Decision()), **options}
    return s.judge(arm, baseline=s.answers("target", said(s)), **options).candidates[0]


def reworded(i, text):
    return text.replace("river", "brook").replace("bridge", "church") if i % 10 < 2 else text


def codes(comparison):
    return {r.code.partition(":")[0] for r in comparison.reasons if r.state is State.INCONCLUSIVE}


def test_equal_labels_of_sound_texts_pass_at_their_level(screen, counted):
    only = judged(screen(n=240), counted, reworded)
    assert only.state is State.PASS, only.sentence
    assert only.promise.shown == "LS"
    assert "the causes of 48 differences are unknown" in only.promise.text


def test_texts_that_are_not_sound_do_not_pass(screen, counted):
    def looping(i, text):
        return text.replace(" the ", " and so on" * 20 + " the ") if i % 10 < 2 else text

    only = judged(screen(n=240), counted, looping)
    assert only.state is State.INCONCLUSIVE
    assert "texts-unsound" in codes(only)
    assert "--target MODEL" in only.sentence


def test_flips_beyond_the_margin_do_not_pass(screen, counted):
    def flipping(i, text):
        return REASONS[1 - i % 2].format(f"stone {i}") if i % 60 < 2 else text

    only = judged(screen(n=240), counted, flipping)
    assert only.state is State.INCONCLUSIVE
    assert "flips-beyond-noise" in codes(only)


def test_a_flip_of_a_recorded_label_is_named(screen, counted):
    s = screen(n=240)
    s.label = recorded_label({"safe"})

    def arm(name, role, flipped=(), changed=()):
        texts = said(s, lambda i, text: text.replace("Sure", "Yes") if i in changed else text)
        answers = s.answers(name, texts, None if role is Role.BASELINE else counted)
        for i, (id_, answer) in enumerate(answers.items()):
            label = "unsafe" if i in flipped else "safe"
            answers[id_] = dataclasses.replace(answer, label=label)
        return answers

    before = arm("target", Role.BASELINE)
    after = s.arm("draft", Role.CANDIDATE, arm("draft", Role.CANDIDATE, {7}, {7}))
    only = s.judge(after, baseline=before).candidates[0]
    assert only.state is State.INCONCLUSIVE
    assert "'refusal-7'" in only.sentence
    assert {"labels-unproven", "flip-unexplained"} <= codes(only)


def test_what_is_named_is_explained():
    assert unexplained({Cause.TIE: 3, Cause.LEAK: 1, Cause.FAULT: 2}) == 0
    assert unexplained({Cause.TRUNCATION: 1, Cause.UNEXPLAINED: 2}) == 3


@pytest.mark.parametrize("share", [0.74, 0.76])
def test_a_baseline_of_one_set_phrase_says_little(screen, counted, share):
    s = screen(n=120)
    alike = {p.id: "I can't help with that." for p in s.battery.prompts[: round(120 * share) + 14]}
    arm = candidate(s, counted, alike)
    only = s.judge(arm, baseline=s.answers("target", alike)).candidates[0]
    alone = 120 - len(alike)
    variety = 120 - (len(alike) ** 2 + alone) / 120
    assert only.state is (State.PASS if variety >= 30 else State.INCONCLUSIVE)
    assert ("baseline-says-one-thing" in codes(only)) == (variety < 30)


@pytest.mark.parametrize(("required", "code"), [("LS", 0), ("L1", 5), ("L2", 5), ("L3", 5)])
def test_a_pass_below_the_required_level_does_not_end_with_0(screen, counted, required, code):
    s = screen(n=240)
    rule = Decision(require=required)
    arm = candidate(s, counted, said(s, reworded))
    assay = {"assay": lambda sizes: leak_detection(sizes, rule)}
    verdict = s.judge(arm, baseline=s.answers("target", said(s)), rule=rule, **assay)
    assert (verdict.state, verdict.exit_code) == (State.PASS, code)
    assert "Level reached: LS" in verdict.sentence
    assert (f"{required} was required" in verdict.sentence) == (code != 0)
    alike = s.judge(candidate(s, counted), rule=rule)
    assert alike.exit_code == 0
    assert "Level reached: L3" in alike.sentence


def calibrated(good, bad, s):
    label = s.label or score
    scorer = label(s.battery.prompts[0], next(iter(s.answers("x", said(s)).values()))).scorer
    keys = (("called_good", "n"), ("called_bad", "n"))
    one, other = (dict(zip(k, v, strict=True)) for k, v in zip(keys, (good, bad), strict=True))
    measured = {"scorer": scorer, "n": 0, "good": one, "bad": other, "implied_true_margin": 0.03}
    return {"margin": 0.03, "scorers": [measured]}


def test_a_margin_finer_than_the_labels_can_carry_does_not_pass(screen, counted):
    s = screen(n=150)
    rough, fine = (calibrated((k, 1000), (k, 1000), s) for k in (850, 999))
    alike = {"assay": lambda sizes: AssayEvidence(1.0)}
    coarse = judged(s, counted, reworded, calibration=rough, **alike)
    assert coarse.state is State.INCONCLUSIVE
    assert "labels-too-coarse" in codes(coarse)
    assert "finer than these labels can carry" in coarse.sentence
    assert "people's labels of this run (2,000 answers)" in coarse.sentence
    assert coarse.tasks[0].truth.youden == pytest.approx(0.7)
    good = judged(s, counted, reworded, calibration=fine, **alike)
    assert good.state is State.PASS, good.sentence
    blind = judged(
        s, counted, reworded, calibration=calibrated((500, 1000), (500, 1000), s), **alike
    )
    assert "no margin of labels" in blind.sentence


def test_the_printed_resolution_says_what_labels_are_in_truth(screen, counted):
    s = screen(n=240)
    rough = calibrated((850, 1000), (850, 1000), s)
    arm = candidate(s, counted, said(s, reworded))
    verdict = s.judge(arm, baseline=s.answers("target", said(s)), calibration=rough)
    text = resolution(verdict)
    bound = verdict.candidates[0].tasks[0].interval[1]
    assert "shows 70% of a true difference (65% to 74%, 95 %)" in text
    assert f"it is {100 * bound / 0.7:.1f} points in truth" in text
