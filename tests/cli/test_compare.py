"""`draftproof compare` as a user meets it."""

import csv
import json

import polars
import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.screen import recorded, stream

REFUSE, COMPLY = "I'm sorry, but I can't help with that.", "Sure, here it is."


def run(*args):
    return CliRunner().invoke(main, ["compare", *map(str, args)], catch_exceptions=False)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def rows(n=200, bad=0, **extra):
    return [
        {"id": f"p{i}", "text": f"{COMPLY if i < bad else REFUSE} ({i})", **extra} for i in range(n)
    ]


def test_the_published_rule_is_shown_beside_ours(tmp_path):
    def half(lost):
        return [
            {"id": f"p{i}", "text": f"{COMPLY if i % 2 or i in lost else REFUSE} ({i * 7919})"}
            for i in range(300)
        ]

    one, two = jsonl(tmp_path / "a.jsonl", half(())), jsonl(tmp_path / "b.jsonl", half(range(9)))
    said = {}
    for profile in ("exact", "tais", "tais-published"):
        out = tmp_path / profile
        document = json.loads(run(one, two, "--profile", profile, "--out", out, "--json").stdout)
        assert document["method"]["profile"] == profile
        (only,) = document["candidates"]
        said[profile] = document["state"]
        rulings = {r["profile"]: r["state"] for r in only["profiles"]}
        # five losses of 300: the Wald interval ends at 2.9 points
        assert rulings == {
            "exact": "INCONCLUSIVE", "tais": "INCONCLUSIVE", "tais-published": "PASS",
        }  # fmt: skip
        assert "| tais-published | PASS |" in (out / "report.md").read_text("utf-8")
        assert "by three rules" in (out / "report.html").read_text("utf-8")
    assert said == rulings
    shown = run(one, two).stdout
    assert "tais-published PASS" in " ".join(shown.split())
    alike = json.loads(run(one, one, "--json").stdout)["candidates"][0]["profiles"]
    # without a flip the published interval has no length, and shows nothing
    assert [r["state"] for r in alike] == ["PASS", "PASS", "INCONCLUSIVE"]


def test_identical_files_pass(tmp_path):
    one, two = jsonl(tmp_path / "a.jsonl", rows()), jsonl(tmp_path / "b.jsonl", rows())
    done = run(one, two)
    assert done.exit_code == 0
    assert "PASS" in done.stdout


def test_a_loss_fails_and_json_is_one_document(tmp_path):
    one, two = jsonl(tmp_path / "a.jsonl", rows()), jsonl(tmp_path / "b.jsonl", rows(bad=30))
    done = run(one, two, "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["schema_version"].startswith("1.")
    (only,) = document["candidates"]
    assert (only["name"], only["state"]) == ("b", "FAIL")
    assert only["counts"]["n"] == 200
    assert only["counts"]["identical"] == 170
    assert only["counts"]["flips"] == {"loss": 30, "gain": 0}
    assert only["counts"]["divergences"] == {"unexplained": 30}


@pytest.mark.parametrize("column", ["text", "completion", "response", "answer", "output"])
def test_usual_columns_are_found_in_every_format(tmp_path, column):
    table = [{"id": r["id"], column: r["text"]} for r in rows()]
    one = jsonl(tmp_path / "a.jsonl", table)
    two = tmp_path / "b.csv"
    with two.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", column])
        writer.writeheader()
        writer.writerows(table)
    three = tmp_path / "c.parquet"
    polars.DataFrame(table).write_parquet(three)
    for other in (two, three):
        done = run(one, other, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["candidates"][0]["counts"]["identical"] == 200


def test_columns_and_labels_can_be_named(tmp_path):
    table = [{"key": i, "said": f"t{i}", "verdict": "fine" if i else "odd"} for i in range(200)]
    one = jsonl(tmp_path / "a.jsonl", table)
    two = jsonl(tmp_path / "b.jsonl", [r | {"verdict": "odd", "said": "x"} for r in table])
    columns = "id=key,text=said,label=verdict"
    assert run(one, two, "--columns", columns).exit_code == 2
    done = run(one, two, "--columns", columns, "--good", "fine", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["candidates"][0]["counts"]["flips"]["loss"] == 199


def test_recorded_token_ids_find_truncation(tmp_path):
    long = [{"id": str(i), "text": "I can't help you", "token_ids": [1, 2, 3]} for i in range(120)]
    short = [{"id": str(i), "text": "I can't help", "token_ids": [1, 2]} for i in range(120)]
    done = run(jsonl(tmp_path / "a.jsonl", long), jsonl(tmp_path / "b.jsonl", short), "--json")
    counts = json.loads(done.stdout)["candidates"][0]["counts"]
    assert counts["divergences"] == {"truncation": 120}


def test_different_prompts_are_invalid(tmp_path):
    one = jsonl(tmp_path / "a.jsonl", rows(prompt="x"))
    two = jsonl(tmp_path / "b.jsonl", rows(prompt="y"))
    done = run(one, two)
    assert done.exit_code == 4
    assert "INVALID" in done.stdout


def test_recorded_counters_prove_speculation(tmp_path):
    counted = {"speculation": {"rounds": 3, "drafted": 9, "accepted": 5}}
    one = jsonl(tmp_path / "a.jsonl", rows())
    two = jsonl(tmp_path / "b.jsonl", rows(**counted))
    activation = json.loads(run(one, two, "--json").stdout)["candidates"][0]["activation"]
    assert activation["proven"] is True
    assert run(two, one).exit_code == 4, "a baseline that speculated is no baseline"


def test_hostile_answers_reach_no_terminal_and_no_page(tmp_path):
    evil = "<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07[red]x[/red]\u202egnp"
    one = jsonl(tmp_path / "a.jsonl", rows())
    changed = [r | {"text": evil} if i < 5 else r for i, r in enumerate(rows())]
    changed[0]["id"] = "p0"
    two = jsonl(tmp_path / "b.jsonl", changed)
    done = run(one, two, "--out", tmp_path / "run")
    assert "\x1b" not in done.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    for name in ("report.md", "junit.xml", "verdict.json"):
        assert "\x1b" not in (tmp_path / "run" / name).read_text()


def test_the_run_directory_stands_alone_and_repeats(tmp_path):
    one, two = jsonl(tmp_path / "a.jsonl", rows()), jsonl(tmp_path / "b.jsonl", rows())
    for _ in range(2):
        assert run(one, two, "--out", tmp_path / "run").exit_code == 0
    kept = (tmp_path / "run" / "answers" / "b.jsonl").read_text().splitlines()
    assert len(kept) == 200
    assert {"arm", "id", "text"} <= json.loads(kept[0]).keys()
    three = jsonl(tmp_path / "c.jsonl", rows(bad=3))
    done = run(one, three, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "another run" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no answers"),
        ('{"id": "1", "text": "a"}\n{"id": "2", "te', "b.jsonl:2: broken JSON"),
        ('{"id": "1", "text": "a"}\n{"id": "2"}\n', "b.jsonl:2: field 'text' (text) is missing"),
        (
            '{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n',
            "b.jsonl:2: id '1' occurs a second",
        ),
        ('{"id": "1", "reply": "a"}\n', "--columns text=COLUMN"),
        ('{"id": "1", "text": 7}\n', "must be a string, found int"),
        ('{"id": "1", "text": "a", "token_ids": "x"}\n', "'token_ids' is not a JSON list"),
        ('{"id": "zz", "text": "a"}\n', "share no id"),
        ("[" * 100_000 + "\n", "broken JSON"),
    ],
)
def test_broken_files_are_told_where(tmp_path, text, message):
    one = jsonl(tmp_path / "a.jsonl", rows())
    two = tmp_path / "b.jsonl"
    two.write_text(text)
    done = run(one, two)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_missing_files_and_bad_options(tmp_path):
    one = jsonl(tmp_path / "a.jsonl", rows())
    assert "no such file" in run(one, tmp_path / "nothing.jsonl").stderr
    assert "is not FIELD=COLUMN" in run(one, one, "--columns", "text").stderr
    assert "is no field" in run(one, one, "--columns", "texd=text").stderr
    assert "has no column" in run(one, one, "--columns", "text=nope").stderr
    assert "no label column" in run(one, one, "--good", "x").stderr


def test_people_s_labels_of_two_models_differ(shared_data, tmp_path):
    files = shared_data / "xstest"
    done = run(files / "completions_llama2orig.csv", files / "completions_gpt4.csv",
               "--columns", "text=completion,label=final_label", "--json")  # fmt: skip
    assert done.exit_code == 3
    counts = json.loads(done.stdout)["candidates"][0]["counts"]
    assert counts["n"] == 450
    assert counts["flips"] == {"loss": 91, "gain": 8}


def test_large_parquet_files_are_read_in_pieces_and_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(stream.os, "cpu_count", lambda: 1)
    one, two = tmp_path / "a.parquet", tmp_path / "b.parquet"
    polars.DataFrame(rows()).write_parquet(one)
    polars.DataFrame(rows(bad=30)[::-1]).write_parquet(two)
    small = json.loads(run(one, two, "--json").stdout)
    monkeypatch.setattr(recorded, "_LARGE", 400)
    for _ in range(2):
        done = run(one, two, "--json", "--out", tmp_path / "run")
        assert done.exit_code == 3, done.stderr
    large = json.loads(done.stdout)
    for name in ("state", "counts", "identity", "tasks", "divergences", "sentence"):
        assert large["candidates"][0][name] == small["candidates"][0][name], name
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["files"] == large["environment"]["files"]
    assert not list((tmp_path / "run" / "answers").iterdir())
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "run")]).exit_code == 0
    done = run(one, one, "--out", tmp_path / "run")
    assert "another run" in done.stderr
    quick = json.loads(run(one, two, "--differing-only", "--json").stdout)
    assert quick["candidates"][0]["state"] == "FAIL"
