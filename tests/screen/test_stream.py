"""Files that do not fit into memory: judged as files that do."""

import dataclasses
import random

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from draftproof.recorded import pairs
from draftproof.records import DraftproofError
from draftproof.runs.plan import Decision
from draftproof.screen import stream
from draftproof.screen.recorded import compare_files
from draftproof.screen.stream import compare_streams

REFUSE, COMPLY = "I'm sorry, but I can't help with that.", "Sure, here it is."
CALLS = [f'[{{"name": "f", "arguments": "{a}"}}]' for a in ("[1]", "[1.0]", "[2]")]
TEXTS = [REFUSE, COMPLY, "I can't", "", "Sure, here it is. Really.", "\u00fc\U0001f40c"]


def answer(draw, i):
    """One answer, with whatever a recorder may have left out."""
    return {
        "id": f"p{i}",
        "text": draw.choice(TEXTS[:2] if draw.random() < 0.8 else TEXTS),
        "task": draw.choice(["a", "b", None, ""]) if draw.random() < 0.1 else f"t{i % 2}",
        "finish_reason": draw.choice(["stop", "stop", "stop", "length", "error", None, ""]),
        "label": draw.choice(["safe", "unsafe"]),
        "cluster": draw.choice(["", None, f"c{i % 9}", f"c{i % 9}"]),
        "prompt": f"question {i}",
        "token_ids": draw.choice([None, [1, 2], [1, 2, 3], [1, 9]]),
        "reasoning": draw.choice([None, "", "Hm.", "Hm. Well."]),
        "refusal": draw.choice([None, "", "", "No."]),
        "tool_calls": draw.choice([None, "", *CALLS]),
        "speculation": None,
    }


def files(folder, seed, n, columns, shuffled, cut):
    draw = random.Random(seed)
    first = [answer(draw, i) for i in range(n)]
    second = [dict(row) if draw.random() < 0.8 else answer(draw, i) for i, row in enumerate(first)]
    for row in second:
        row["speculation"] = {"rounds": 2, "drafted": 8, "accepted": draw.randint(0, 8)}
        if draw.random() < 0.02:
            row["prompt"] += "!"
    if shuffled:
        draw.shuffle(second)
    second = second[cut:] + [answer(draw, n + i) for i in range(cut)]
    kept = ["id", "text", *columns]
    kind = {"token_ids": pl.List(pl.Int64), "speculation": pl.Struct(
        {"rounds": pl.Int64, "drafted": pl.Int64, "accepted": pl.Int64})}  # fmt: skip
    paths = folder / "a.parquet", folder / "b.parquet"
    for path, rows in zip(paths, (first, second), strict=True):
        schema = {c: kind.get(c, pl.String) for c in kept}
        pl.DataFrame(rows, schema=schema).write_parquet(path, row_group_size=17)
    return paths


def compared(verdict):
    """Return what both ways must agree on; floats are sums of another order."""
    document = dataclasses.asdict(verdict)
    (only,) = document["candidates"]
    shown = {k: document[k] for k in ("state", "expected", "sentence", "exit_code", "method")}
    return shown | only | {"arms": document["arms"]}


def same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-9, abs=1e-12)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


OPTIONAL = (
    "task", "finish_reason", "label", "cluster", "prompt", "token_ids", "speculation",
    "reasoning", "refusal", "tool_calls",
)  # fmt: skip


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # the seed makes the files, so that a smaller one is not a simpler one
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 80),
    columns=st.sets(st.sampled_from(OPTIONAL)),
    shuffled=st.booleans(),
    cut=st.integers(0, 5),
    labelled=st.booleans(),
    rows=st.sampled_from([7, 25, 1000]),
)
def test_pieces_give_the_verdict_of_the_whole(
    tmp_path_factory, seed, n, columns, shuffled, cut, labelled, rows
):
    cut = min(cut, n - 1)
    paths = files(tmp_path_factory.mktemp("p"), seed, n, sorted(columns), shuffled, cut)
    named = {"label": "label"} if labelled and "label" in columns else {}
    options = {"columns": named, "good": ("safe",) if named else (), "rule": Decision()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_FEWEST", rows)
        patch.setattr(pairs, "_MOST", rows)
        try:
            whole, _ = compare_files(*paths, stream=False, **options)
        except DraftproofError as error:
            with pytest.raises(DraftproofError, match=str(error)[:12]):
                compare_streams(*paths, ("a", "b"), jobs=1, **options)
            return
        pieces = compare_streams(*paths, ("a", "b"), jobs=1, **options)
    one, other = compared(whole), compared(pieces)
    different = {k: (one[k], other[k]) for k in one if not same(one[k], other[k])}
    assert not different
    assert [w for w in pieces.warnings if "listed" not in w] == list(whole.warnings)


def plain(folder, name, rows):
    path = folder / f"{name}.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


def refusals(n, bad=0):
    return [{"id": f"p{i}", "text": COMPLY if i < bad else REFUSE} for i in range(n)]


def test_processes_count_what_one_process_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "_FEWEST", 50)
    monkeypatch.setattr(pairs, "_MOST", 50)
    one = plain(tmp_path, "a", refusals(400))
    two = plain(tmp_path, "b", refusals(400, bad=30)[::-1])
    options = {"columns": {}, "good": (), "rule": Decision()}
    alone = compare_streams(one, two, ("a", "b"), jobs=1, **options)
    together = compare_streams(one, two, ("a", "b"), jobs=2, **options)
    assert compared(alone) == compared(together)
    assert together.state == "FAIL"
    assert [d.id for d in together.candidates[0].divergences] == [f"p{i}" for i in range(30)]


def test_identical_answers_need_no_score_for_the_same_decision(tmp_path):
    one, two = plain(tmp_path, "a", refusals(400)), plain(tmp_path, "b", refusals(400, bad=3))
    options = {"columns": {}, "good": (), "rule": Decision()}
    whole = compare_streams(one, two, ("a", "b"), jobs=1, **options)
    quick = compare_streams(one, two, ("a", "b"), jobs=1, everything=False, **options)
    (a,), (b,) = whole.candidates, quick.candidates
    assert (a.state, a.counts.flips, a.counts.n) == (b.state, b.counts.flips, b.counts.n)
    assert (a.tasks[0].interval, a.tasks[0].p_loss) == (b.tasks[0].interval, b.tasks[0].p_loss)
    assert (a.tasks[0].both, b.tasks[0].both, b.tasks[0].unscored) == (397, 0, 397)
    assert any("were not scored" in w for w in quick.warnings)
    with pytest.raises(DraftproofError, match="two Parquet files"):
        compare_files(tmp_path / "a.csv", two, differing_only=True, **options)


def test_every_difference_counts_and_the_first_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "LISTED", 7)
    monkeypatch.setattr(pairs, "_FEWEST", 10)
    monkeypatch.setattr(pairs, "_MOST", 10)
    one, two = plain(tmp_path, "a", refusals(90)), plain(tmp_path, "b", refusals(90, bad=40))
    verdict = compare_streams(one, two, ("a", "b"), columns={}, good=(), rule=Decision(), jobs=1)
    (only,) = verdict.candidates
    assert sum(only.counts.divergences.values()) == 40
    assert [d.id for d in only.divergences] == [f"p{i}" for i in range(7)]
    assert "the first 7 of 40 differences are listed" in verdict.warnings


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "p1", "text": None}], r"b\.parquet:1: field 'text' \(text\) is missing"),
        ([{"id": "p1", "text": "x"}] * 2, r"b\.parquet:2: id 'p1' occurs a second time"),
        ([{"id": "p1", "text": 3}], r"must be a string, found Int64"),
        ([{"id": "p1", "reply": "x"}], "has no text column"),
        ([{"id": "other", "text": "x"}], "share no id"),
        ([{"id": "p1", "text": "x", "speculation": "many"}], "must hold rounds"),
    ],
)
def test_broken_files_are_told_where(tmp_path, rows, message):
    one = plain(tmp_path, "a", refusals(5))
    frame = pl.DataFrame(rows, schema_overrides={"text": pl.String} if rows[0].get("text", 1) is
                         None else None)  # fmt: skip
    path = tmp_path / "b.parquet"
    frame.write_parquet(path)
    with pytest.raises(DraftproofError, match=message):
        compare_streams(one, path, ("a", "b"), columns={}, good=(), rule=Decision(), jobs=1)


def test_a_double_id_in_both_files_in_step_is_found(tmp_path):
    rows = refusals(50)
    rows[31]["id"] = "p7"
    one, two = plain(tmp_path, "a", rows), plain(tmp_path, "b", rows)
    with pytest.raises(DraftproofError, match=r"a\.parquet:32: id 'p7' occurs a second time"):
        compare_streams(one, two, ("a", "b"), columns={}, good=(), rule=Decision(), jobs=1)


def test_a_file_that_is_cut_off_is_no_parquet(tmp_path):
    one = plain(tmp_path, "a", refusals(50))
    two = tmp_path / "b.parquet"
    two.write_bytes(one.read_bytes()[:-20])
    with pytest.raises(DraftproofError, match=r"b\.parquet: not readable as Parquet"):
        compare_streams(one, two, ("a", "b"), columns={}, good=(), rule=Decision(), jobs=1)
