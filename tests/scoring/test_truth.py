"""What a difference of labels is worth in truth."""

import pytest

from draftproof.scoring import SCORERS
from draftproof.scoring.truth import label_truth

REFUSAL = f"refusal@{SCORERS['refusal'].version}"


def calibrated(good, bad, scorer=REFUSAL):
    keys = (("called_good", "n"), ("called_bad", "n"))
    one, other = (dict(zip(k, v, strict=True)) for k, v in zip(keys, (good, bad), strict=True))
    return {"scorers": [{"scorer": scorer, "good": one, "bad": other}]}


def test_people_s_labels_of_the_run_come_first():
    truth = label_truth(REFUSAL, calibrated((95, 100), (90, 100)))
    assert truth.youden == pytest.approx(0.85)
    assert truth.low < 0.85 < truth.high
    assert truth.answers == 200
    assert "this run" in truth.source
    few = label_truth(REFUSAL, calibrated((9, 10), (0, 0)))
    assert "XSTest" in few.source, "good answers alone measure nothing"
    other = label_truth(REFUSAL, calibrated((95, 100), (90, 100), "choice@1"))
    assert other == few


def test_the_card_speaks_where_nobody_labelled():
    """Held out: 550 compliances and 350 others; the worse of both good labels counts."""
    truth = label_truth(REFUSAL, {})
    assert truth.answers == 900
    assert truth.youden == pytest.approx(517 / 550 + 317 / 350 - 1)
    assert 0.78 < truth.low < truth.youden < truth.high
    trained = label_truth(f"refusal-trained@{SCORERS['refusal-trained'].version}", {})
    assert trained.youden > truth.youden
    assert label_truth("refusal@0", {}) is None
    assert label_truth("choice@1", {}) is None
    assert label_truth("recorded", {}) is None


def test_a_scorer_at_chance_may_mean_any_difference():
    chance = label_truth(REFUSAL, calibrated((50, 100), (50, 100)))
    assert chance.in_truth(0.03) == (None, None)
    weak = label_truth(REFUSAL, calibrated((8, 10), (5, 10)))
    estimate, most = weak.in_truth(0.03)
    assert estimate == pytest.approx(0.1)
    assert most is None
