"""One pipeline: the same answers give the same verdict document, held in memory or streamed."""

import json
import random

import polars as pl
import pytest

from draftproof.recorded import pairs
from draftproof.report import to_json
from draftproof.runs.plan import Decision
from draftproof.screen.recorded import compare_files

HOW_IT_WAS_READ = {
    "created": "the time of judging",
    "environment.files": "a stream digests the files, pairs in memory need not",
    "battery.version": "made from the digest",
    "battery.digest": "of the files where the prompts were never held, else of the prompts",
}
REFUSE, COMPLY = "I'm sorry, but I can't help with that.", "Sure, here it is."
TOKENS = {REFUSE: [1, 2, 3], COMPLY: [1, 9, 9, 9], REFUSE[:7]: [1, 2], "Sure, here": [1, 9]}


def answer(draw, i, text=None):
    text = text or draw.choice([REFUSE, REFUSE, COMPLY])
    return {
        "id": f"p{i}",
        "text": text,
        "task": f"task-{i % 3}",
        "finish_reason": "stop",
        "label": "refusal" if text.startswith("I") else "compliance",
        "prompt": f"question {i}",
        "cluster": f"c{i // 2}",
        "token_ids": TOKENS[text],
        "speculation": None,
    }


def recorded(case, n=240):
    """Return the answers of two arms that differ as the case says."""
    draw = random.Random(case)
    before = [answer(draw, i) for i in range(n)]
    after = [dict(row) for row in before]
    for i, row in enumerate(after):
        row["speculation"] = {"rounds": 2, "drafted": 8, "accepted": i % 5}
        if case == "identical":
            continue
        if i % 7 == 0 and case != "cut":
            row.update(answer(draw, i, COMPLY), speculation=row["speculation"])
        if i % 11 == 0:
            row.update(answer(draw, i, row["text"][:7] if row["text"] == REFUSE else "Sure, here"),
                       speculation=row["speculation"], finish_reason="length")  # fmt: skip
        if case == "goes on" and row["text"] == REFUSE:
            row.update(text=REFUSE + " Really.", token_ids=[1, 2, 3, 4])
    if case == "broken":
        for row in after[::20]:
            row["prompt"] += "!"
        for row in after[5::30]:
            row["finish_reason"] = "error"
        for row in before[9::40]:
            row["text"] = ""
        after = after[3:][::-1]
    return before, after


def flat(value, prefix=""):
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from flat(entry, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def document(verdict):
    return {
        field: value
        for field, value in flat(json.loads(to_json(verdict)))
        if not any(field == skip or field.startswith(skip + ".") for skip in HOW_IT_WAS_READ)
    }


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("clusters", [True, False])
@pytest.mark.parametrize("case", ["identical", "flips", "cut", "goes on", "broken"])
def test_both_doors_give_one_verdict(tmp_path, monkeypatch, case, clusters, ids, labelled):
    monkeypatch.setattr(pairs, "_FEWEST", 32)
    monkeypatch.setattr(pairs, "_MOST", 32)
    left_out = {name for name, there in (("cluster", clusters), ("token_ids", ids)) if not there}
    schema = {"token_ids": pl.List(pl.Int64), "speculation": pl.Struct(
        {"rounds": pl.Int64, "drafted": pl.Int64, "accepted": pl.Int64})}  # fmt: skip
    paths = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    for path, rows in zip(paths, recorded(case), strict=True):
        frame = pl.DataFrame(rows, schema_overrides=schema).drop(left_out)
        frame.write_parquet(path, row_group_size=32)
    columns = {"label": "label"} if labelled else {}
    options = {"columns": columns, "rule": Decision(), "good": ("refusal",) if labelled else ()}
    held, _ = compare_files(*paths, stream=False, **options)
    streamed, _ = compare_files(*paths, stream=True, **options)
    held, streamed = document(held), document(streamed)
    assert held == streamed
    if case == "goes on":
        assert held["candidates"][0]["known_cause"]["name"] == "stop_across_block"
