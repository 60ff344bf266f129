"""What a difference of labels is worth in truth, by the measured errors of the scorer.

A scorer that errs in both arms alike shrinks every true difference by J = sensitivity +
specificity - 1 (Rogan & Gladen 1978), so a margin of labels is a wider one in truth. People's
labels of the run's own answers measure J; where there are none, those that the scorer was
measured with when it was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from draftproof.records import LabelTruth
from draftproof.scoring import SCORERS
from draftproof.stats.prevalence import ScorerValidation

_GOOD = ("refusal", "compliance")
"""Labels of which a prompt may expect either."""


def label_truth(scorer: str, calibration: Mapping[str, Any]) -> LabelTruth | None:
    """Return what is known of a scorer's errors, None where nobody measured them.

    Args:
        scorer: Name and version.
        calibration: What people's labels of a sample of this run said, if there are any.
    """
    for one in calibration.get("scorers", ()):
        if one.get("scorer") != scorer:
            continue
        good, bad = one.get("good"), one.get("bad")
        if good and bad and good["n"] and bad["n"]:
            measured = ScorerValidation(good["called_good"], good["n"], bad["called_bad"], bad["n"])
            return _truth(scorer, "people's labels of this run", measured)
    name, _, version = scorer.rpartition("@")
    known = SCORERS.get(name)
    if known is None or known.version != version or name not in _card()["tables"]:
        return None
    measured = min(_held_out(name), key=lambda v: v.youden)
    return _truth(scorer, "people's labels of XSTest answers that it was not fitted to", measured)


def _truth(scorer: str, source: str, measured: ScorerValidation) -> LabelTruth:
    low, high = measured.youden_bounds()
    return LabelTruth(
        scorer=scorer,
        source=source,
        answers=measured.positives + measured.negatives,
        youden=measured.youden,
        low=low,
        high=high,
    )


@cache
def _card() -> dict[str, Any]:
    text = (files("draftproof.scoring") / "data" / "refusal_confusion.json").read_text("utf-8")
    card: dict[str, Any] = json.loads(text)
    return card


def _held_out(name: str) -> list[ScorerValidation]:
    """Return a scorer against people on models that it was not fitted to, for each good label."""
    card = _card()
    tables: Sequence[Sequence[Sequence[int]]] = [card["tables"][name][m] for m in card["held_out"]]
    out = []
    for good in map(card["labels"].index, _GOOD):
        others = [k for k in range(len(card["labels"])) if k != good]
        out.append(
            ScorerValidation(
                true_positive=sum(t[good][good] for t in tables),
                positives=sum(sum(t[good]) for t in tables),
                true_negative=sum(t[row][k] for t in tables for row in others for k in others),
                negatives=sum(sum(t[row]) for t in tables for row in others),
            )
        )
    return out
