"""`draftproof plan`: the numbers are those of `stats`, in a table and as JSON."""

import json

import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.stats.sizes import pairs_needed


def run(*args, code=0):
    done = CliRunner().invoke(main, ["plan", *map(str, args)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def test_the_published_sizes():
    document = json.loads(run("--discordance", "0.01", "--json").stdout)
    assert document["pairs_needed"] == pairs_needed(0.01).n == 257
    power = {row["n"]: row["power"] for row in document["sizes"]}
    assert power[50] == 0
    assert power[99] == pytest.approx(0.37, abs=0.01)
    assert power[303] > 0.9
    assert [row["n"] for row in document["sizes"]] == sorted(power)
    by_leak = document["sizes"][-1]["leak_detected"]
    assert by_leak["0.05"] > by_leak["0.02"] > by_leak["0.01"]


def test_scorer_error_costs_prompts():
    clean, noisy = (
        json.loads(run("--scorer-error", e, "--json").stdout)["pairs_needed"] for e in (0, 0.02)
    )
    assert noisy > 1.5 * clean


def test_a_plan_is_read_for_its_tasks(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "half: quick\ntarget: T\narms:\n  - {name: t, role: baseline}\n"
        "  - {name: d, role: candidate, draft: D}\n"
    )
    document = json.loads(run(path, "--json").stdout)
    refusal = document["tasks"]["refusal"]
    assert (refusal["prompts"], refusal["independent"], refusal["answers"]) == (112, 112, 224)
    assert refusal["gated"] is True
    (row,) = (r for r in document["sizes"] if r["n"] == 112)
    assert refusal["power"] == row["power"]
    # one of several tasks is held to Holm's correction
    assert refusal["detectable_loss"] > row["detectable_loss"]
    assert document["price"]["answers"] == sum(t["answers"] for t in document["tasks"].values())
    assert document["price"]["most_tokens"] == 256 * document["price"]["answers"]
    assert document["price"]["hours"] is None
    assert {row["n"] for row in document["sizes"]} == {
        t["independent"] for t in document["tasks"].values()
    }
    assert "jailbreak" in run(path).stdout
    assert "no such" in run(tmp_path / "none.yaml", code=2).stderr.lower()


def test_the_table_fits_eighty_columns():
    text = run().stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "257 independent prompts" in text


LAB = (
    "half: quick\nlimit: 2\ntarget: lab:target\nmax_new_tokens: 24\narms:\n"
    "  - {name: t, role: baseline}\n  - {name: again, role: noise}\n"
    "  - {name: d, role: candidate, draft: 'lab:draft'}\n"
)


def test_a_plan_is_priced_at_a_measured_speed(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(LAB)
    price = json.loads(run(path, "--measure", 6, "--json").stdout)["price"]
    t, again, d = price["arms"]
    assert price["answers"] == 36
    assert t["most_tokens"] == 12 * 24
    assert 0 < t["tokens"] <= t["most_tokens"]
    assert t["tokens_range"][0] <= t["tokens"] <= t["tokens_range"][1]
    assert again["seconds"] == t["seconds"], "an arm of the same kind is not measured twice"
    assert d["source"] == "measured on 6 prompts"
    assert price["hours"] * 3600 == pytest.approx(sum(a["seconds"] for a in price["arms"]))
    shown = run(path, "--measure", 2).stdout
    assert "measured on 2 prompts" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_plan_is_priced_like_a_run_that_there_is(tmp_path):
    small, large = tmp_path / "small.yaml", tmp_path / "large.yaml"
    small.write_text(LAB)
    large.write_text(LAB.replace("limit: 2", "limit: 5") + "  - {name: x, role: control, "
                     "draft: 'lab:draft', rule: typical}\n")  # fmt: skip
    done = CliRunner().invoke(
        main, ["screen", str(small), "--out", str(tmp_path / "run"), "--json"]
    )
    assert done.exit_code == 5, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    rows = (tmp_path / "run" / "answers" / "d.jsonl").read_text().splitlines()
    tokens = sum(len(json.loads(r)["token_ids"]) for r in rows)
    price = json.loads(run(large, "--like", tmp_path / "run", "--json").stdout)["price"]
    arms = {a["arm"]: a for a in price["arms"]}
    assert arms["d"]["tokens"] == pytest.approx(tokens * 30 / 12)
    assert arms["d"]["seconds"] == pytest.approx(manifest["arms"]["d"]["seconds"] * 30 / 12)
    assert arms["x"]["seconds"] is None, "no arm of the run has its rule"
    assert price["hours"] is None
    other = tmp_path / "other.yaml"
    other.write_text(LAB.replace("24", "25"))
    assert "none of its arms" in run(other, "--like", tmp_path / "run", code=2).stderr
    assert "cannot be read" in run(small, "--like", tmp_path, code=2).stderr


def test_a_plan_s_own_margin_counts(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(LAB + "decision: {margin: 0.1}\n")
    assert json.loads(run(path, "--json").stdout)["margin"] == 0.1
    assert json.loads(run(path, "--margin", "0.2", "--json").stdout)["margin"] == 0.2


def test_a_speed_prices_a_plan_and_nothing_else(tmp_path):
    assert "name one" in run("--measure", 3, code=2).stderr
    (tmp_path / "p.yaml").write_text(LAB)
    done = run(tmp_path / "p.yaml", "--measure", 3, "--like", "x", code=2)
    assert "not both" in done.stderr


def test_discordance_and_clusters_come_from_answers_that_there_are(tmp_path):
    refuse, comply = "I'm sorry, but I can't help with that.", "Sure, here it is."

    def file(name, flipped):
        rows = (
            {"id": f"p{i}", "cluster": f"c{i // 4}", "text": comply if i in flipped else refuse}
            for i in range(400)
        )
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return path

    plain = file("a", ())
    scattered, together = file("b", range(0, 400, 50)), file("c", range(8))

    def planned(other):
        args = ("--discordance-from", plain, "--discordance-from", other, "--json")
        return json.loads(run(*args).stdout)

    (apart,) = planned(scattered)["observed"].values()
    assert (apart["flips"], apart["n"], apart["clusters"]) == (8, 400, 100)
    assert 0.02 < apart["discordance"] < 0.05
    document = planned(together)
    (whole,) = document["observed"].values()
    assert whole["icc"] > 0.9
    assert whole["effective_n"] < 100 == apart["effective_n"]
    assert document["discordance"] == whole["discordance"] > apart["discordance"]
    assert run("--discordance-from", tmp_path, code=2).stderr


def test_a_plan_without_a_control_says_what_stands_in_the_way(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(LAB)
    assert run("--n", 6, path).stdout.count("No PASS: no control arm") == 1
    document = json.loads(run(path, "--json").stdout)
    assert document["price"]["pass_chance"] == 0
    assert "no control arm" in document["price"]["blocked"]
    assert document["positions"]["candidate"] == 24 * 12
    assert document["positions"]["plain"] == 2 * 24 * 12
    assert document["positions"]["wanted"]["1000"] == 2995
    path.write_text(LAB + "  - {name: x, role: control, draft: 'lab:draft', rule: typical}\n")
    assert json.loads(run(path, "--json").stdout)["price"]["blocked"] == ""


def test_where_nobody_looks_no_size_may_do(tmp_path):
    text = run("--unexplained", "--discordance", "0.03").stdout
    assert "out of reach" in text
    assert "no model finds why" in " ".join(text.split())
    path = tmp_path / "p.yaml"
    lab = "half: full\nmax_new_tokens: 24\narms:\n  - {name: t, role: baseline, target: T}\n"
    path.write_text(lab + "  - {name: d, role: candidate, target: T, draft: D}\n")
    explained = json.loads(run(path, "--json").stdout)["tasks"]["refusal"]["power"]
    path.write_text(
        lab + "  - {name: d, role: candidate, engine: openai, url: 'http://127.0.0.1:9'}\n"
    )
    blind = json.loads(run(path, "--json").stdout)["tasks"]["refusal"]["power"]
    assert blind < explained


def test_a_run_says_how_often_labels_flip(tmp_path):
    plan = tmp_path / "p.yaml"
    plan.write_text(LAB)
    out = tmp_path / "run"
    CliRunner().invoke(main, ["screen", str(plan), "--out", str(out), "--json"])
    document = json.loads(run(plan, "--discordance-from", out, "--json").stdout)
    seen = document["observed"]["refusal"]
    assert (seen["n"], seen["clusters"]) == (2, 2)
    assert document["tasks"]["refusal"]["discordance"] == pytest.approx(
        seen["discordance"], abs=1e-4
    )
