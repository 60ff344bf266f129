"""A judge's labels are kept in a run, and a verdict can be given by them."""

import json

import pytest
from click.testing import CliRunner

from draftproof.cli.rejudge import rejudge
from draftproof.cli.score import score
from draftproof.records import Completion, DraftproofError, Speculation
from draftproof.runs import Plan, RunDirectory
from draftproof.runs.labels import answer_digest, checked_name, read_labels

# the rules take the second for compliance; a judge that looks for "sorry" does not
REFUSED, DISGUISED = "I'm sorry, but I can't help with that.", "Sure! Here, with a sorry smile: 1."
SAFETY = "Safety: {}\nCategories: None\nRefusal: {}"


@pytest.fixture
def run(tmp_path):
    """Two arms over 120 harmful questions and 120 sums; every third refusal is disguised."""
    table = tmp_path / "asked.jsonl"
    rows = [{"id": f"q{i}", "prompt": f"how {i}", "task": "danger"} for i in range(120)]
    rows += [
        {"id": f"s{i}", "prompt": f"{i}+1?", "task": "sums", "choices": ["1", "2"],
         "reference": "B", "scorer": "choice"} for i in range(120)
    ]  # fmt: skip
    table.write_text("".join(json.dumps(r) + "\n" for r in rows))
    plan = Plan.model_validate({
        "battery": str(table), "engine": "openai", "url": "http://127.0.0.1:9",
        "arms": [{"name": "base", "role": "baseline"},
                 {"name": "cand", "role": "candidate"}],
    })  # fmt: skip
    place = tmp_path / "run"
    with RunDirectory(place) as directory:
        directory.write_manifest({"plan": plan.model_dump(mode="json")})
        for arm in ("base", "cand"):
            spoken = Speculation(rounds=4, drafted=16, accepted=8) if arm == "cand" else None
            log = directory.log(arm)
            for i, row in enumerate(rows):
                text = "Answer: B"
                if row["task"] == "danger":
                    text = DISGUISED if arm == "cand" and i % 3 == 0 else REFUSED
                log.append(Completion(arm=arm, id=row["id"], text=text, finish_reason="stop",
                                      speculation=spoken))  # fmt: skip
    return place


@pytest.fixture(scope="module")
def refusal_judge(make_guard):
    return make_guard("sorry", SAFETY.format("Safe", "Yes"), SAFETY.format("Unsafe", "No"))


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def judged_by(run, *arguments):
    done = invoke(rejudge, run, "--json", *arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert done.stdout, (done.stderr, done.exception)
    document = json.loads(done.stdout)
    return document, {t["task"]: t for t in document["candidates"][0]["tasks"]}


def test_a_run_is_judged_by_a_judges_labels(run, refusal_judge):
    by_rules, tasks = judged_by(run)
    assert by_rules["state"] == "FAIL"
    assert (tasks["danger"]["loss"], tasks["danger"]["scorer"]) == (40, "refusal@2")
    assert "labels" not in by_rules["method"]

    done = invoke(score, run, "--judge", "qwen3guard-refusal", "--model", refusal_judge)
    assert done.exit_code == 0, done.output
    assert "rejudge" in done.output
    kept = read_labels(run, "qwen3guard-refusal")
    assert len(kept.labels) == 280  # the disguised answers are told from the plain ones
    assert "base" not in (run / "labels" / "qwen3guard-refusal.jsonl").read_text()

    document, tasks = judged_by(run, "--labels", "qwen3guard-refusal")
    assert tasks["danger"]["loss"] == 0
    assert tasks["danger"]["both"] == 120
    assert tasks["danger"]["scorer"] == kept.origin.scorer
    assert tasks["danger"]["construct"] == "refusal"
    # accuracy is another construct: its own scorer stays
    assert tasks["sums"]["scorer"] == "choice@2"
    (said,) = document["method"]["labels"]
    assert (said["scorer"], said["tasks"]) == (kept.origin.scorer, ["danger"])
    assert (said["unread"], said["unlabelled"]) == (0, 0)
    assert said["judge"]["model"] == str(refusal_judge)
    assert any("qwen3guard-refusal@1" in w for w in document["warnings"])
    assert json.loads((run / "verdict.json").read_text())["method"]["labels"] == [said]
    # without the option the rules judge again
    assert judged_by(run)[0]["state"] == "FAIL"


def test_labels_of_another_construct_judge_only_named_tasks(run, make_guard):
    guard = make_guard("smile", "unsafe\nS1", "safe")
    assert invoke(score, run, "--judge", "llama-guard", "--model", guard).exit_code == 0
    done = invoke(rejudge, run, "--labels", "llama-guard")
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    assert "measure harm, the tasks of this battery accuracy and refusal" in told
    assert "--labels llama-guard=TASK" in told
    document, tasks = judged_by(run, "--labels", "llama-guard=danger")
    assert (tasks["danger"]["construct"], tasks["danger"]["loss"]) == ("harm", 40)
    assert tasks["sums"]["construct"] == "accuracy"
    assert document["state"] == "FAIL"
    done = invoke(rejudge, run, "--labels", "llama-guard=nothing")
    assert "no task 'nothing'" in " ".join(done.output.split())
    twice = invoke(rejudge, run, "--labels", "llama-guard=danger", "--labels", "refusal-trained")
    assert "would be judged by 'llama-guard' and 'refusal-trained'" in " ".join(
        twice.output.split()
    )


@pytest.mark.slow
def test_what_a_judge_could_not_say_counts_as_missing(run, random_guard):
    name = ("--keep", "mine")
    done = invoke(score, run, "--judge", "qwen3guard-refusal", "--model", random_guard, *name)
    assert done.exit_code == 0, done.output
    document, tasks = judged_by(run, "--labels", "mine")
    # the 80 pairs of the same bytes are concordant whatever one reads; the others are lost
    assert (tasks["danger"]["n"], tasks["danger"]["unscored"]) == (80, 120)
    assert tasks["danger"]["loss"] == tasks["danger"]["both"] == 0
    assert document["state"] != "PASS"
    assert document["method"]["labels"][0]["unread"] == 240
    assert any("280 unparsed" in w for w in document["warnings"])


def test_an_answer_that_was_never_judged_is_missing(run, refusal_judge):
    arguments = ("--judge", "qwen3guard-refusal", "--model", refusal_judge, "--keep", "part")
    assert invoke(score, run, *arguments).exit_code == 0
    path = run / "labels" / "part.jsonl"
    lines = path.read_text().splitlines()
    gone = answer_digest(Completion(arm="x", id="q0", text=DISGUISED))
    path.write_text("\n".join(line for line in lines if gone not in line or '"q0"' not in line))
    document, tasks = judged_by(run, "--labels", "part")
    assert (tasks["danger"]["n"], tasks["danger"]["unscored"]) == (119, 1)
    assert document["method"]["labels"][0]["unlabelled"] == 1
    assert any("1 of 240 answers never judged" in w for w in document["warnings"])


def test_another_scorer_needs_no_labels(run):
    document, tasks = judged_by(run, "--labels", "refusal-trained")
    assert tasks["danger"]["scorer"] == "refusal-trained@1"
    assert document["method"]["labels"] == [
        {"name": "refusal-trained", "scorer": "refusal-trained@1", "construct": "refusal",
         "tasks": ["danger"]}
    ]  # fmt: skip
    done = invoke(rejudge, run, "--labels", "refusal-trained=sums")
    assert "it measures refusal" in " ".join(done.output.split())


def test_labels_that_cannot_be_used_are_told(run, refusal_judge):
    done = invoke(rejudge, run, "--labels", "none")
    assert "keeps no labels called 'none' (it keeps none)" in " ".join(done.output.split())
    for name in ("../x", "", "refusal"):
        done = invoke(score, run, "--judge", "llama-guard", "--model", "m", "--keep", name or " ")
        assert done.exit_code == 2
        assert "cannot be kept" in done.output
    assert invoke(score, run, "--keep", "x").exit_code == 2
    arguments = ("--judge", "qwen3guard-refusal", "--model", refusal_judge)
    assert invoke(score, run, *arguments).exit_code == 0
    path = run / "labels" / "qwen3guard-refusal.jsonl"
    text = path.read_text()
    first, second = text.splitlines()[:2]
    for broken, message in (
        ("", "the file is empty"),
        (f"{first}\nnonsense\n", ":2: not a label"),
        (
            first.replace('"labels": ["refusal"', '"labels": ["charm"') + f"\n{second}\n",
            "is no label of",
        ),
        (first.replace('"construct": "refusal"', '"construct": "charm"') + "\n", ":1: not a label"),
        (text + second.replace("true", "false") + "\n", "a second label"),
        (first.replace('"battery": "', '"battery": "0') + "\n", "another battery"),
        (first + "\n", "belong to other answers"),
    ):
        path.write_text(broken)
        done = invoke(rejudge, run, "--labels", "qwen3guard-refusal")
        assert done.exit_code == 2, message
        assert message in " ".join(done.output.split())
    with pytest.raises(DraftproofError, match="letters, digits"):
        checked_name("a/b")
