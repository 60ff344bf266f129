"""How well and how fast answers are scored, and what streaming a huge battery costs.

``python benchmarks/scorers.py --json`` needs the labelled XSTest completions (``--data``, or the
variable DRAFTPROOF_DATA); without them the two accuracies are null.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from draftproof.battery import stream_prompts
from draftproof.battery.contents import count_contents
from draftproof.records import Completion, Message, Prompt
from draftproof.scoring import SCORERS
from draftproof.scoring.degeneracy import degeneracy
from draftproof.scoring.hashed import shipped_weights
from draftproof.scoring.refusal import points_of, refuses, shipped_points
from draftproof.scoring.xstest import MODELS, TEST, read_labelled
from draftproof.stats.agreement import agreement, bootstrap_agreement
from draftproof.training.refusal_fitting import calibrate_points

RULES = ("refusal", "choice", "bias", "truth", "number", "number-strict")
"""The scorers whose slowest is reported as `answers_per_s`."""
_ANSWER = 1000
"""Characters of an answer whose scoring is timed."""


def accuracy(data, models, says):
    """Kappa over all answers of the models, and the largest false negative rate of one."""
    human, found, missed = [], [], {}
    for model in models:
        one = [a.label == "refusal" for a in data[model]]
        two = [says(a.text) for a in data[model]]
        missed[model] = sum(h and not f for h, f in zip(one, two, strict=True)) / sum(one)
        human += one
        found += two
    prompts = [a.id for m in models for a in data[m]]
    interval = bootstrap_agreement(
        human, found, np.random.default_rng(0), cluster=np.array(prompts), draws=1000
    )
    return {
        "kappa_heldout": round(agreement(human, found).kappa, 4),
        "kappa_interval_95": [round(interval.low, 3), round(interval.high, 3)],
        "false_negative_max": round(max(missed.values()), 4),
        "false_negative": {m: round(v, 4) for m, v in missed.items()},
    }


def other_splits(data):
    """The rules calibrated anew on every three models and tested on the other two.

    The cues were written from three of the files, so only the first split is blind to wording.
    """
    rows = []
    for test in combinations(MODELS, 2):
        points = points_of(calibrate_points(data, [m for m in MODELS if m not in test]))
        row = accuracy(data, test, lambda text, p=points: p.sums(text)[0] > 0)
        rows.append({"test": list(test), **row})
    return rows


def answers_per_s(judge, texts, seconds=1.0):
    """Answers of one kilobyte that a scorer labels in a second of one core.

    Every answer belongs to another prompt, with options of its own taken from the answers.
    """
    options = [tuple(text.split()[:90:25]) for text in texts]
    prompts = [
        Prompt(id=str(i), task="t", messages=(Message("user", "?"),), expect="refusal",
               choices=choices, reference="A")
        for i, choices in enumerate(options)
    ]  # fmt: skip
    asked = list(zip(prompts, texts, strict=True))
    rates: list[float] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(rates) < 3:
        start = time.process_time()
        for prompt, text in asked:
            judge(prompt, text)
        rates.append(len(texts) / (time.process_time() - start))
    return round(max(rates))


def breaks_down(prompt, text):
    """The guard that counts loops, in the form of a scorer."""
    return degeneracy(Completion(arm="a", id=prompt.id, text=text, finish_reason="stop"))


def write_rows(path, rows):
    """A table of `rows` distinct prompts, written piece by piece."""
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for start in range(0, rows, 10_000):
                file.writelines(
                    f'{{"id":"q{i}","prompt":"What is {i} plus one?","cluster":"c{i // 4}"}}\n'
                    for i in range(start, min(start + 10_000, rows))
                )
        return
    import polars  # noqa: PLC0415

    number = polars.int_range(rows, eager=False).cast(polars.String)
    polars.LazyFrame().select(
        ("q" + number).alias("id"), ("What is " + number + " plus one?").alias("prompt")
    ).sink_parquet(path)


def peak_memory():
    """Peak memory of this process, MB.

    The kernel's own figure where there is one: ru_maxrss starts from what the parent held.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return next(
            int(line.split()[1]) / 1024
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream(rows, suffix, *, check):
    """Seconds and peak memory (MB) of streaming a battery in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"battery{suffix}"
        write_rows(path, rows)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--stream", str(path), *(["--check"] if check else [])],
            capture_output=True, text=True, check=True,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["n"] == rows, found
    return {"rss_mb": found["rss_mb"], "seconds": round(time.perf_counter() - start, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--data", type=Path, default=os.environ.get("DRAFTPROOF_DATA"))
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows to stream; 0 for none")
    parser.add_argument("--check", action="store_true", help="count what is streamed: 4 x slower")
    parser.add_argument("--splits", action="store_true", help="also calibrate on every split")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        prompts = stream_prompts(options.stream)
        n = count_contents(prompts).n if options.check else sum(1 for _ in prompts)
        print(json.dumps({"n": n, "rss_mb": round(peak_memory(), 1)}))
        return
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = (options.data or beside) / "xstest"
    points, weights = shipped_points(), shipped_weights()
    says = {"rules": refuses, "trained": lambda text: weights.sums(text, points)[0] > 0}
    result: dict[str, object] = {"rules": None, "trained": None, "heldout": list(TEST)}
    texts = ["I cannot help with that, as it is illegal. " * 24, "Sure, here is how. " * 53]
    if folder.is_dir():
        data = {m: read_labelled(folder, m) for m in MODELS}
        for name, says_so in says.items():
            result[name] = accuracy(data, TEST, says_so)
        if options.splits:
            result["splits"] = other_splits(data)
        texts = [(a.text * (_ANSWER // len(a.text) + 1)) for m in MODELS for a in data[m]]
    texts = [t[:_ANSWER] for t in texts]
    judges = {name: scorer.judge for name, scorer in SCORERS.items()}
    rates = {
        name: answers_per_s(judge, texts[:: 5 if name == "refusal-trained" else 1])
        for name, judge in (judges | {"degeneracy": breaks_down}).items()
    }
    result["answers_per_s"] = min(rates[name] for name in RULES)
    result["answers_per_s_by_scorer"] = rates
    if options.rows:
        check = options.check
        kinds = {s: stream(options.rows, s, check=check) for s in (".jsonl", ".parquet")}
        result["stream_rows"] = options.rows
        result["stream_10m_rss_mb"] = max(k["rss_mb"] for k in kinds.values())
        result["stream"] = kinds
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
