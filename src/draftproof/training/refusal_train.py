"""Making the shipped refusal points and classifier from labelled XSTest completions.

``python -m draftproof.training.refusal_train FOLDER`` reads ``completions_*.csv``, fits to three
models' files, writes ``refusal_points.json`` and ``refusal_classifier.npz`` into the data of the
scoring package, and measures what it wrote on all five. Needs the extra ``scorers``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.records import DraftproofError, Prompt
from draftproof.scoring.hashed import BUCKETS, TRAINED, Weights, features, shipped_weights
from draftproof.scoring.refusal import REFUSAL, Points, points_of, shipped_points
from draftproof.scoring.scorer import Scorer
from draftproof.scoring.xstest import MODELS, TEST, TRAIN, Labelled, read_labelled
from draftproof.training import refusal_fitting as fitting

KINDS = ("refusal", "partial", "compliance")
_SHARE = 0.5
_STRENGTH = 3.0
"""Inverse regularisation of the linear models (scikit-learn's C)."""


def train_weights(
    data: Mapping[str, Sequence[Labelled]], train: Sequence[str], points: Points
) -> Weights:
    """Fit the linear models to the models in `train` alone; `points` is what they are mixed with.

    The threshold of the mixture is chosen with points that were fitted without the model left
    out, so nothing of it is known to either part.

    Raises:
        DraftproofError: scikit-learn is not installed.
    """
    texts, short = fitting.supplement()
    matrices = {m: _matrix([a.text for a in data[m]]) for m in train}
    extra = _matrix(texts)
    without_points = {
        m: points_of(fitting.calibrate_points(data, [o for o in train if o != m])) for m in train
    }
    linear_parts = []
    for kind, partial in enumerate((False, True)):
        target = {
            m: np.array([fitting.is_refusal(a.label, partial=partial) for a in data[m]])
            for m in train
        }

        def fit(models: Sequence[str], target: Any = target) -> Any:
            rows = [*(matrices[m] for m in models), extra]
            return _regression(rows, np.concatenate([*(target[m] for m in models), short]))

        def without(models: Sequence[str], left_out: str, kind: int = kind) -> fitting.Floats:
            words = fit(models).decision_function(matrices[left_out])
            rules = [without_points[left_out].sums(a.text)[kind] for a in data[left_out]]
            return np.asarray(_SHARE * words + (1 - _SHARE) * np.asarray(rules))

        threshold = fitting.leave_one_out(data, train, without, partial=partial)
        model = fit(train)
        linear_parts.append((model.coef_[0], _SHARE * float(model.intercept_[0]) - threshold))
    return Weights(
        full=linear_parts[0][0].astype(np.float32),
        any=linear_parts[1][0].astype(np.float32),
        start=(linear_parts[0][1], linear_parts[1][1]),
        share=_SHARE,
    )


def _matrix(texts: Sequence[str]) -> Any:
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - training only

    rows = [features(t) for t in texts]
    ends = np.cumsum([0, *(len(columns) for columns, _ in rows)])
    values = np.concatenate([v for _, v in rows])
    columns = np.concatenate([c for c, _ in rows])
    return csr_matrix((values, columns, ends), shape=(len(texts), 2 * BUCKETS))


def _regression(rows: Sequence[Any], target: fitting.Bools) -> Any:
    from scipy.sparse import vstack  # noqa: PLC0415 - training only

    try:
        linear: Any = import_module("sklearn.linear_model")
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"training the refusal classifier needs {error.name}; "
            "run: pip install 'draftproof[scorers]'"
        ) from error
    return linear.LogisticRegression(C=_STRENGTH, max_iter=2000).fit(vstack(rows).tocsr(), target)


def write_weights(weights: Weights, path: Path) -> None:
    """Write coefficients as arrays without objects; small ones are dropped as zeros."""
    np.savez_compressed(
        path,
        full=weights.full.astype(np.float16),
        any=weights.any.astype(np.float16),
        start=np.asarray(weights.start),
        share=np.asarray(weights.share),
    )


def confusion(answers: Sequence[Labelled], scorer: Scorer) -> list[list[int]]:
    """Return counts of people's labels (rows) against a scorer's, both in the order of KINDS."""
    no_prompt = Prompt(id="x", task="x", messages=())
    table = [[0] * len(KINDS) for _ in KINDS]
    for answer in answers:
        value = scorer.judge(no_prompt, answer.text)[0] if answer.text.strip() else "compliance"
        table[KINDS.index(answer.label)][KINDS.index(value)] += 1
    return table


def measure(folder: Path) -> dict[str, Any]:
    """Return the confusion tables of the shipped scorers on every labelled file."""
    data = {m: read_labelled(folder, m) for m in MODELS}
    return {
        "labels": list(KINDS),
        "rows": "people",
        "columns": "scorer",
        "fitted_to": list(TRAIN),
        "held_out": list(TEST),
        "tables": {
            scorer.name: {m: confusion(data[m], scorer) for m in MODELS}
            for scorer in (REFUSAL, TRAINED)
        },
    }


def main(folder: Path, out: Path) -> None:
    """Fit both scorers on the training files, write what ships, and measure it on all files."""
    data = {m: read_labelled(folder, m) for m in TRAIN}
    table = fitting.calibrate_points(data, TRAIN)
    hashes = {
        m: hashlib.sha256((folder / f"completions_{m}.csv").read_bytes()).hexdigest() for m in TRAIN
    }
    document = {
        "what": "points of the refusal cues: for a full refusal, for any refusal",
        "fitted_to": hashes,
        "licence": "fitted to labels of XSTest (Röttger et al. 2024), CC-BY-4.0",
        "points": table,
    }
    (out / "refusal_points.json").write_text(
        json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    write_weights(train_weights(data, TRAIN, points_of(table)), out / "refusal_classifier.npz")
    shipped_points.cache_clear()
    shipped_weights.cache_clear()
    text = json.dumps(measure(folder), indent=1)
    (out / "refusal_confusion.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(str(files("draftproof.scoring"))) / "data")
