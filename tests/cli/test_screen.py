"""`draftproof screen`, `rejudge` and `rules` on the shipped models, as a user meets them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from draftproof.cli import main

LAB = ("screen", "--target", "lab:target", "--draft", "lab:draft", "--half", "quick",
       "--max-new-tokens", "32")  # fmt: skip


def run(*args, code=None):
    done = CliRunner().invoke(main, list(map(str, args)), catch_exceptions=False)
    if code is not None:
        assert done.exit_code == code, done.stdout + done.stderr
    return done


def answers(place):
    return [
        json.loads(line)
        for file in sorted(place.glob("answers/*.jsonl"))
        for line in file.read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished small screen: four arms, two prompts of every task."""
    place = tmp_path_factory.mktemp("screen") / "run"
    return place, run(*LAB, "--limit", "2", "--out", place, "--json")


def test_a_small_screen_is_inconclusive_and_complete(small):
    place, done = small
    document = json.loads(done.stdout)
    assert done.exit_code == 5
    (only,) = document["candidates"]
    assert (only["name"], only["state"]) == ("draft", "INCONCLUSIVE")
    assert only["counts"]["identical"] == only["counts"]["n"] == 12
    assert only["activation"]["proven"] is True
    assert document["noise"][0]["counts"]["identical"] == 12
    assert {a["name"]: a["answers"] for a in document["arms"]} == {
        "target": 12, "target-again": 12, "draft": 12, "leaky-control": 12,
    }  # fmt: skip
    given = answers(place)
    assert len({(a["arm"], a["id"]) for a in given}) == len(given) == 48
    for name in ("verdict.json", "report.html", "report.md", "junit.xml", "manifest.json"):
        assert (place / name).stat().st_size > 0
    manifest = json.loads((place / "manifest.json").read_text())
    fingerprint = manifest["arms"]["draft"]["fingerprint"]
    assert len(fingerprint["target"]["weights_sha256"]) == 64
    assert len(fingerprint["draft"]["chat_template_sha256"]) == 64


def test_the_same_command_generates_nothing_again(small):
    place, first = small
    before = {f: f.stat().st_mtime_ns for f in place.glob("answers/*.jsonl")}
    again = run(*LAB, "--limit", "2", "--out", place, "--json")
    assert {f: f.stat().st_mtime_ns for f in place.glob("answers/*.jsonl")} == before
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    for document in (one, two):
        document.pop("created")
    assert all("this command asked it nothing" in w for w in two.pop("warnings"))
    assert one.pop("warnings") == []
    assert one == two


def test_a_run_can_be_judged_again_without_its_models(small):
    place, first = small
    again = json.loads(run("rejudge", place, "--json").stdout)
    before = json.loads(first.stdout)
    assert again["candidates"][0]["counts"] == before["candidates"][0]["counts"]
    wider = json.loads(run("rejudge", place, "--margin", "0.2", "--json", code=5).stdout)
    assert wider["method"]["margin"] == 0.2
    assert "holds no run" in run("rejudge", place.parent, code=2).stderr


def test_another_command_may_not_write_into_a_run(small):
    place, _ = small
    done = run(*LAB, "--limit", "3", "--out", place, code=2)
    assert "another plan" in done.stderr


@pytest.mark.slow
def test_kill_nine_and_the_same_command_resumes(tmp_path):
    """Killed while two arms answer, with a torn line on top: every answer exactly once."""
    place = tmp_path / "run"
    command = [sys.executable, "-c", "from draftproof.cli import main; main()", *LAB,
               "--limit", "2", "--jobs", "2", "--out", str(place)]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(answers_so_far(place)) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 6 <= wait_until_still(place) < 48
    torn = max(place.glob("answers/*.jsonl"), key=lambda f: f.stat().st_size)
    torn.write_bytes(torn.read_bytes()[:-7])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    given = answers(place)
    assert len(given) == len({(a["arm"], a["id"]) for a in given}) == 48


def answers_so_far(place):
    return [line for f in place.glob("answers/*.jsonl") for line in f.read_bytes().splitlines()]


def wait_until_still(place):
    """Workers must die with their killed parent: the files stop growing."""
    last, still = -1, 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        size = len(answers_so_far(place))
        still = still + 1 if size == last else 0
        last = size
        if still >= 20:
            return size
        time.sleep(0.1)
    raise AssertionError("answers are still being written after the command was killed")


def test_a_declared_plan_runs_both_engines(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "name: mine\nhalf: quick\nlimit: 1\ntarget: lab:target\nmax_new_tokens: 24\narms:\n"
        "  - {name: base, role: baseline, engine: transformers}\n"
        "  - {name: ours, role: candidate, draft: 'lab:draft'}\n"
        "  - {name: theirs, role: candidate, engine: transformers, draft: 'lab:gptq'}\n"
    )
    done = run("screen", plan, "--out", tmp_path / "run", "--json", code=5)
    document = json.loads(done.stdout)
    assert document["name"] == "mine"
    for candidate in document["candidates"]:
        assert candidate["counts"]["identical"] == 6
        assert candidate["activation"]["proven"] is True


def test_usage_errors_are_the_command_line_s(tmp_path):
    assert "both needed" in run("screen", "--target", "x", code=2).stderr
    plan = tmp_path / "p.yaml"
    plan.write_text("arms: 3\n")
    assert "not both" in run("screen", plan, "--target", "x", code=2).stderr
    assert "p.yaml: arms: " in " ".join(run("screen", plan, code=2).stderr.split())
    margin = run("screen", plan, "--margin", "0.1", code=2).stderr
    assert "in the plan, edit decision.margin" in margin
    assert "leave the noise arm out" in run("screen", plan, "--no-noise", code=2).stderr
    assert "in the plan, edit gamma" in run("screen", plan, "--gamma", "4", code=2).stderr
    missing = run("screen", "--target", "lab:target", "--draft", "nowhere/at-all",
                  "--limit", "1", "--out", tmp_path / "r", code=2)  # fmt: skip
    assert "nowhere/at-all" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(*LAB, "--limit", "1", "--out", tmp_path / "file", code=2)
    assert "is a file" in done.stderr


def test_rules_tell_their_promise():
    rows = {r["rule"]: r for r in json.loads(run("rules", "--json", code=0).stdout)}
    assert rows["exact"]["promise"] == "L2"
    assert rows["typical"]["promise"] == "L0"
    assert "lossy by design" in run("rules", code=0).stdout


def test_every_verb_has_help():
    for verb in ([], ["demo"], ["screen"], ["compare"], ["rejudge"], ["rules"], ["lab", "build"]):
        assert "Usage" in run(*verb, "--help", code=0).stdout


def test_python_m_works():
    done = subprocess.run(
        [sys.executable, "-m", "draftproof", "--version"],
        capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert "draftproof" in done.stdout, done.stderr
