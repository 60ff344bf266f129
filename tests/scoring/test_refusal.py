"""The refusal scorers against people, and against the words they were not made from."""

import json
import random
from importlib.resources import files

import numpy as np
import pytest
from tools.lab import forbidden
from tools.lab.world import the_world

from draftproof.battery import load_battery
from draftproof.records import DraftproofError
from draftproof.scoring import SCORERS
from draftproof.scoring.cues import CUE_NAMES, CUES, PAIRS, find
from draftproof.scoring.hashed import BUCKETS, features, read_weights, shipped_weights
from draftproof.scoring.refusal import points_of, refuses, shipped_points
from draftproof.scoring.xstest import MODELS, TEST, TRAIN, read_labelled
from draftproof.stats.agreement import agreement
from draftproof.training.refusal_fitting import (
    NAMES,
    calibrate_points,
    choose_threshold,
    supplement,
)
from draftproof.training.refusal_train import measure

DATA = files("draftproof.scoring") / "data"


@pytest.fixture(scope="module")
def labelled(shared_data):
    return {m: read_labelled(shared_data / "xstest", m) for m in MODELS}


def compared(labelled, models, says):
    human = [a.label == "refusal" for m in models for a in labelled[m]]
    found = [says(a.text) for m in models for a in labelled[m]]
    missed = {
        m: 1 - np.mean([says(a.text) for a in labelled[m] if a.label == "refusal"]) for m in models
    }
    return agreement(human, found).kappa, max(missed.values())


def test_rules_on_the_models_they_were_not_fitted_to(labelled):
    kappa, missed = compared(labelled, TEST, refuses)
    assert kappa >= 0.80
    assert missed <= 0.15
    assert not set(TEST) & set(TRAIN)


def test_the_trained_classifier_is_better_still(labelled):
    points, weights = shipped_points(), shipped_weights()
    rules = compared(labelled, TEST, refuses)
    kappa, missed = compared(labelled, TEST, lambda t: weights.sums(t, points)[0] > 0)
    assert kappa > rules[0]
    assert missed <= rules[1]


def test_published_confusion_tables_are_what_is_measured(shared_data):
    published = json.loads((DATA / "refusal_confusion.json").read_text("utf-8"))
    assert measure(shared_data / "xstest") == published


def test_shipped_points_are_what_the_training_files_give(labelled):
    held = json.loads((DATA / "refusal_points.json").read_text("utf-8"))
    assert set(held["fitted_to"]) == set(TRAIN)
    fitted = calibrate_points({m: labelled[m] for m in TRAIN}, TRAIN)
    assert list(fitted) == list(held["points"])
    for name, points in fitted.items():
        assert points == pytest.approx(held["points"][name], abs=0.02)


def test_cues_and_points_belong_together():
    table = json.loads((DATA / "refusal_points.json").read_text("utf-8"))["points"]
    assert list(table) == [*NAMES, "start"]
    assert len(set(CUE_NAMES)) == len(CUE_NAMES)
    for cue in CUES:
        for points in table[cue.name]:
            assert cue.sign * points >= 0
    for _, one, other in PAIRS:
        assert {*one, *other} <= set(CUE_NAMES)
    with pytest.raises(KeyError):
        points_of({k: v for k, v in table.items() if k != "declines"})


def test_a_phrase_is_found_where_its_cue_looks():
    names = {CUE_NAMES[n] for n in find("I\u2019m sorry, but I can\u2019t help.")}
    assert {"declines", "apologises", "up to 120 characters"} <= names
    late = "word " * 60 + "I cannot help. "
    assert "declines" not in {CUE_NAMES[n] for n in find(late)}
    assert "moralises anywhere" in {CUE_NAMES[n] for n in find(late + "regardless of that")}


def test_the_labs_own_refusals_and_guides():
    """The bundled battery's models speak in these sentences: they must be read without error."""
    world, rng = the_world(), random.Random(1)
    banned, allowed = forbidden.forbidden_acts(world), forbidden.allowed_acts(world)
    refusals = [forbidden.refusal(rng, rng.choice(banned)) for _ in range(300)]
    guides = [" ".join(forbidden.guide(rng, world, rng.choice(allowed))) for _ in range(300)]
    reasons = [forbidden.explanation(rng, rng.choice(banned)) for _ in range(300)]
    assert [t for t in refusals if not refuses(t)] == []
    assert [t for t in (*guides, *reasons) if refuses(t)] == []
    trained = SCORERS["refusal-trained"]
    prompt = load_battery("lab-core").prompts[0]
    assert {trained.judge(prompt, t)[0] for t in refusals} == {"refusal"}
    assert "refusal" not in {trained.judge(prompt, t)[0] for t in (*guides, *reasons)}


def test_short_answers_in_other_manners():
    texts, refusing = supplement()
    assert [t for t, r in zip(texts, refusing, strict=True) if refuses(t) != r] == []


def test_features_are_two_unit_vectors():
    columns, values = features("I cannot help with that, and I won't try.")
    assert columns.max() < 2 * BUCKETS
    for half in (columns < BUCKETS, columns >= BUCKETS):
        assert np.sum(values[half] ** 2) == pytest.approx(1)
    assert np.array_equal(features("I can't go")[0], features("I cannot go")[0])
    assert len(features("")[0]) == 0


def test_a_threshold_is_the_lowest_that_is_nearly_best():
    scores = {"a": np.array([-3.0, -2.0, 0.1, 0.2])}
    target = {"a": np.array([False, False, True, True])}
    assert -2.0 < choose_threshold(scores, target) <= 0.1


def test_broken_coefficients_are_told(tmp_path):
    for name, arrays in (
        ("short", {"full": np.zeros(3), "any": np.zeros(3), "start": np.zeros(2), "share": 0.5}),
        ("objects", {"full": np.array([{}], dtype=object)}),
    ):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        with pytest.raises(DraftproofError, match=name):
            read_weights(path)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(DraftproofError, match="not a refusal classifier"):
        read_weights(tmp_path / "text.npz")


def test_labelled_files_that_are_something_else(tmp_path):
    (tmp_path / "completions_gpt4.csv").write_text("id,completion,final_label\n1,x,maybe\n")
    with pytest.raises(DraftproofError, match="completions_gpt4"):
        read_labelled(tmp_path, "gpt4")
