"""Streaming, counting, and the battery verbs."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from draftproof.battery import Problems, load_battery, stream_prompts
from draftproof.battery.contents import count_contents
from draftproof.battery.rows import iter_rows
from draftproof.cli.battery import battery as verb
from draftproof.records import DraftproofError


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_streams_hold_what_whole_batteries_hold(tmp_path):
    rows = [{"id": str(i), "prompt": f"p{i % 50}", "cluster": f"c{i % 7}"} for i in range(400)]
    path = write(tmp_path / "a.jsonl", rows)
    whole = load_battery(str(path))
    assert tuple(stream_prompts(path)) == whole.prompts
    counted = count_contents(stream_prompts(path))
    assert counted.digest == whole.digest
    (task,) = counted.tasks
    assert (task.n, task.units, task.duplicates, task.clustered) == (400, 7, 350, True)
    assert (
        count_contents(load_battery("lab-core").prompts).digest == load_battery("lab-core").digest
    )


def test_parquet_streams_in_order(tmp_path):
    polars = pytest.importorskip("polars")
    ids = [f"q{i}" for i in range(40_000)]
    polars.DataFrame({"id": ids, "prompt": ids}).write_parquet(tmp_path / "a.parquet")
    found = list(stream_prompts(tmp_path / "a.parquet"))
    assert [p.id for p in found] == ids
    assert [place for place, _ in iter_rows(tmp_path / "a.parquet")][-1] == 40_000
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DraftproofError, match="not readable as Parquet"):
        list(stream_prompts(tmp_path / "b.parquet"))


def test_streaming_does_not_hold_the_file(tmp_path):
    """Only what was asked for is read: the broken last line is never seen."""
    path = write(tmp_path / "a.jsonl", [{"id": i, "prompt": "x"} for i in range(2000)])
    path.write_text(path.read_text() + "{broken\n")
    stream = stream_prompts(path)
    assert [next(stream).id for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(DraftproofError, match=r"a\.jsonl:2001: broken JSON"):
        list(stream)


def test_broken_rows_are_skipped_only_on_request_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"id": 1, "prompt": "x"}\n{broken\n[2]\n{"id": 3}\n\xff\n\n{"id": 4, "prompt": "y"}'
    )
    with pytest.raises(DraftproofError, match=r"a\.jsonl:2"):
        load_battery(str(path))
    problems = Problems()
    battery = load_battery(str(path), problems=problems)
    assert [p.id for p in battery.prompts] == ["1", "4"]
    assert battery.skipped == problems.count == 4
    assert [line.split(":")[1] for line in problems.first] == ["2", "3", "4", "5"]
    table = tmp_path / "b.csv"
    table.write_text("id,prompt\n1,x\n2\n3,y,z\n4,w\n")
    problems = Problems()
    assert len(load_battery(str(table), problems=problems).prompts) == 2
    assert problems.count == 2


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), max_size=30))
def test_counting_never_miscounts(texts):
    from draftproof.records import Message, Prompt  # noqa: PLC0415

    prompts = [
        Prompt(id=f"{i}", task="t", messages=(Message("user", t),)) for i, t in enumerate(texts)
    ]
    found = count_contents(prompts)
    assert found.n == len(texts)
    assert found.repeated_ids == 0
    if texts:
        distinct = {" ".join(f"user\0{t}\0".casefold().split()) for t in texts}
        assert found.tasks[0].duplicates == len(texts) - len(distinct)


def invoke(*arguments):
    return CliRunner().invoke(verb, [str(a) for a in arguments])


def test_list_and_show():
    done = invoke("list", "--json")
    document = json.loads(done.output)
    assert document["bundled"] == ["lab-core", "everyday"]
    assert {e["name"] for e in document["catalogue"]} >= {"advbench", "bbq"}
    assert "tais-core" in invoke("list").output
    shown = invoke("show", "bbq").output
    assert "polarity" in shown
    assert "CC-BY-4.0" in shown
    assert json.loads(invoke("show", "bbq", "--json").output)["name"] == "bbq"
    done = invoke("show", "nope")
    assert done.exit_code == 2


def test_check_says_what_the_size_resolves(tmp_path):
    enough = write(tmp_path / "a.jsonl", [{"id": i, "prompt": f"p{i}"} for i in range(160)])
    done = invoke("check", enough, "--json")
    assert done.exit_code == 0, done.output
    (task,) = json.loads(done.output)["tasks"]
    assert (task["flips_tolerated"], task["resolves"]) == (1, True)
    assert task["finest_margin"] == pytest.approx(0.0185, abs=1e-4)
    few = write(tmp_path / "b.jsonl", [{"id": i, "prompt": "same"} for i in range(98)])
    done = invoke("check", few)
    assert done.exit_code == 5
    assert "cannot resolve" in done.output
    assert invoke("check", few, "--margin", "0.05").exit_code == 0
    clustered = write(
        tmp_path / "c.jsonl", [{"id": i, "prompt": f"p{i}", "cluster": i % 40} for i in range(160)]
    )
    assert invoke("check", clustered).exit_code == 5
    twice = write(tmp_path / "d.jsonl", [{"id": 1, "prompt": f"p{i}"} for i in range(120)])
    done = invoke("check", twice)
    assert done.exit_code == 2
    assert "119 ids occur more than once" in " ".join(done.output.split())


def test_check_shows_keys_and_skipped_rows(tmp_path):
    done = invoke("check", "lab-core", "--json")
    document = json.loads(done.output)
    assert document["prompts"] == len(load_battery("lab-core").prompts)
    assert document["digest"] == load_battery("lab-core").digest
    choice = next(t for t in document["tasks"] if t["task"] == "multiple_choice")
    assert choice["largest_key"] < 0.45
    path = write(tmp_path / "a.jsonl", [{"id": i, "prompt": f"p{i}"} for i in range(100)])
    path.write_text(path.read_text() + "{broken\n")
    assert invoke("check", path).exit_code == 2
    done = CliRunner().invoke(verb, ["check", str(path), "--skip-bad", "--json"])
    assert json.loads(done.stdout)["skipped"] == 1
    assert "a.jsonl:101" in done.stderr.replace("\n", "")
