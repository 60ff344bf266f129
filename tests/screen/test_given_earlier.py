"""Old answers are called old, whoever kept them."""

import json

import polars
import pytest

from draftproof.records import Completion
from draftproof.runs.dates import given_earlier
from draftproof.runs.plan import Decision
from draftproof.screen.recorded import compare_files


def at(arm, *times):
    return {
        str(n): Completion(arm=arm, id=str(n), text="x", answered_at=time)
        for n, time in enumerate(times)
    }


def test_old_answers_are_called_old_and_new_ones_are_not():
    answers = {
        "t": at("t", "2026-11-28T21:04:00+00:00"),
        "d": at("d", "2026-11-29T08:00:00+00:00"),
        "e": at("e", "2026-11-29T08:00:00+00:00", "2026-11-28T21:04:00+00:00"),
    }
    old, partly = given_earlier(answers, "2026-11-29T07:59:00+00:00")
    assert old == (
        "answers of 't' were given on 2026-11-28 21:04 UTC; this command asked it nothing"
    )
    assert partly == (
        "1 of 2 answers of 'e' were given on 2026-11-28 21:04 UTC; "
        "this command asked for the others"
    )
    assert len(given_earlier(answers, None)) == 3
    (undated,) = given_earlier({"t": at("t", None)}, "2026-11-29T07:59:00+00:00")
    assert "at a time that was not recorded for all" in undated


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "stream"])
def test_recorded_answers_keep_their_dates(tmp_path, kind):
    times = ["2026-11-28T21:04:00+00:00", "2026-11-28T21:09:00+00:00"]
    rows = [{"id": str(n), "text": f"answer {n}", "answered_at": times[n]} for n in range(2)]
    rows_without = [{**rows[0], "answered_at": None}, rows[1]]
    paths = []
    for name, answers in (("one", rows), ("two", rows_without)):
        if kind == "jsonl":
            paths.append(tmp_path / f"{name}.jsonl")
            paths[-1].write_text("".join(json.dumps(row) + "\n" for row in answers))
        else:
            paths.append(tmp_path / f"{name}.parquet")
            polars.DataFrame(answers).write_parquet(paths[-1])
    verdict, _ = compare_files(*paths, columns={}, rule=Decision(), stream=kind == "stream")
    assert [arm.answered for arm in verdict.arms] == [tuple(times), None]
    said = "answers of 'one' were given on 2026-11-28 21:04 to 2026-11-28 21:09 UTC"
    assert [w for w in verdict.warnings if "were given" in w] == [f"{said}, as their file says"]
